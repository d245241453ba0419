"""Between the picture and the model: where a point is said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapsdk.runtime.flow import Following
from tapsdk.runtime.sizes import working_size
from tests.support import moving_texture

FOLLOWING = Following(radius=4, levels=3, slip=0.5, pull=0.25, doubtful=0.4, sure=0.8)
FOLLOWED, ESTIMATE = np.float32([[10, 20]]), np.float32([[14, 28]])


def blended(missed, confidence):
    missed, confidence = np.float32([missed]), np.float32([confidence])
    return FOLLOWING.blend(FOLLOWED, missed, ESTIMATE, confidence)[0].tolist()


@pytest.mark.parametrize(
    ("missed", "confidence", "share"),
    [
        (0, 0, 0),  # the model sees nothing: the picture alone
        (0.5, 0.4, 0),
        (0, 0.8, 0.25),  # the model is sure: a quarter of the way to it
        (0, 1, 0.25),
        (0, 0.6, 0.125),  # and half as sure
        (1, 0, 1),  # no way back: the model alone
        (np.inf, 1, 1),
        (0.75, 0, 0.5),  # between the two
    ],
)
def test_the_share_of_the_way_to_the_estimate(missed, confidence, share):
    assert blended(missed, confidence) == pytest.approx([10 + 4 * share, 20 + 8 * share])


@given(missed=st.floats(0, 3), confidence=st.floats(0, 1), nudge=st.floats(-1e-3, 1e-3))
def test_a_little_difference_makes_a_little_difference(missed, confidence, nudge):
    moved = np.array(blended(missed + abs(nudge), confidence + nudge)) - blended(missed, confidence)
    assert np.abs(moved).max() < 40 * abs(nudge) + 1e-5


def test_points_go_with_the_picture_in_the_space_of_the_model():
    """Frames of 128 x 96 pixels, positions in a space of 64 x 64: two pixels right, one down."""
    frames = moving_texture(2, 96, 128, step=(2, 1)) / np.float32(127.5) - np.float32(1)
    xy = np.float32([[20, 20], [40.5, 30], [32, 50]])
    found, missed = FOLLOWING.follow(frames[0], frames[1], xy, (64, 64))
    np.testing.assert_allclose(found, xy + np.float32([2 * 64 / 128, 64 / 96]), atol=0.1)
    assert missed.max() < 0.5


@pytest.mark.parametrize("count", [0, 1])
def test_between_frames_of_two_sizes_nothing_is_followed(count):
    small, large = np.zeros((32, 48, 3), np.float32), np.zeros((32, 64, 3), np.float32)
    xy = np.ones((count, 2), np.float32)
    found, missed = FOLLOWING.follow(small, large, xy, (32, 32))
    np.testing.assert_array_equal(found, xy)
    assert missed.shape == (count,) and np.isinf(missed).all()


def test_frames_may_be_views():
    frames = moving_texture(2, 40, 60) / np.float32(127.5) - np.float32(1)
    xy = np.float32([[20, 20]])
    size = working_size((40, 60), (40, 60), 1)
    turned = [np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0) for frame in frames]
    for found, expected in zip(FOLLOWING.follow(*turned, xy, size), FOLLOWING.follow(*frames, xy, size), strict=True):
        np.testing.assert_array_equal(found, expected)
