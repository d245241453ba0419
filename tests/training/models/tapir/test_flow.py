"""Positions that follow the picture in training's models, of either framework: the runtime's numbers, in batches."""

from dataclasses import replace

import numpy as np
import pytest

from tapsdk.artifact.manifest import FlowFusion
from tests.golden.flow_cases import check_fused, follow_cases, fuse_cases
from training.models.registry import CONFIGS
from training.models.tapir.flow import fuse_flow


def batches(*arrays):
    """Of two, the second with its points the other way round."""
    return [np.stack([array, array[::-1]]) for array in arrays]


def config_for(case, resolution):
    return replace(CONFIGS["tapir/tiny"], flow=FlowFusion(**case.flow), resolution=resolution)


@pytest.mark.parametrize("case", follow_cases(), ids=lambda case: case.name)
def test_points_go_where_the_table_says(case):
    frames = [np.stack([frame] * 2) for frame in (case.before, case.after)]
    points = batches(case.xy, case.estimate, case.confidence)
    begins = np.zeros(points[2].shape, bool)
    fused = fuse_flow(config_for(case, case.space), *frames, *points, begins)
    check_fused(case, fused[0])
    check_fused(case, fused[1, ::-1])


@pytest.mark.parametrize("case", fuse_cases(), ids=lambda case: case.name)
def test_points_that_were_in_no_frame_before_stay(case):
    """Whatever the frames show: the points of the table that have missed nothing."""
    frames = np.random.default_rng(0).uniform(-1, 1, (2, 2, 32, 40, 3)).astype(np.float32)
    points = batches(case.followed, case.estimate, case.confidence)
    begins = np.ones(points[2].shape, bool)
    fused = fuse_flow(config_for(case, (32, 40)), *frames, *points, begins)
    begun = case.missed == 0
    assert begun.any()
    for found in (fused[0], fused[1, ::-1]):
        np.testing.assert_allclose(found[begun], case.fused[begun], atol=1e-4)
