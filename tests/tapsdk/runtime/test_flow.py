"""Between the picture and the model: where a point is said to be."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapsdk.artifact import open_artifact
from tapsdk.runtime.flow import Followed, Sighting, follow, fuse, texture_around
from tapsdk.runtime.sizes import working_size
from tests.golden.flow_cases import check_fused, check_moved, check_texture, flow_of, follow_cases, fuse_cases
from tests.support import moving_texture

BUNDLED = open_artifact("tapir").manifest.flow

FUSION = replace(BUNDLED, radius=4, levels=3, slip=(0.5, 1.0), pull=0.25)
FOLLOWED, FAR = np.float32([[10, 20]]), np.float32([[40, 60]])


@pytest.mark.parametrize("case", follow_cases(), ids=lambda case: case.name)
def test_points_go_where_the_table_says(case):
    fusion = flow_of(case)
    moved, missed = follow(fusion, case.before, case.after, case.xy, case.space)
    check_moved(case, moved, missed)
    texture = texture_around(fusion, case.before, case.xy, case.space)
    check_texture(case, texture)
    check_fused(case, *fuse(fusion, Followed(moved, missed, texture), Sighting(case.estimate, case.seen, case.near)))


@pytest.mark.parametrize("case", fuse_cases(), ids=lambda case: case.name)
def test_position_and_certainty_are_the_tables(case):
    followed = Followed(case.followed, case.missed, case.texture)
    check_fused(case, *fuse(flow_of(case), followed, Sighting(case.estimate, case.seen, case.near)))


def fused(missed=0.0, texture=1.0, estimate=FAR, seen=1.0, near=1.0):
    """Of one point: its position [2], and how certain it is."""
    followed = Followed(FOLLOWED, np.float32([missed]), np.float32([texture]))
    xy, certainty = fuse(FUSION, followed, Sighting(np.float32(estimate), np.float32([seen]), np.float32([near])))
    return xy[0], certainty[0]


unit = st.floats(0, 1)


@given(st.floats(0, 3), st.floats(0, 1e-4), unit, unit, st.floats(-30, 30), st.floats(-1e-3, 1e-3))
def test_a_little_difference_makes_a_little_difference(missed, texture, seen, near, far, nudge):
    estimate = FOLLOWED + np.float32([far, far])
    first = fused(missed, texture, estimate, seen, near)
    again = fused(missed + abs(nudge), texture, estimate, np.clip(seen + nudge, 0, 1), np.clip(near + nudge, 0, 1))
    for before, after in zip(first, again, strict=True):
        assert np.abs(after - before).max() < 600 * abs(nudge) + 1e-4


@given(st.floats(0, 3), unit, unit, st.floats(-60, 60))
def test_nobody_is_surer_of_a_position_than_the_model_is_that_it_is_seen(missed, seen, near, far):
    _, certainty = fused(missed, 1.0, FOLLOWED + np.float32([far, 0]), seen, near)
    assert 0 <= certainty <= np.float32(seen) + 1e-6


def test_a_sure_estimate_is_believed_at_once_however_far_it_is():
    xy, certainty = fused(near=0.95)
    np.testing.assert_array_equal(xy, FAR[0])
    assert certainty > 0.8


def test_where_picture_and_model_disagree_and_neither_is_sure_certainty_is_low():
    xy, certainty = fused(near=0.5)
    np.testing.assert_array_equal(xy, FOLLOWED[0])
    assert certainty == 0


def test_a_hidden_point_does_not_go_with_what_covers_it():
    xy, _ = fused(seen=0.2)
    np.testing.assert_array_equal(xy, FAR[0])


def test_on_a_bare_surface_only_a_very_sure_model_is_sure():
    assert fused(texture=0.0, estimate=FOLLOWED, near=0.7)[1] < 0.5 < fused(estimate=FOLLOWED, near=0.7)[1]
    assert fused(texture=0.0, estimate=FOLLOWED, near=0.999)[1] > 0.95


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_estimate_that_is_no_number_leaves_the_point_to_the_picture_unseen(bad):
    places, zero, one = np.float32([[40, 30], [10, 20], [50, 60]]), np.zeros(3, np.float32), np.ones(3, np.float32)
    estimate = Sighting(np.float32([[bad, 30], [10, 20], [50, 60]]), one, np.float32([1, np.nan, 1]))
    xy, certainty = fuse(FUSION, Followed(places, zero, one), estimate)
    np.testing.assert_array_equal(xy, places)
    np.testing.assert_array_equal(certainty, [0, 0, 1])


def test_an_even_picture_has_no_texture_nor_has_the_middle_of_an_edge():
    """Along a straight edge every place looks like the next one."""
    frame = np.full((64, 64, 3), 0.5, np.float32)
    frame[:, 32:] = -0.5
    found = texture_around(FUSION, frame, np.float32([[8, 30], [32, 32], [np.nan, 5], [-40, 900]]), (64, 64))
    np.testing.assert_allclose(found, 0, atol=1e-7)
    frame[32:] = 0.5
    assert texture_around(FUSION, frame, np.float32([[32, 32]]), (64, 64))[0] > 1e-2


def test_the_texture_of_no_points():
    assert texture_around(FUSION, np.zeros((20, 30, 3), np.float32), np.zeros((0, 2), np.float32), (20, 30)).shape == (
        0,
    )


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


@given(st.integers(1, 130), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_numbers_of_a_point_depend_on_no_other_point(count, seed):
    """To the bit; also of points that are on the edge, outside or nowhere."""
    rng = np.random.default_rng(seed)
    before, after = moving_texture(2, 41, 53, seed=seed % 100) / np.float32(127.5) - np.float32(1)
    xy = rng.uniform(-5, 70, (count, 2)).astype(np.float32)
    xy[1::7], xy[2::7, 0] = np.nan, 0
    told = [rng.uniform(0, 1, count).astype(np.float32) for _ in ["seen", "near"]]

    def all_of(rows):
        texture = texture_around(FUSION, before, xy[rows], (64, 64))
        moved, missed = follow(FUSION, before, after, xy[rows], (64, 64))
        sight = Sighting(xy[rows] + np.float32(0.7), *(each[rows] for each in told))
        at, certainty = fuse(FUSION, Followed(moved, missed, texture), sight)
        return np.column_stack([texture, moved, missed, at, certainty])

    together = all_of(np.arange(count))
    for rows in ([0], [count - 1], np.arange(0, count, 2), rng.permutation(count)):
        np.testing.assert_array_equal(all_of(np.array(rows)), together[rows])
