"""Positions that follow the picture in training's models, of either framework: the runtime's numbers, in batches."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tapsdk.runtime.flow import Sighting
from tapsdk.runtime.stages import certainty_of
from tests.golden.flow_cases import check_fused, flow_of, follow_cases, fuse_cases
from training.models.registry import CONFIGS
from training.models.tapir import FAMILY
from training.models.tapir.flow import fuse_estimate, fuse_flow, texture_of


def batches(*arrays):
    """Of two, the second with its points the other way round."""
    return [np.stack([array, array[::-1]]) for array in arrays]


def config_for(case, resolution):
    return replace(CONFIGS["tapir/tiny"], flow=flow_of(case), resolution=resolution)


@pytest.mark.parametrize("case", follow_cases(), ids=lambda case: case.name)
def test_points_go_where_the_table_says(case):
    frames = tuple(np.stack([frame] * 2) for frame in (case.before, case.after))
    xy, texture, *seen = batches(case.xy, case.texture, case.estimate, case.seen, case.near)
    begins = np.zeros(texture.shape, bool)
    fused = fuse_flow(config_for(case, case.space), frames, xy, texture, Sighting(*seen), begins)
    check_fused(case, *(each[0] for each in fused))
    check_fused(case, *(each[1, ::-1] for each in fused))


@pytest.mark.parametrize("case", fuse_cases(), ids=lambda case: case.name)
def test_points_that_were_in_no_frame_before_stay(case):
    """Whatever the frames show: the points of the table that have missed nothing."""
    frames = tuple(np.random.default_rng(0).uniform(-1, 1, (2, 2, 32, 40, 3)).astype(np.float32))
    xy, texture, *seen = batches(case.followed, case.texture, case.estimate, case.seen, case.near)
    begins = np.ones(texture.shape, bool)
    fused = fuse_flow(config_for(case, (32, 40)), frames, xy, texture, Sighting(*seen), begins)
    begun = case.missed == 0
    assert begun.any()
    for xy, certainty in ((each[0] for each in fused), (each[1, ::-1] for each in fused)):
        np.testing.assert_allclose(xy[begun], case.fused[begun], atol=1e-4)
        np.testing.assert_allclose(certainty[begun], case.certainty[begun], atol=1e-4)


@pytest.mark.parametrize("case", follow_cases(), ids=lambda case: case.name)
def test_the_visibility_rule_gives_the_certainty_of_what_is_returned(case):
    frames = tuple(frame[None] for frame in (case.before, case.after))
    logits = {"occlusion": -logit(case.seen)[None], "expected_dist": -logit(case.near)[None]}
    points = case.xy[None], case.texture[None], case.estimate[None]
    begins = np.zeros(case.seen[None].shape, bool)
    xy, expected_dist = fuse_estimate(config_for(case, case.space), frames, *points, logits, begins)
    found = certainty_of({**logits, "expected_dist": expected_dist}, FAMILY.visibility)
    check_fused(case, xy[0], found[0])


def logit(probability):
    probability = np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(probability / (1 - probability)).astype(np.float32)


def test_texture_is_that_of_the_frame_in_which_a_point_is_asked_for():
    config = CONFIGS["tapir/tiny"]
    video = np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 48, 3)).astype(np.float32)
    video[:, 1] = 0.25
    xy = np.full((2, 4, 2), 100, np.float32)
    found = texture_of(config, video, np.array([[0, 1, 2, 7], [1, 1, 0, -1]]), xy)
    np.testing.assert_array_equal(found > 1e-3, [[True, False, True, False], [False, False, True, False]])


ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
from training.models import load
model = load("tapir/tiny", framework="jax")
frame = np.zeros((1, 1, 720, 1280, 3), np.float32)
state = model.init(frame, np.full((1, 64, 3), (0, 300, 300), np.float32))
for _ in range(4):
    found, state = model.step(frame, state)
assert np.isfinite(found["tracks"]).all()
"""


@pytest.mark.slow  # it compiles the bundled model
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a processor")
def test_jax_follows_pictures_on_a_single_processor() -> None:
    """XLA alone would have one thread there, which waits for the function that it called."""
    pytest.importorskip("equinox", reason="needs JAX: pip install '.[jax]'")
    subprocess.run([sys.executable, "-c", ONE_PROCESSOR], check=True, timeout=120)
