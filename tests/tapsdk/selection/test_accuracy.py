"""How far off is wrong, by precision."""

import numpy as np
import pytest

from tapsdk.selection.accuracy import FLIPS, TOLERANCES, Difference, Rollout


def rollout(xy, visible=True):
    """xy [N, T, 2], or offsets [N, T] along x."""
    xy = np.asarray(xy, np.float32)
    xy = np.stack([xy, 0 * xy], -1) if xy.ndim == 2 else xy
    return Rollout(xy, np.broadcast_to(np.asarray(visible), xy.shape[:2]))


TRUTH = rollout(np.zeros((2, 4)))


@pytest.mark.parametrize("precision", TOLERANCES)
def test_within_the_tolerance_and_beyond_it(precision):
    pixels = TOLERANCES[precision].pixels
    assert rollout(np.full((2, 4), 0.99 * pixels)).difference(TRUTH).complaint(precision) == ""
    complaint = rollout(np.full((2, 4), 1.01 * pixels)).difference(TRUTH).complaint(precision)
    assert complaint.startswith("its tracks are off by ")
    assert f"{precision} may be by {pixels} px" in complaint


@pytest.mark.parametrize(
    "precision, allowed",
    [
        ("fp32", [True, False, False]),
        ("fp16", [True, True, False]),
        ("int8", [True] * 3),
        ("fp7", [True, False, False]),
    ],
)
def test_a_few_positions_far_off_matter_as_the_precision_says(precision, allowed):
    """Of 40: none, a twentieth, and one more."""
    for wrong, is_allowed in zip((0, 2, 3), allowed, strict=True):
        offsets = np.zeros((10, 5))
        offsets[:wrong, 2] = 9
        difference = rollout(offsets).difference(rollout(np.zeros((10, 5))))
        assert (difference.complaint(precision) == "") == is_allowed
        assert (difference.largest, difference.median) == (9 if wrong else 0, 0)


def test_distance_counts_not_a_coordinate():
    found = rollout(np.full((1, 2, 2), [3, 4]))
    assert found.difference(rollout(np.zeros((1, 2, 2)))).largest == 5


def test_the_first_frame_does_not_count():
    assert rollout([[7, 0, 0, 0]] * 2, [True, False, False, False]).difference(
        rollout(np.zeros((2, 4)), False)
    ) == Difference(0, 0, 0, 0)


def test_only_frames_that_both_have_count():
    assert rollout([[0, 1]] * 2).difference(TRUTH).largest == 1
    assert TRUTH.difference(rollout([[0, 1]] * 2)).largest == 1


@pytest.mark.parametrize("shape", [(0, 4), (2, 1), (0, 0)])
def test_nothing_to_compare_is_no_difference(shape):
    assert rollout(np.zeros(shape)).difference(rollout(np.zeros(shape))) == Difference(0, 0, 0, 0)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_nan_is_always_too_much(precision):
    offsets = np.full((2, 4), np.nan)
    assert "off by nan px" in rollout(offsets).difference(TRUTH).complaint(precision)


@pytest.mark.parametrize("share, allowed", [(FLIPS, True), (FLIPS + 0.01, False)])
def test_visibility_may_differ_a_little(share, allowed):
    assert (Difference(0, 0, 0, share).complaint("fp32") == "") == allowed


def test_a_table_gives_it_back():
    found = rollout([[0.1, 2], [3, np.nan]], [[True, False], [False, True]])
    again = Rollout.from_table(found.to_table())
    np.testing.assert_array_equal(again.xy, found.xy)
    np.testing.assert_array_equal(again.visible, found.visible)
    assert again.xy.dtype == np.float32
