"""Augmentations move pictures and tracks alike: a visible point keeps its colour wherever it goes."""

from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.augment import (
    AUGMENTATIONS,
    LUMA,
    MARGIN,
    augmented,
    colour,
    crop,
    flip,
    grey,
    homography,
    resized,
    reverse,
    roll,
)
from training.data.labelled_video import LabelledVideo

SEEDS = st.integers(0, 2**32 - 1)


def still_clip(seed=0, frames=5, height=40, width=56, points=30, hidden=0.3):
    """A smooth picture that stands still, points anywhere on it, some hidden, some outside the frame while hidden."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (4, 5, 3)).astype(np.float32)
    picture = np.round(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255))
    xy = np.repeat(rng.uniform(0, 1, (points, 1, 2)) * (width, height), frames, 1).astype(np.float32)
    visible = rng.random((points, frames)) >= hidden
    visible[np.arange(points), rng.integers(frames, size=points)] = True
    xy[~visible] += rng.normal(0, 60, ((~visible).sum(), 2))
    t = visible.argmax(axis=1)
    queries = np.concatenate([t[:, None], xy[np.arange(points), t]], axis=1).astype(np.float32)
    return LabelledVideo(np.repeat(picture[None].astype(np.uint8), frames, 0), xy, visible, queries)


def colours(frame, xy):
    """Bilinear colours [N, 3] at raster positions [N, 2]."""
    index = (np.asarray(xy, np.float32) - 0.5)[None]
    return cv2.remap(frame.astype(np.float32), index, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]


MOTIONS = {"homography": homography, "roll": roll, "shift": partial(roll, rotate=False)}
PARTS = {"crop": crop, "flip": flip}


@pytest.mark.parametrize("motion", [*MOTIONS, *PARTS])
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, height=st.integers(24, 70), width=st.integers(24, 70), frames=st.integers(1, 6))
def test_a_visible_point_keeps_its_colour(motion, seed, height, width, frames):
    clip = still_clip(seed % 1000, frames, height, width, hidden=0)
    moved = {**MOTIONS, **PARTS}[motion](clip, np.random.default_rng(seed))
    assert moved.frames.shape == clip.frames.shape and moved.frames.dtype == np.uint8
    if len(moved.xy) and len(np.unique(moved.queries, axis=0)) < len(moved.queries):
        return  # copies are in the places of points that left
    errors = []
    for t in range(frames):
        # A point near the border is mixed with the black outside, or with the other side of a torus.
        inner = moved.visible[:, t] & border_distance(clip, t) & border_distance(moved, t)
        before, after = colours(clip.frames[t], clip.xy[inner, t]), colours(moved.frames[t], moved.xy[inner, t])
        errors.append(np.abs(before - after).ravel())
    errors = np.concatenate(errors)
    assert errors.size and np.median(errors) < 1.5 and np.quantile(errors, 0.9) < 6


def border_distance(clip, t, least=3.0):
    height, width = clip.frames.shape[1:3]
    return ((clip.xy[:, t] > least) & (clip.xy[:, t] < np.array([width, height]) - least)).all(axis=-1)


@pytest.mark.parametrize("motion", ["homography", "roll"])
def test_positions_have_no_bias_of_a_fraction_of_a_pixel(motion):
    """On ramps of 4 grey levels a pixel, a colour says where it came from."""
    height, width = 48, 64
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ramps = np.stack([4 * x, 4 * y, 0 * x], -1).round().astype(np.uint8)
    still = still_clip(0, 6, height, width, points=200, hidden=0)
    clip = LabelledVideo(np.repeat(ramps[None], 6, 0), still.xy, still.visible, still.queries)
    for seed in range(5):
        moved = MOTIONS[motion](clip, np.random.default_rng(seed), strength=4)
        for t in range(1, 6):
            inner = moved.visible[:, t] & border_distance(clip, t) & border_distance(moved, t)
            if motion == "roll":  # ramps do not join on a torus
                inner &= np.abs(colours(moved.frames[t], moved.xy[:, t])[:, :2] / 4 - clip.xy[:, t]).max(-1) < 2
            origin = colours(moved.frames[t], moved.xy[inner, t])[:, :2] / 4
            assert inner.sum() > 20
            assert np.abs((origin - clip.xy[inner, t]).mean(axis=0)).max() < 0.15


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_tracks_and_queries_stay_consistent(augment, seed):
    clip = still_clip(seed % 1000)
    moved = AUGMENTATIONS[augment](clip, np.random.default_rng(seed))
    height, width = clip.frames.shape[1:3]
    inside = ((moved.xy >= 0) & (moved.xy <= (width, height))).all(axis=-1)
    assert inside[moved.visible].all()
    assert np.isfinite(moved.xy).all()
    t = moved.queries[:, 0].astype(int)
    rows = np.arange(len(t))
    assert moved.visible[rows, t].all()
    np.testing.assert_array_equal(moved.queries[:, 1:], moved.xy[rows, t])
    for name in ("xy", "visible", "queries", "frames"):
        now, before = getattr(moved, name), getattr(clip, name)
        assert now.shape == before.shape and now.dtype == before.dtype


@pytest.mark.parametrize("motion", ["homography", "shift"])
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_where_nothing_leaves_the_frame_visibility_and_query_frames_stay(motion, seed):
    clip = still_clip(seed % 1000)
    moved = MOTIONS[motion](clip, np.random.default_rng(seed))
    np.testing.assert_array_equal(moved.visible, clip.visible)
    np.testing.assert_array_equal(moved.queries[:, 0], clip.queries[:, 0])


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_first_frame_stays_as_it_is(motion):
    clip = still_clip(4)
    moved = MOTIONS[motion](clip, np.random.default_rng(4))
    np.testing.assert_array_equal(moved.frames[0], clip.frames[0])
    seen = clip.visible[:, 0] & moved.visible[:, 0]
    np.testing.assert_allclose(moved.xy[seen, 0], clip.xy[seen, 0], atol=1e-4)
    assert np.abs(moved.frames[1:].astype(int) - clip.frames[1:]).mean() > 1


def test_a_shift_is_exact_to_the_bit_and_wraps():
    clip = still_clip(5, hidden=0)
    moved = roll(clip, np.random.default_rng(5), rotate=False)
    shift = (moved.xy - clip.xy).round().astype(int)
    assert np.abs(shift).max() > 5  # some points came in on the other side
    for t, (frame, before) in enumerate(zip(moved.frames, clip.frames, strict=True)):
        x, y = np.floor(clip.xy[:, t]).astype(int).T
        dx, dy = shift[:, t].T
        np.testing.assert_array_equal(frame[y + dy, x + dx], before[y, x])


@pytest.mark.parametrize("augment", [*MOTIONS.values(), crop, colour])
def test_a_seed_determines_the_result_and_the_clip_is_not_touched(augment):
    clip, untouched = still_clip(6), still_clip(6)
    first, again, other = (augment(clip, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name in ("frames", "xy", "visible", "queries"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        np.testing.assert_array_equal(getattr(clip, name), getattr(untouched, name))
    assert (first.frames != other.frames).any()


@pytest.mark.parametrize("motion", MOTIONS)
def test_no_strength_moves_nothing(motion):
    clip = still_clip(7)
    moved = MOTIONS[motion](clip, np.random.default_rng(0), strength=0)
    np.testing.assert_array_equal(moved.frames, clip.frames)
    np.testing.assert_allclose(moved.xy, clip.xy, atol=1e-4)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_no_points_and_no_queries(augment):
    clip = still_clip(8)
    nothing = LabelledVideo(clip.frames, clip.xy[:0], clip.visible[:0], clip.queries[:0])
    assert AUGMENTATIONS[augment](nothing, np.random.default_rng(0)).xy.shape == (0, 5, 2)
    open_clip = LabelledVideo(clip.frames, clip.xy, clip.visible)
    assert AUGMENTATIONS[augment](open_clip, np.random.default_rng(0)).queries is None


def test_a_corner_is_reflected_within_its_margin():
    """However strong the motion, what was in a corner stays within the margin of it, and does not stay at its end."""
    clip = still_clip(3, frames=60, points=4, hidden=0)
    height, width = clip.frames.shape[1:3]
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    xy = np.repeat(corners[:, None], 60, 1)
    clip = LabelledVideo(clip.frames, xy, clip.visible)
    moved = homography(clip, np.random.default_rng(3), strength=8)
    pushed = np.abs(moved.xy - xy) / (width, height)
    assert pushed.max() <= MARGIN + 1e-4
    assert (pushed > 0.99 * MARGIN).mean() < 0.2
    assert (pushed > 0.8 * MARGIN).any()


def test_a_point_that_turns_out_of_the_frame_gives_its_place_to_a_copy():
    """Visible on the last frame only, in a corner, which a turn cuts off."""
    clip = still_clip(9, points=2, hidden=0)
    xy, visible = clip.xy.copy(), clip.visible.copy()
    xy[0], visible[0] = 0.2, [False] * 4 + [True]
    xy[1] = 28, 20
    queries = np.float32([[4, 0.2, 0.2], [0, 28, 20]])
    clip = LabelledVideo(clip.frames, xy, visible, queries)
    turned = next(
        moved for seed in range(50) if not np.ptp((moved := roll(clip, np.random.default_rng(seed))).xy, axis=0).any()
    )
    np.testing.assert_array_equal(turned.visible[0], turned.visible[1])
    np.testing.assert_array_equal(turned.queries[0], turned.queries[1])


def test_a_motion_that_would_lose_every_point_is_left_out():
    clip = still_clip(9, points=1, hidden=0)
    clip = LabelledVideo(clip.frames, np.full_like(clip.xy, 0.2), np.arange(5)[None] == 4, np.float32([[4, 0.2, 0.2]]))
    for seed in range(20):
        moved = roll(clip, np.random.default_rng(seed))
        assert moved.visible.any()


# Parts of the picture, mirrors, time


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, height=st.integers(16, 70), width=st.integers(16, 70))
def test_a_crop_keeps_three_tenths_of_the_picture_at_least(seed, height, width):
    clip = still_clip(seed % 1000, 2, height, width, hidden=0)
    cropped = crop(clip, np.random.default_rng(seed), size=(40, 24))
    assert cropped.frames.shape == (2, 40, 24, 3)
    # Points that stay say by how much it is stretched.
    still = cropped.queries[:, 1:]
    if len(np.unique(still, axis=0)) == len(still):
        stretch = (np.ptp(still, axis=0) / np.ptp(clip.xy[:, 0], axis=0)) * (width / 24, height / 40)
        assert 0.95 <= stretch.prod() <= 1 / 0.28


def test_a_crop_that_would_show_no_point_is_left_out():
    clip = still_clip(9, points=1, hidden=0)
    clip = LabelledVideo(clip.frames, np.full_like(clip.xy, 0.2), clip.visible, np.float32([[0, 0.2, 0.2]]))
    seen = {crop(clip, np.random.default_rng(seed), size=(20, 28)).xy[0, 0, 0].round(3) for seed in range(30)}
    assert np.float32(0.1) in seen  # the whole picture at half its size
    assert all(crop(clip, np.random.default_rng(seed)).visible.all() for seed in range(30))


def test_resizing_scales_tracks_and_queries():
    clip = still_clip(1)
    half = resized(clip, (20, 28))
    assert half.frames.shape == (5, 20, 28, 3)
    np.testing.assert_allclose(half.xy, clip.xy / 2, rtol=1e-6)
    np.testing.assert_allclose(half.queries, clip.queries * (1, 0.5, 0.5), rtol=1e-6)
    assert resized(clip, (40, 56)) is clip


def test_twice_mirrored_and_twice_reversed_is_as_before():
    clip = still_clip(2)
    for augment in (flip, reverse):
        once = augment(clip, np.random.default_rng(0))
        twice = augment(once, np.random.default_rng(0))
        assert (once.frames != clip.frames).any() or augment is reverse
        np.testing.assert_array_equal(twice.frames, clip.frames)
        np.testing.assert_allclose(twice.xy, clip.xy, atol=1e-4)
        np.testing.assert_array_equal(twice.queries[:, 0], clip.queries[:, 0])


def test_time_goes_backwards_for_what_was_annotated_too():
    clip = still_clip(2, hidden=0)
    clip = LabelledVideo(clip.frames, clip.xy, clip.visible, clip.queries, np.array([True, True, False, False, False]))
    backwards = reverse(clip, np.random.default_rng(0))
    assert backwards.annotated.tolist() == [False, False, False, True, True]
    assert (backwards.queries[:, 0] == 4).all()


def test_each_is_applied_as_often_as_its_share_says():
    clip = still_clip(3, frames=2, points=3)
    rngs = [np.random.default_rng(seed) for seed in range(60)]
    mirrored = [(augmented(clip, {"flip": 0.5}, rng).frames != clip.frames).any() for rng in rngs]
    assert 15 < sum(mirrored) < 45
    assert augmented(clip, {}, np.random.default_rng(0)) is clip
    both = augmented(clip, {"flip": 1.0, "grey": 1.0}, np.random.default_rng(0))
    np.testing.assert_array_equal(both.frames, grey(flip(clip, None), None).frames)


# Colour


def test_grey_has_no_colour_and_keeps_its_grey():
    changed = grey(one_colour(110, 130, 150), np.random.default_rng(0)).frames[0, 0, 0]
    assert np.ptp(changed) == 0 and abs(int(changed[0]) - LUMA @ [110, 130, 150]) <= 1


def one_colour(*rgb):
    clip = still_clip(points=1)
    return LabelledVideo(np.broadcast_to(np.uint8(rgb), clip.frames.shape).copy(), clip.xy, clip.visible, clip.queries)


def amounts(**changes):
    return {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, **changes}


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_colours_change_alike_in_all_frames_and_tracks_not_at_all(seed):
    clip = still_clip(seed % 1000)
    changed = colour(clip, np.random.default_rng(seed))
    assert (changed.frames == changed.frames[:1]).all()
    assert changed.xy is clip.xy and changed.visible is clip.visible and changed.queries is clip.queries


def test_no_amount_changes_nothing():
    clip = still_clip()
    np.testing.assert_array_equal(colour(clip, np.random.default_rng(0), **amounts()).frames, clip.frames)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_brightness_adds_contrast_keeps_mid_grey(seed):
    rng = np.random.default_rng
    bright = colour(one_colour(100, 120, 140), rng(seed), **amounts(brightness=0.1)).frames[0, 0, 0].astype(int)
    assert np.ptp(bright - [100, 120, 140]) <= 1 and abs(bright[0] - 100) <= 26
    grey = colour(one_colour(127, 128, 127), rng(seed), **amounts(contrast=0.5)).frames[0, 0, 0].astype(int)
    assert np.abs(grey - 127.5).max() <= 1.5


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_saturation_and_hue_keep_a_pixels_grey_and_leave_grey_alone(seed):
    for changes in ({"saturation": 0.4}, {"hue": 0.2}):
        changed = colour(one_colour(110, 130, 150), np.random.default_rng(seed), **amounts(**changes)).frames[0, 0, 0]
        assert LUMA @ changed == pytest.approx(LUMA @ [110, 130, 150], abs=1)
        grey = colour(one_colour(90, 90, 90), np.random.default_rng(seed), **amounts(**changes)).frames[0, 0, 0]
        assert grey.tolist() == [90, 90, 90]


def test_a_third_of_a_turn_takes_red_to_green():
    class Largest:
        """Always draws the upper bound."""

        def uniform(self, low, high):
            return high

    changed = colour(one_colour(180, 100, 100), Largest(), **amounts(hue=1 / 3)).frames[0, 0, 0].astype(int)
    assert changed.argmax() == 1
    assert abs(changed[0] - changed[2]) <= 1
