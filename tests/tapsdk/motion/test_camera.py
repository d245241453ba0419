import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapsdk.errors import PointsError
from tapsdk.motion import apply_homography, camera_motion
from tests.support import ROOT
from tests.tapsdk.motion.made import SIZE, pan, scene

GRID = np.stack(np.meshgrid([160.0, 320, 480], [120.0, 240, 360]), -1).reshape(-1, 2)


def off(motion, made, source, target):
    """Pixels by which the motion of the background between two frames is wrong, at most."""
    found = apply_homography(motion.between(source, target), GRID)
    return np.linalg.norm(found - apply_homography(made.between(source, target), GRID), axis=1).max()


# As published


def test_camera_and_foreground_are_those_of_the_reference():
    with np.load(ROOT / "tests/golden/viz_utils.npz") as stored:
        case = {name.split("/")[1]: stored[name] for name in stored.files if name.startswith("camera/")}
    visible = case["occluded"] < 0.5
    motion = camera_motion(case["tracks"], visible, SIZE)
    np.testing.assert_array_equal(motion.foreground, case["foreground"])
    theirs = case["homographies"] * np.sign(case["homographies"][:, 2:, 2:])
    aligned = apply_homography(theirs, case["tracks"].swapaxes(0, 1)).swapaxes(0, 1)
    shown = visible & ~case["foreground"][:, None]
    np.testing.assert_allclose((motion.stabilised(case["tracks"]) / SIZE[::-1])[shown], aligned[shown], atol=1e-3)
    places = motion.places / SIZE[::-1]
    np.testing.assert_allclose(places[~motion.foreground], case["canonical"][~motion.foreground], atol=1e-3)


# Made motion


def test_exact_tracks_give_the_exact_camera():
    made = scene()
    motion = camera_motion(made.xy, made.visible, SIZE)
    assert motion.found.all()
    np.testing.assert_array_equal(motion.foreground, made.foreground)
    for source, target in ((0, 11), (11, 0), (3, 7)):
        assert off(motion, made, source, target) < 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.3), st.floats(0, 0.8))
def test_noise_gaps_and_other_motion_do_not_matter(seed, hidden, noise):
    made = scene(60, 15, hidden=hidden, noise=noise, seed=seed)
    motion = camera_motion(made.xy, made.visible, SIZE, seed=seed)
    often = made.visible.sum(axis=1) >= 6
    np.testing.assert_array_equal(motion.foreground[often], made.foreground[often])
    assert off(motion, made, 0, 11) < 5


def test_frames_that_share_no_point_meet_by_way_of_those_between():
    made = scene(400, 8, 60, pan(60, step=(25, 0), turn=0, zoom=0, lean=0), noise=0.3)
    assert not (made.visible[:, 0] & made.visible[:, 59]).any()
    motion = camera_motion(made.xy, made.visible, SIZE)
    assert motion.found.all()
    assert off(motion, made, 0, 59) < 8
    assert np.linalg.norm(made.between(0, 59)[:2, 2]) > 1400


@pytest.mark.parametrize("reference", [0, 5, 11])
def test_the_reference_frame_stays_what_it_is(reference):
    made = scene(noise=0.5)
    motion = camera_motion(made.xy, made.visible, SIZE, reference=reference)
    assert motion.reference == reference
    np.testing.assert_allclose(motion.to_reference[reference], np.eye(3), atol=1e-9)
    assert off(motion, made, 0, 11) < 3


def test_the_background_stands_still_once_stabilised():
    made = scene()
    motion = camera_motion(made.xy, made.visible, SIZE)
    for still, frame in ((motion.stabilised(made.xy), motion.reference), (motion.stabilised(made.xy, 2), 2)):
        background = still[~made.foreground]
        there = made.visible[~made.foreground]
        spread = np.abs(background - made.xy[~made.foreground, frame][:, None])[there]
        assert spread.max() < 0.01
        steps = np.linalg.norm(np.diff(still[made.foreground], axis=1), axis=2)
        assert steps.min() > 4


def test_a_camera_that_stands_still():
    made = scene(camera=np.tile(np.eye(3), (12, 1, 1)))
    motion = camera_motion(made.xy, made.visible, SIZE)
    np.testing.assert_allclose(motion.to_reference, np.tile(np.eye(3), (12, 1, 1)), atol=1e-9)
    np.testing.assert_array_equal(motion.foreground, made.foreground)


def test_distances_are_from_where_the_background_is():
    made = scene()
    motion = camera_motion(made.xy, made.visible, SIZE)
    assert motion.distance.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(motion.distance), ~made.visible)
    assert np.nanmax(motion.distance[~made.foreground]) < 0.01
    assert np.nanmax(motion.distance[made.foreground], axis=1).min() > 10


def test_the_same_seed_gives_the_same_camera():
    made = scene(noise=1)
    one, other = (camera_motion(made.xy, made.visible, SIZE, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.to_reference, other.to_reference)


def test_hidden_positions_do_not_count_whatever_they_are():
    made = scene(hidden=0.2)
    expected = camera_motion(made.xy, made.visible, SIZE)
    spoilt = np.where(made.visible[..., None], made.xy, np.nan)
    found = camera_motion(spoilt, made.visible, SIZE)
    np.testing.assert_array_equal(found.to_reference, expected.to_reference)
    np.testing.assert_array_equal(found.foreground, expected.foreground)


def test_a_position_that_is_no_number_counts_as_hidden():
    made = scene()
    made.xy[3, 4] = np.nan
    motion = camera_motion(made.xy, made.visible, SIZE)
    assert np.isnan(motion.distance[3, 4])
    assert off(motion, made, 0, 11) < 1e-3


def test_where_too_little_is_seen_the_camera_stays_as_it_was():
    made = scene()
    made.visible[3:, 8] = False
    motion = camera_motion(made.xy, made.visible, SIZE)
    np.testing.assert_array_equal(np.flatnonzero(~motion.found), [8])
    np.testing.assert_allclose(motion.to_reference[8], motion.to_reference[7], atol=1e-6)
    assert off(motion, made, 0, 11) < 1e-3


def test_where_no_two_points_agree_there_is_no_camera():
    xy = np.random.default_rng(0).uniform(0, 400, (40, 3, 2))
    motion = camera_motion(xy, np.ones((40, 3), bool), SIZE)
    np.testing.assert_array_equal(motion.found, [False, True, False])
    np.testing.assert_allclose(motion.to_reference, np.tile(np.eye(3), (3, 1, 1)), atol=1e-9)


def test_thousands_of_points():
    made = scene(3000, 500, 6)
    motion = camera_motion(made.xy, made.visible, SIZE)
    np.testing.assert_array_equal(motion.foreground[made.visible.any(1)], made.foreground[made.visible.any(1)])
    assert off(motion, made, 0, 5) < 1e-3


@pytest.mark.parametrize("points, frames", [(0, 0), (0, 5), (1, 5), (3, 5), (5, 1)])
def test_too_few_points_for_any_motion(points, frames):
    xy = np.random.default_rng(0).uniform(0, 400, (points, 1, 2)).repeat(frames, axis=1)
    motion = camera_motion(xy, np.ones((points, frames), bool), SIZE)
    np.testing.assert_allclose(motion.to_reference, np.tile(np.eye(3), (frames, 1, 1)), atol=1e-9)
    assert motion.foreground.tolist() == [False] * points
    np.testing.assert_allclose(motion.places, xy[:, 0] if frames else np.full((points, 2), np.nan))


def test_points_that_are_never_seen():
    made = scene()
    made.visible[:] = False
    motion = camera_motion(made.xy, made.visible, SIZE)
    assert np.isnan(motion.places).all()
    assert not motion.foreground.any()
    assert motion.found.sum() == 1


# What is refused


@pytest.mark.parametrize(
    "arguments, options, sentence",
    [
        ((np.ones((3, 4)), np.ones((3, 4))), {}, r"xy must have shape \[N, T, 2\]"),
        ((np.ones((3, 4, 2)), np.ones((4, 3))), {}, r"visible must have shape \[3, 4\]"),
        ((np.ones((3, 4, 2)), np.ones((3, 4))), {"reference": 4}, "reference must be a frame from 0 to 3, got 4"),
        ((np.ones((3, 4, 2)), np.ones((3, 4))), {"threshold": 0}, "threshold must be a positive share"),
        ((np.ones((3, 4, 2)), np.ones((3, 4))), {"size": (0, 640)}, "both positive"),
    ],
)
def test_arguments_that_do_not_fit(arguments, options, sentence):
    size = options.pop("size", SIZE)
    with pytest.raises(PointsError, match=sentence):
        camera_motion(*arguments, size, **options)


def test_tracks_of_another_length_cannot_be_stabilised():
    made = scene()
    motion = camera_motion(made.xy, made.visible, SIZE)
    with pytest.raises(PointsError, match=r"\[N, 12, 2\], got \[50, 11, 2\]"):
        motion.stabilised(made.xy[:, 1:])
