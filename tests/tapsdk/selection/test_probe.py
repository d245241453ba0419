"""What a plan is measured by is what it does when it tracks."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from tapsdk import track
from tapsdk.artifact import open_artifact
from tapsdk.backends import Options, open_backend
from tapsdk.runtime.model import open_model
from tapsdk.selection.candidates import BASE
from tapsdk.selection.probe import Trial, Workload, compared_tracks, try_plans, try_plans_apart, workload_for
from tapsdk.selection.reference import FRAMES, POINTS, Reference, moving_pattern
from tests.support import EXACT
from tests.support import PLANS as NAMES

SIZE = (64, 96)
WORKLOAD = Workload(4, SIZE, (3, 5), SIZE)


@pytest.fixture(scope="module")
def artifact(model):
    return open_artifact(model)


@pytest.fixture(scope="module")
def engine():
    return open_backend(BASE, Options(threads=1))


@pytest.mark.parametrize("name", NAMES)
def test_the_tracks_are_those_that_tracking_gives(artifact, engine, name):
    found = compared_tracks(open_model(artifact, engine, name), WORKLOAD)
    video, xy = moving_pattern(SIZE, 5, 3)
    expected = track(video, xy, artifact.directory, backend=f"{BASE}:{name}", resolution=SIZE)
    np.testing.assert_allclose(found.xy[:, 1:], expected.xy[:, 1:], atol=EXACT)
    np.testing.assert_array_equal(found.visible[:, 1:], expected.visible[:, 1:])


def test_another_process_measures_the_same(artifact, engine):
    here = try_plans(artifact, engine, NAMES, WORKLOAD)
    there = try_plans_apart(artifact, BASE, NAMES, WORKLOAD, Options(threads=1))
    for one, other in zip(here, there, strict=True):
        assert (one.plan, one.refused) == (other.plan, other.refused) == (one.plan, "")
        assert min(one.milliseconds, other.milliseconds) > 0
        both = min(one.rollout.xy.shape[1], other.rollout.xy.shape[1])  # who is slower measures fewer frames
        np.testing.assert_allclose(one.rollout.xy[:, :both], other.rollout.xy[:, :both], atol=EXACT)


@pytest.mark.parametrize("workload", [WORKLOAD, Workload(1, (8, 8), (0, 1), (16, 8))])
def test_a_workload_survives_json(workload):
    assert Workload.from_table(json.loads(json.dumps(asdict(workload)))) == workload


def test_a_refusal_survives_json():
    trial = Trial("fused", refused="no such operator")
    assert Trial.from_table(json.loads(json.dumps(trial.to_table()))) == trial


def test_what_is_compared_is_the_reference(artifact):
    reference = Reference(np.zeros((7, 6, 2), np.float32), np.ones((7, 6), bool), (32, 48))
    assert workload_for(artifact.manifest, 64, SIZE, reference) == Workload(64, SIZE, (7, 6), (32, 48))
    size = artifact.manifest.frames.size
    assert workload_for(artifact.manifest, 64, SIZE, None) == Workload(64, SIZE, (POINTS, FRAMES), size)
