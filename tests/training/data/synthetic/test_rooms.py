"""Rooms of known geometry: everything that is told of them fits together, and lifting finds it again."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the generator needs OpenCV: pip install '.[train]'")

import tapsdk
from tests.tapsdk.space.made import with_all_seen
from training.data.synthetic import SceneConfig
from training.data.synthetic.rooms import make_room, random_room

CONFIG = SceneConfig(height=64, width=96, frames=12, points=40, query="frame0")


@pytest.fixture(scope="module", params=[(64, 96), (80, 56)], ids=["wide", "tall"])
def room(request):
    return make_room(replace(CONFIG, height=request.param[0], width=request.param[1]), 5)


def test_a_seed_gives_one_room_and_another_one_another():
    small = replace(CONFIG, height=24, width=32, frames=3, points=8)
    one, again, other = make_room(small, 1), make_room(small, 1), make_room(small, 2)
    for name in ("frames", "xyz", "depth", "camera_to_world", "visible"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert (one.frames != other.frames).any() and (one.depth != other.depth).any()


def test_shapes_and_types(room):
    frames, height, width = room.depth.shape
    assert room.frames.shape == (frames, height, width, 3) and room.frames.dtype == np.uint8
    assert room.xyz.shape == room.xyz_world.shape == (40, frames, 3)
    assert room.intrinsics.shape == (4,) and room.camera_to_world.shape == (frames, 4, 4)
    assert np.isfinite(room.depth).all() and (room.depth > 0).all()
    assert room.flat().xy is room.xy


def test_tracks_in_the_picture_in_the_cameras_space_and_in_the_world_agree(room):
    fx, fy, cx, cy = room.intrinsics
    np.testing.assert_allclose(room.xyz[..., 0] / room.xyz[..., 2] * fx + cx, room.xy[..., 0], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(room.xyz[..., 1] / room.xyz[..., 2] * fy + cy, room.xy[..., 1], rtol=1e-4, atol=1e-2)
    turn, offset = room.camera_to_world[:, :3, :3], room.camera_to_world[:, :3, 3]
    np.testing.assert_allclose(np.einsum("tij,ntj->nti", turn, room.xyz) + offset, room.xyz_world, atol=1e-4)


def test_the_camera_moves_in_depth_and_so_do_some_boxes(room):
    path = room.camera_to_world[:, :3, 3]
    assert abs(path[-1, 2] - path[0, 2]) > 0.3
    moved = np.linalg.norm(np.ptp(room.xyz_world, axis=1), axis=-1)
    assert (moved > 0.05).any() and (moved < 1e-5).any()


def test_a_visible_point_is_as_far_as_the_depth_map_says(room):
    """Within a pixel, which on walls that are seen at a low angle is some percent."""
    n, t = np.nonzero(room.visible)
    column, row = np.floor(room.xy[n, t]).astype(int).T
    off = abs(room.depth[t, row, column] / room.xyz[n, t, 2] - 1)
    assert np.median(off) < 0.01 and (off < 0.1).mean() > 0.95
    hidden = ~room.visible & ((room.xy > 0) & (room.xy < room.depth.shape[:0:-1])).all(-1) & (room.xyz[..., 2] > 0)
    n, t = np.nonzero(hidden)
    column, row = np.floor(room.xy[n, t]).astype(int).T
    assert (room.depth[t, row, column] < room.xyz[n, t, 2]).mean() > 0.9


@pytest.mark.parametrize("query", ["frame0", "first", "random"])
def test_a_query_is_where_its_point_is_seen(query):
    room = make_room(replace(CONFIG, height=40, width=48, frames=6, query=query), 3)
    t = room.queries[:, 0].astype(int)
    rows = np.arange(len(t))
    assert room.visible[rows, t].all() and len(rows) == CONFIG.points
    np.testing.assert_array_equal(room.queries[:, 1:], room.xy[rows, t])
    if query == "first":
        assert (room.visible.argmax(axis=1) == t).all()
    if query == "frame0":
        assert (t == 0).all()


def test_colours_stay_with_their_points():
    """A point's colour is nearly the same in every frame, where no camera spoils it."""
    room = make_room(CONFIG.without_appearance(), 5)
    n, t = np.nonzero(room.visible)
    column, row = np.floor(room.xy[n, t]).astype(int).T
    colour = room.frames[t, row, column].astype(float)
    spread = [colour[n == point].std(axis=0).max() for point in range(len(room.xy))]
    shuffled = [colour[np.random.default_rng(0).permutation(n) == point].std(axis=0).max() for point in range(40)]
    assert np.median(spread) < 0.5 * np.median(shuffled)


def test_blocks_are_convex_and_the_room_surrounds_the_camera():
    room = random_room(np.random.default_rng(0), CONFIG)
    shell, *boxes = room.blocks
    assert shell.inside_out and boxes and not any(box.inside_out for box in boxes)
    assert (abs(room.view.positions - shell.centres) < shell.half).all()


@pytest.mark.parametrize("seed", [5, 6])
def test_true_tracks_with_true_depth_are_lifted_to_their_places(seed):
    """Depth within 1 % in the median, visibility right in 95 % of frames, what depth alone can see of it too."""
    room = make_room(replace(CONFIG, height=80, width=112, points=60), seed)
    true = tapsdk.Tracks(room.xy, room.visible, room.visible.astype(np.float32), queries=room.queries)
    for poses, truth in ((None, room.xyz), (room.camera_to_world, room.xyz_world)):
        found = tapsdk.lift(true, room.depth, room.intrinsics, poses)
        both = found.visible & room.visible
        off = np.linalg.norm(found.xyz - truth, axis=-1)[both] / room.xyz[both][:, 2]
        assert np.median(off) < 1e-4 and np.quantile(off, 0.95) < 0.01
        assert (found.visible == room.visible).mean() > 0.98
        blind = tapsdk.lift(with_all_seen(true, (80, 112)), room.depth, room.intrinsics, poses)
        assert (blind.visible == room.visible).mean() > 0.95
