"""Between the picture and the model: where a point is said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapsdk.artifact.manifest import FlowFusion
from tapsdk.runtime.flow import follow, fuse
from tapsdk.runtime.sizes import working_size
from tests.golden.flow_cases import check_fused, check_moved, follow_cases, fuse_cases
from tests.support import moving_texture

FUSION = FlowFusion(radius=4, levels=3, slip=0.5, pull=0.25, doubtful=0.4, sure=0.8)
FOLLOWED, ESTIMATE = np.float32([[10, 20]]), np.float32([[14, 28]])


@pytest.mark.parametrize("case", follow_cases(), ids=lambda case: case.name)
def test_points_go_where_the_table_says(case):
    fusion = FlowFusion(**case.flow)
    moved, missed = follow(fusion, case.before, case.after, case.xy, case.space)
    check_moved(case, moved, missed)
    check_fused(case, fuse(fusion, moved, missed, case.estimate, case.confidence))


@pytest.mark.parametrize("case", fuse_cases(), ids=lambda case: case.name)
def test_the_share_of_the_way_to_the_estimate_is_the_tables(case):
    check_fused(case, fuse(FlowFusion(**case.flow), case.followed, case.missed, case.estimate, case.confidence))


@given(missed=st.floats(0, 3), confidence=st.floats(0, 1), nudge=st.floats(-1e-3, 1e-3))
def test_a_little_difference_makes_a_little_difference(missed, confidence, nudge):
    def fused(missed, confidence):
        return fuse(FUSION, FOLLOWED, np.float32([missed]), ESTIMATE, np.float32([confidence]))[0]

    moved = fused(missed + abs(nudge), confidence + nudge) - fused(missed, confidence)
    assert np.abs(moved).max() < 40 * abs(nudge) + 1e-5


def test_points_go_with_the_picture_in_the_space_of_the_model():
    """Frames of 128 x 96 pixels, positions in a space of 64 x 64: two pixels right, one down."""
    frames = moving_texture(2, 96, 128, step=(2, 1)) / np.float32(127.5) - np.float32(1)
    xy = np.float32([[20, 20], [40.5, 30], [32, 50]])
    found, missed = follow(FUSION, frames[0], frames[1], xy, (64, 64))
    np.testing.assert_allclose(found, xy + np.float32([2 * 64 / 128, 64 / 96]), atol=0.1)
    assert missed.max() < 0.5


@pytest.mark.parametrize("count", [0, 1])
def test_between_frames_of_two_sizes_nothing_is_followed(count):
    small, large = np.zeros((32, 48, 3), np.float32), np.zeros((32, 64, 3), np.float32)
    xy = np.ones((count, 2), np.float32)
    found, missed = follow(FUSION, small, large, xy, (32, 32))
    np.testing.assert_array_equal(found, xy)
    assert missed.shape == (count,) and np.isinf(missed).all()


def test_frames_may_be_views():
    frames = moving_texture(2, 40, 60) / np.float32(127.5) - np.float32(1)
    xy = np.float32([[20, 20]])
    size = working_size((40, 60), (40, 60), 1)
    turned = [np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0) for frame in frames]
    for found, expected in zip(follow(FUSION, *turned, xy, size), follow(FUSION, *frames, xy, size), strict=True):
        np.testing.assert_array_equal(found, expected)
