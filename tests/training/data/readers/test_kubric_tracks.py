"""Tracks from what a renderer knows, against a scene that was worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapsdk
from tests.training.data.synthetic.scenes import Box, Truth, moving_box, turn
from training.data.readers.kubric import spatial_video
from training.data.readers.kubric_tracks import CORNERS, Camera, Scene, choose_pixels, poses, rotations, track_pixels


@pytest.fixture(scope="module", params=[(48, 80), (64, 40)], ids=["wide", "tall"])
def rendered(request):
    truth = moving_box(size=request.param)
    return truth, truth.render()


def some_pixels(scene, count=300, seed=0):
    return choose_pixels(scene.segmentation, count, np.random.default_rng(seed), stride=1)


def test_tracks_are_exact_for_objects_and_background_in_wide_and_tall_frames(rendered):
    truth, scene = rendered
    pixels = some_pixels(scene)
    xy, _ = track_pixels(scene, pixels)
    expected, _ = truth.tracks(scene, pixels)
    assert set(scene.segmentation[tuple(pixels.T)]) == {0, 1, 2}
    np.testing.assert_allclose(xy, expected, atol=1e-3)


def test_visibility_is_exact_away_from_edges(rendered):
    """Depth is known at pixels only, so that nothing decides about points within a pixel of an edge."""
    truth, scene = rendered
    pixels = some_pixels(scene)
    xy, visible = track_pixels(scene, pixels)
    _, expected = truth.tracks(scene, pixels)
    clear = away_from_edges(scene, xy)
    np.testing.assert_array_equal(visible[clear], expected[clear])
    assert (visible == expected).mean() > 0.98
    hidden_inside = ~expected & clear & ((xy >= 0) & (xy <= scene.camera.size[::-1])).all(-1)
    assert hidden_inside.sum() > 20 and (expected & clear).sum() > 200


def away_from_edges(scene, xy):
    """Whether all pixels within 2 of a point show the same face, or the point is far outside the frame."""
    height, width = scene.camera.size
    x, y = np.moveaxis(np.floor(xy).astype(int), -1, 0)
    outside = (x < -1) | (x > width) | (y < -1) | (y > height)
    time = np.arange(len(scene.depth))
    here = scene.normals[time, y.clip(0, height - 1), x.clip(0, width - 1)]
    label = scene.segmentation[time, y.clip(0, height - 1), x.clip(0, width - 1)]
    same = np.ones(x.shape, bool)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            row, column = (y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)
            same &= np.abs(scene.normals[time, row, column] - here).max(-1) < 1e-3
            same &= scene.segmentation[time, row, column] == label
    near_border = (x < 1) | (x > width - 2) | (y < 1) | (y > height - 2)
    return outside | (same & ~near_border)


def test_a_query_is_the_centre_of_its_pixel_and_visible(rendered):
    _, scene = rendered
    pixels = some_pixels(scene)
    xy, visible = track_pixels(scene, pixels)
    rows = np.arange(len(pixels))
    np.testing.assert_array_equal(xy[rows, pixels[:, 0]], pixels[:, [2, 1]] + np.float32(0.5))
    assert visible[rows, pixels[:, 0]].all()
    assert xy.dtype == np.float32 and visible.dtype == bool


def thin_plate(frames=5):
    """A plate 2 mm thick that turns its back: its far side lies within the slack of depth."""
    t = np.linspace(0, 1, frames)
    plate = Box(np.array([1.0, 1.0, 0.002]), np.tile([0, 0, -1.0], (frames, 1)), turn([0, 1, 0], np.pi * t))
    camera = Camera(35.0, 32.0, np.tile([0, 0, 2.0], (frames, 1)), turn([0, 1, 0], 0 * t), (48, 48))
    return Truth(camera, (plate,)).render()


def test_the_back_of_a_thin_object_is_hidden_by_its_normals():
    scene = thin_plate()
    front = np.array([[0, 24, 24], [0, 20, 26]])
    _, visible = track_pixels(scene, front)
    np.testing.assert_array_equal(visible[:, [0, 1, 3, 4]], [[True, True, False, False]] * 2)
    _, blind = track_pixels(replace(scene, normals=None), front)
    assert blind[:, [0, 4]].all()


def test_bumpy_and_inverted_normals_are_not_trusted():
    scene = thin_plate()
    front = np.array([[0, 24, 24]])
    bumpy = np.random.default_rng(0).normal(0, 1, scene.normals.shape)
    for normals in (bumpy, -scene.normals):
        _, visible = track_pixels(replace(scene, normals=normals), front)
        assert visible[0, [0, 4]].all()


def test_behind_the_camera_nothing_is_visible_and_everything_finite():
    frames = 4
    t = np.linspace(0, 1, frames)
    camera = Camera(35.0, 32.0, np.tile([0, 0, 2.0], (frames, 1)), turn([0, 1, 0], np.pi * t), (32, 32))
    scene = Scene(np.zeros((frames, 32, 32), int), np.full((frames, 32, 32), 3.0), None, np.zeros((0, 4, 8, 3)), camera)
    xy, visible = track_pixels(scene, np.array([[0, 16, 16], [0, 0, 31]]))
    assert not visible[:, 2:].any()
    assert np.isfinite(xy).all()


def test_no_points_give_no_tracks():
    scene = thin_plate()
    xy, visible = track_pixels(scene, np.zeros((0, 3), int))
    assert xy.shape == (0, 5, 2) and visible.shape == (0, 5)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotations_keep_lengths_and_handedness(quaternion):
    matrix = rotations(np.array(quaternion))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_a_quarter_turn_about_z_takes_x_to_y():
    np.testing.assert_allclose(rotations(np.array([1, 0, 0, 1])) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


@given(st.integers(0, 10_000))
def test_poses_are_found_from_the_corners(seed):
    rng = np.random.default_rng(seed)
    matrix, offset = rng.normal(0, 1, (2, 3, 3, 3)), rng.normal(0, 1, (2, 3, 3))
    boxes = np.einsum("itwb,cb->itcw", matrix, CORNERS) + offset[:, :, None]
    matrices, offsets = poses(boxes, 3)
    np.testing.assert_allclose(matrices[1:], matrix, atol=1e-9)
    np.testing.assert_allclose(offsets[1:], offset, atol=1e-9)
    np.testing.assert_array_equal(matrices[0], np.tile(np.eye(3), (3, 1, 1)))


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40))
def test_rays_and_projection_are_inverse(seed, height, width):
    rng = np.random.default_rng(seed)
    camera = Camera(rng.uniform(10, 80), 32.0, rng.normal(0, 3, (2, 3)), rng.normal(0, 1, (2, 4)), (height, width))
    xy = rng.uniform(0, 1, (5, 2)) * (width, height)
    t = rng.integers(0, 2, 5)
    points = camera.positions[t] + camera.rays(t, xy) * rng.uniform(1, 9, (5, 1))
    found, ahead = camera.project(np.repeat(points[:, None], 2, 1))
    np.testing.assert_allclose(found[np.arange(5), t], xy, atol=1e-6)
    assert ahead[np.arange(5), t].all()


# In space


def test_tracks_in_space_agree_with_those_in_the_picture_and_with_depth(rendered):
    _, scene = rendered
    pixels = some_pixels(scene)
    frames = np.zeros((*scene.depth.shape, 3), np.uint8)
    video = spatial_video(frames, scene, pixels, "box")
    xy, visible = track_pixels(scene, pixels)
    np.testing.assert_array_equal(video.xy, xy)
    np.testing.assert_array_equal(video.visible, visible)
    fx, fy, cx, cy = video.intrinsics
    at = video.xyz[..., :2] / video.xyz[..., 2:] * (fx, fy) + (cx, cy)
    np.testing.assert_allclose(at[visible], xy[visible], atol=1e-3)
    turn, offset = video.camera_to_world[:, :3, :3], video.camera_to_world[:, :3, 3]
    np.testing.assert_allclose(np.einsum("tij,ntj->nti", turn, video.xyz) + offset, video.xyz_world, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(turn), 1)
    t, y, x = pixels.T
    np.testing.assert_allclose(video.depth[t, y, x], video.xyz[np.arange(len(t)), t, 2], rtol=1e-5)


def test_the_background_stands_still_in_the_world_and_objects_keep_their_size(rendered):
    _, scene = rendered
    pixels = some_pixels(scene)
    video = spatial_video(np.zeros((*scene.depth.shape, 3), np.uint8), scene, pixels)
    label = scene.segmentation[tuple(pixels.T)]
    assert np.ptp(video.xyz_world[label == 0], axis=1).max() < 1e-5
    for index in (1, 2):
        mine = video.xyz_world[label == index]
        apart = np.linalg.norm(mine - mine[:1], axis=-1)
        np.testing.assert_allclose(apart, apart[:, :1].repeat(apart.shape[1], 1), atol=1e-5)
        assert np.ptp(mine, axis=1).max() > 0.1


def test_lifting_true_tracks_finds_them_in_space_again(rendered):
    _, scene = rendered
    pixels = some_pixels(scene)
    video = spatial_video(np.zeros((*scene.depth.shape, 3), np.uint8), scene, pixels)
    tracks = tapsdk.Tracks(video.xy, video.visible, video.visible.astype(np.float32), queries=video.queries)
    found = tapsdk.lift(tracks, video.depth, video.intrinsics, video.camera_to_world)
    both = found.visible & video.visible
    off = np.linalg.norm(found.xyz - video.xyz_world, axis=-1)[both] / video.xyz[both][:, 2]
    assert np.median(off) < 1e-3 and np.quantile(off, 0.9) < 0.01
    assert (found.visible == video.visible).mean() > 0.95


# Which pixels are tracked


def labels(counts, frames=8, side=32):
    """Segmentation with these shares of pixels for objects 1, 2, ...; the rest is background."""
    flat = np.zeros(frames * side * side, int)
    start = 0
    for label, count in enumerate(counts, start=1):
        flat[start : start + count] = label
        start += count
    return np.random.default_rng(0).permutation(flat).reshape(frames, side, side)


def chosen_labels(segmentation, count, **options):
    pixels = choose_pixels(segmentation, count, np.random.default_rng(0), **options)
    return pixels, np.bincount(segmentation[tuple(pixels.T)], minlength=segmentation.max() + 1)


def test_objects_get_equal_shares_however_large_they_are():
    _, counts = chosen_labels(labels([2000, 1000]), 60, stride=1)
    np.testing.assert_array_equal(counts, [20, 20, 20])


def test_a_small_object_gives_a_tenth_of_its_candidates_and_the_others_the_rest():
    _, counts = chosen_labels(labels([100]), 60, stride=1)
    np.testing.assert_array_equal(counts, [50, 10])


@pytest.mark.parametrize("count", [1, 7, 500, 5000])
def test_as_many_as_asked_for_even_where_there_are_not_enough(count):
    segmentation = labels([300])
    pixels, _ = chosen_labels(segmentation, count, stride=4)
    assert pixels.shape == (count, 3)
    assert (pixels >= 0).all() and (pixels < segmentation.shape).all()
    candidates = segmentation[::4, ::4, ::4].size
    assert len(np.unique(pixels, axis=0)) == min(count, candidates)


def test_candidates_are_a_grid_and_a_seed_determines_them():
    segmentation = labels([300])
    first, again = (choose_pixels(segmentation, 50, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first % 4 == first[0] % 4).all()


def test_a_video_smaller_than_the_stride_has_candidates():
    assert choose_pixels(np.zeros((1, 2, 3), int), 4, np.random.default_rng(0)).shape == (4, 3)
