"""`tapsdk.lift`: points in metres, and what is refused."""

import numpy as np
import pytest

import tapsdk
from tapsdk.errors import DepthError, TapsdkError
from tapsdk.tracks import Tracks
from tests.tapsdk.space.made import Made, with_all_seen


@pytest.fixture(scope="module")
def scene():
    return Made()


@pytest.fixture(scope="module")
def depth(scene):
    return scene.depth()


def right(found, visible):
    return (found.visible == visible).mean()


@pytest.mark.parametrize("made", [Made(), Made((90, 50), 14, (60.0, 70.0, 20.5, 52.0))], ids=["wide", "tall"])
def test_true_tracks_are_lifted_to_their_places(made):
    tracks, camera, world = made.tracks(80, seed=1)
    depth = made.depth()
    for poses, truth in ((None, camera), (made.poses, world)):
        found = tapsdk.lift(tracks, depth, made.intrinsics, poses)
        both = found.visible & tracks.visible
        off = np.linalg.norm(found.xyz - truth, axis=-1)[both] / camera[..., 2][both]
        assert np.median(off) < 1e-4 and np.quantile(off, 0.95) < 0.01
        assert right(found, tracks.visible) > 0.98
        assert not (found.visible & ~tracks.visible).any()
        assert found.frame == ("camera" if poses is None else "world")
    assert found.xyz.dtype == np.float32 and found.fps == 10
    np.testing.assert_array_equal(found.queries, tracks.queries)


def test_what_comes_before_a_point_hides_it_though_the_tracker_sees_it(scene, depth):
    tracks, _, _ = scene.tracks(120, seed=2)
    blind = with_all_seen(tracks, scene.size)
    wrong = blind.visible & ~tracks.visible
    assert wrong.sum() > 100
    for poses in (None, scene.poses):
        found = tapsdk.lift(blind, depth, scene.intrinsics, poses)
        assert right(found, tracks.visible) > 0.97 > right(blind, tracks.visible)
        assert (found.visible & wrong).sum() < 0.15 * wrong.sum()
        hidden = wrong & ~found.visible
        assert np.isnan(found.xyz[hidden]).all() and (found.confidence[hidden] == 0).all()


def test_what_is_visible_has_a_place(scene, depth):
    tracks, _, _ = scene.tracks(50)
    holes = np.where(np.random.default_rng(0).random(depth.shape) < 0.3, 0, depth)
    found = tapsdk.lift(tracks, holes, scene.intrinsics)
    assert np.isfinite(found.xyz[found.visible]).all()
    assert (found.confidence[np.isnan(found.xyz).any(axis=-1)] == 0).all()
    assert right(found, tracks.visible) > 0.95


def test_confidence_is_the_trackers_and_lower_at_edges(scene, depth):
    tracks, _, _ = scene.tracks(120, seed=3)
    found = tapsdk.lift(tracks, depth, scene.intrinsics)
    assert set(found.confidence[found.visible].astype(float).round(3)) <= {0.5, 0.8, 1.0}
    clean = found.confidence[found.visible] == 1
    assert 0.5 < clean.mean() < 1
    half = Tracks(tracks.xy, tracks.visible, tracks.confidence / 2, queries=tracks.queries)
    np.testing.assert_allclose(tapsdk.lift(half, depth, scene.intrinsics).confidence, found.confidence / 2)


@pytest.mark.parametrize(("noise", "flicker"), [(0.02, 0), (0.04, 0), (0, 0.03), (0, 0.06)])
def test_noise_and_flicker_of_depth_hide_nothing(scene, depth, noise, flicker):
    rng = np.random.default_rng(0)
    tracks, camera, _ = scene.tracks(100)
    frames = rng.normal(1, flicker, (len(depth), 1, 1))
    found = tapsdk.lift(tracks, depth * frames * rng.normal(1, noise, depth.shape), scene.intrinsics)
    assert right(found, tracks.visible) > 0.93
    both = found.visible & tracks.visible
    assert np.median(abs(found.xyz[both][:, 2] / camera[both][:, 2] - 1)) < noise + flicker


def test_a_point_at_an_edge_keeps_its_surface_where_the_tracker_is_half_a_pixel_off(scene, depth):
    """A point of the board by its edge, tracked half a pixel beyond it: the wall behind is not its place."""
    still = np.repeat(depth[:1], scene.frames, axis=0)
    edge = np.flatnonzero(np.diff(still[0, 31]) > 1)[0] + 1.0  # the board ends before this pixel
    xy = np.full((1, scene.frames, 2), (edge - 1, 31.5))
    xy[0, 1::2, 0] = edge + 0.4
    tracks = Tracks(xy, np.ones(xy.shape[:2]), np.ones(xy.shape[:2]), queries=[[0, *xy[0, 0]]])
    found = tapsdk.lift(tracks, still, scene.intrinsics)
    assert found.visible.all()
    np.testing.assert_allclose(found.xyz[0, :, 2], 3.0, rtol=1e-3)
    np.testing.assert_allclose(found.confidence[0, 1::2], 0.5)


def test_depth_may_be_anything_that_holds_maps(scene, depth, tmp_path):
    tracks, _, _ = scene.tracks(20)
    expected = tapsdk.lift(tracks, depth, scene.intrinsics)
    np.save(tmp_path / "depth.npy", depth)
    np.savez(tmp_path / "depth.npz", depth=depth, other=np.zeros(3))
    for given in (list(depth), iter(depth), tmp_path / "depth.npy", str(tmp_path / "depth.npz"), (m for m in depth)):
        found = tapsdk.lift(tracks, given, scene.intrinsics)
        np.testing.assert_array_equal(found.xyz, expected.xyz)


def test_an_iterable_is_read_one_map_at_a_time(scene, depth):
    tracks, _, _ = scene.tracks(5)
    alive = []

    def maps():
        for each in depth:
            alive.append(each.copy())
            yield alive[-1]
            alive.clear()

    assert tapsdk.lift(tracks, maps(), scene.intrinsics).visible.any()


def test_integers_are_millimetres_and_a_scale_says_otherwise(scene, depth):
    tracks, _, _ = scene.tracks(20)
    expected = tapsdk.lift(tracks, depth, scene.intrinsics).xyz
    for given, scale in ((np.rint(depth * 1000).astype(np.uint16), None), (depth * 250, 0.004)):
        found = tapsdk.lift(tracks, given, scene.intrinsics, depth_scale=scale).xyz
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_other_forms_of_the_camera(scene, depth):
    tracks, _, _ = scene.tracks(20)
    fx, fy, cx, cy = scene.intrinsics
    expected = tapsdk.lift(tracks, depth, scene.intrinsics).xyz
    matrix = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    each = [scene.intrinsics] * scene.frames
    for given in (matrix, each, [matrix] * scene.frames):
        np.testing.assert_array_equal(tapsdk.lift(tracks, depth, given).xyz, expected)
    centred = tapsdk.lift(tracks, depth, (fx, fy, cx - 0.5, cy - 0.5), pixel_centers=True)
    np.testing.assert_array_equal(centred.xyz, expected)


def test_one_pose_stands_for_all_frames(scene, depth):
    tracks, _, _ = scene.tracks(20)
    pose = scene.poses[-1]
    here = tapsdk.lift(tracks, depth, scene.intrinsics)
    there = tapsdk.lift(tracks, depth, scene.intrinsics, pose)
    np.testing.assert_allclose(there.xyz, here.xyz @ pose[:3, :3].T + pose[:3, 3], atol=1e-5)
    assert there.camera_to_world.shape == (scene.frames, 4, 4)


def test_smaller_maps_of_the_same_view_need_the_videos_size(scene, depth):
    tracks, camera, _ = scene.tracks(60)
    small = Made((30, 45), scene.frames, tuple(np.array(scene.intrinsics) / 2)).depth()
    found = tapsdk.lift(tracks, small, scene.intrinsics, size=scene.size)
    both = found.visible & tracks.visible
    assert np.median(abs(found.xyz[both][:, 2] / camera[both][:, 2] - 1)) < 1e-3
    with pytest.raises(DepthError, match="another size; give size"):
        tapsdk.lift(tracks, small, (*scene.intrinsics[:2], 20, 15))


@pytest.mark.parametrize("count", [0, 1])
def test_no_points_and_one_point(scene, depth, count):
    tracks, _, _ = scene.tracks(count)
    found = tapsdk.lift(tracks, depth, scene.intrinsics, scene.poses)
    assert found.xyz.shape == (count, scene.frames, 3)
    assert found.visible.sum() == tracks.visible.sum()


def test_no_frames():
    empty = Tracks(np.zeros((2, 0, 2)), np.zeros((2, 0)), np.zeros((2, 0)))
    assert tapsdk.lift(empty, np.zeros((0, 4, 4)), (1, 1, 2, 2)).xyz.shape == (2, 0, 3)


def test_positions_that_are_no_numbers_or_far_away_give_none(scene, depth):
    tracks, _, _ = scene.tracks(12)
    xy = tracks.xy.copy()
    xy[0, 3:5], xy[1, 4] = np.nan, 1e30
    visible = tracks.visible.copy()
    visible[:2] = True
    xy[2:6], visible[2:6] = np.nan, True
    found = tapsdk.lift(Tracks(xy, visible, visible), depth, scene.intrinsics)
    assert np.isnan(found.xyz[0, 3:5]).all() and np.isnan(found.xyz[1, 4]).all()
    assert not found.visible[0, 3:5].any() and not found.visible[1, 4]


def test_tracks_without_queries_start_where_they_are_surest(scene, depth):
    tracks, _, _ = scene.tracks(60, seed=5)
    bare = Tracks(tracks.xy, tracks.visible, tracks.confidence)
    found = tapsdk.lift(bare, depth, scene.intrinsics)
    assert right(found, tracks.visible) > 0.97


# What is refused


def edited(depth, change):
    changed = depth.copy()
    change(changed)
    return changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d[:, :40, :60], "60 x 40 pixels, but a visible point is at .*another size"),
        (lambda d: d[:-3], "17 depth maps for 20 frames"),
        (lambda d: np.concatenate([d, d]), "40 depth maps for 20 frames"),
        (lambda d: iter(d[:-3]), "17 depth maps for 20 frames"),
        (lambda d: iter([*d, d[0]]), "more than 20 depth maps for 20 frames"),
        (lambda d: [*d[:4], d[4, :10], *d[5:]], "depth map 4 is 90 x 10 pixels, but those before it are 90 x 60"),
        (lambda d: d * 0, "no depth map holds a depth"),
        (lambda d: d * np.nan, "no depth map holds a depth"),
        (lambda d: -d, "no depth map holds a depth"),
        (lambda d: d * 1000, "farther than .* m, because floats are metres unless depth_scale"),
        (lambda d: d / 2000, "nearer than .* m, because floats are metres"),
        (lambda d: np.rint(d).astype(np.uint16), "nearer than .* m, because integers are millimetres"),
        (lambda d: d[0], r"depth must have shape \[T, H, W\], got \[60, 90\]; give a single map as depth\[None\]"),
        (lambda d: d[..., None].repeat(3, -1), r"depth must have shape \[T, H, W\], got"),
        (lambda d: iter([m[..., None].repeat(3, -1) for m in d]), r"depth map 0 must have shape \[H, W\]"),
        (lambda d: d > 1, "must hold numbers, got bool"),
        (lambda d: {"depth": d}, "depth cannot be read of this, got dict"),
        (lambda d: iter([]), "there are no depth maps"),
        (lambda d: None, "depth cannot be read of this, got NoneType"),
    ],
)
def test_depth_that_does_not_fit_is_named(scene, depth, change, says):
    tracks, _, _ = scene.tracks(30)
    with pytest.raises(DepthError, match=says) as caught:
        tapsdk.lift(tracks, change(depth), scene.intrinsics)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TapsdkError)


def test_an_odd_scale_that_was_asked_for_is_a_warning(scene, depth, caplog):
    tracks, _, _ = scene.tracks(10)
    found = tapsdk.lift(tracks, depth, scene.intrinsics, depth_scale=1000)
    assert np.nanmedian(found.xyz[..., 2]) > 1000
    assert "is that many metres a step?" in caplog.text


def test_one_map_without_depth_is_a_gap_and_no_error(scene, depth):
    tracks, _, _ = scene.tracks(30)
    found = tapsdk.lift(tracks, edited(depth, lambda d: d[7].fill(0)), scene.intrinsics)
    assert np.isnan(found.xyz[:, 7]).all() and not found.visible[:, 7].any()
    assert found.visible[:, 8].sum() == tracks.visible[:, 8].sum()


@pytest.mark.parametrize(
    ("intrinsics", "says"),
    [
        ((0, 76, 44, 31), "focal lengths must be above 0 pixels, got fx, fy = 0, 76"),
        ((80, -1, 44, 31), "focal lengths must be above 0"),
        ((80, 76, 91, 31), "the centre cx, cy = 91, 31 lies outside of frames of 90 x 60 pixels"),
        ((80, 76, 44, -2), "lies outside"),
        ((80, np.nan, 44, 31), "NaN or infinity"),
        ((80, 76, 44), r"must be \(fx, fy, cx, cy\).*got shape \[3\]"),
        ([(80, 76, 44, 31)] * 3, "each of 20 frames"),
        ([[80, 2, 44], [0, 76, 31], [0, 0, 1]], "remove skew"),
        ("wide", "must be an array of numbers"),
    ],
)
def test_intrinsics_that_cannot_be_are_named(scene, depth, intrinsics, says):
    tracks, _, _ = scene.tracks(5)
    with pytest.raises(DepthError, match=says):
        tapsdk.lift(tracks, depth, intrinsics)


def test_a_centre_far_from_the_middle_is_a_warning(scene, depth, caplog):
    tracks, _, _ = scene.tracks(5)
    tapsdk.lift(tracks, depth, (80, 76, 15, 31))
    assert "far from the middle of depth maps of 90 x 60 pixels" in caplog.text


def pose(**changes):
    matrix = np.eye(4)
    for name, value in changes.items():
        matrix[int(name[1]), int(name[2])] = value
    return matrix


@pytest.mark.parametrize(
    ("poses", "says"),
    [
        (pose(a00=2), r"camera_to_world\[0\] is no rotation"),
        (pose(a00=-1), r"camera_to_world\[0\] mirrors the world"),
        (pose(a03=np.nan), r"camera_to_world\[0\] holds NaN"),
        (pose(a30=1), r"camera_to_world\[0\] must end in the row 0, 0, 0, 1"),
        ([pose()] * 7 + [pose(a11=0.5)] + [pose()] * 12, r"camera_to_world\[7\] is no rotation"),
        ([pose()] * 3, r"must have shape \[4, 4\] or \[20, 4, 4\]"),
        (np.eye(3), r"must have shape \[4, 4\]"),
    ],
)
def test_poses_that_are_none_are_named(scene, depth, poses, says):
    tracks, _, _ = scene.tracks(5)
    with pytest.raises(DepthError, match=says):
        tapsdk.lift(tracks, depth, scene.intrinsics, poses)


@pytest.mark.parametrize("tolerance", [0, -1, np.nan])
def test_a_tolerance_is_above_zero(scene, depth, tolerance):
    with pytest.raises(DepthError, match="tolerance must be"):
        tapsdk.lift(scene.tracks(2)[0], depth, scene.intrinsics, tolerance=tolerance)
