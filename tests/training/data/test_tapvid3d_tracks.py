"""Tracks from depth, masks and poses: against numbers of the reference, and of a scene that is known."""

from pathlib import Path

import numpy as np
import pytest

from training.data.errors import DatasetError
from training.data.tapvid3d_tracks import hide_people, tracks_from_poses

TABLE = dict(np.load(Path(__file__).parents[2] / "golden" / "adt_tracks.npz"))
FOCAL = float(TABLE["focal"])


def poses():
    to_camera = np.linalg.inv(TABLE["device_from_camera"]) @ np.linalg.inv(TABLE["scene_from_device"])
    return {
        int(i): to_camera @ to_scene
        for i, to_scene in zip(TABLE["object_ids"], TABLE["scene_from_object"], strict=True)
    }


def golden(**changes):
    arguments = {
        "queries_xyt": TABLE["queries_xyt"],
        "depth": TABLE["depth_mm"] / 1000,
        "segmentation": TABLE["segmentation"],
        "camera_from_object": poses(),
        "focal": FOCAL,
    }
    return tracks_from_poses(**arguments | changes)


def test_tracks_are_the_references():
    xyz, visible, kept = golden()
    assert kept.all()
    np.testing.assert_allclose(xyz, TABLE["tracks_XYZ"], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(visible, TABLE["visibility"])


def test_points_on_people_are_hidden_as_in_the_reference():
    middle = TABLE["size"] / 2
    seen = hide_people(TABLE["tracks_XYZ"], TABLE["visibility"], TABLE["person"], [FOCAL, FOCAL, middle, middle])
    np.testing.assert_array_equal(seen, TABLE["visibility_filtered"])
    assert (seen != TABLE["visibility"]).any()


def test_a_query_on_no_object_has_no_track():
    without = {number: matrices for number, matrices in poses().items() if number != 33}
    xyz, visible, kept = golden(camera_from_object=without)
    np.testing.assert_array_equal(kept, TABLE["query_object"] != 33)
    np.testing.assert_allclose(xyz, TABLE["tracks_XYZ"][:, kept], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(visible, TABLE["visibility"][:, kept])


def wall(height=20, width=30, frames=3, **changes):
    """A wall at 2 metres that moves 0.1 metres to the right in every frame, and a query in frame 1."""
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, 0, 3] = 0.1 * np.arange(frames)
    arguments = {
        "queries_xyt": [[12.25, 7.5, 1]],
        "depth": np.full((frames, height, width), 2.0),
        "segmentation": np.full((frames, height, width), 4),
        "camera_from_object": {4: pose},
        "focal": 40,
        "rotated": False,
    }
    return tracks_from_poses(**arguments | changes)


def test_a_point_moves_with_its_object():
    xyz, visible, _ = wall()
    start = [(12.25 - 15) * 2 / 40, (7.5 - 10) * 2 / 40, 2]
    np.testing.assert_allclose(xyz[:, 0], np.add(start, [[-0.1, 0, 0], [0, 0, 0], [0.1, 0, 0]]))
    assert visible.all()


def test_a_turned_picture_need_not_be_square():
    """Upright it is 20 wide and 30 high; what moves to the right in the sensor moves down there."""
    xyz, _, _ = wall(queries_xyt=[[5, 8, 0]], rotated=True)
    np.testing.assert_allclose(xyz[0, 0], [(5 - 10) * 2 / 40, (8 - 15) * 2 / 40, 2])
    np.testing.assert_allclose(np.diff(xyz[:, 0], axis=0), [[0, 0.1, 0]] * 2, atol=1e-12)


def test_where_a_pose_is_not_known_nothing_is():
    pose = np.tile(np.eye(4), (3, 1, 1))
    pose[2] = np.nan
    xyz, visible, kept = wall(camera_from_object={4: pose})
    assert kept.all() and np.isfinite(xyz[:2]).all() and np.isnan(xyz[2]).all()
    np.testing.assert_array_equal(visible[:, 0], [True, True, False])
    pose[1] = np.nan
    xyz, visible, kept = wall(camera_from_object={4: pose})
    assert xyz.shape == (3, 0, 3) and visible.shape == (3, 0) and not kept.any()


@pytest.mark.parametrize(("depth", "seen"), [(1.985, True), (1.975, False), (2.015, True), (2.025, False)])
def test_a_point_is_visible_where_the_sensor_sees_it(depth, seen):
    depths = np.full((3, 20, 30), 2.0)
    depths[2] = depth
    assert wall(depth=depths)[1][2, 0] == seen


def test_no_depth_is_no_track_and_a_query_on_the_border_has_one():
    assert not wall(depth=np.zeros((3, 20, 30)))[2].any()
    assert wall(queries_xyt=[[0, 0, 0], [30, 20, 2]])[2].all()
    assert wall(queries_xyt=np.zeros((0, 3)))[0].shape == (3, 0, 3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"queries_xyt": [[31, 0, 0]]}, r"query 0 \(31, 0, 0\) lies outside of 3 frames of 30x20 pixels"),
        ({"queries_xyt": [[1, 1, 3]]}, "lies outside of 3 frames"),
        ({"queries_xyt": [[np.nan, 1, 0]]}, "lies outside"),
        ({"queries_xyt": [[1, 1]]}, r"queries_xyt must be \[N, 3\]"),
        ({"depth": np.ones((3, 20, 20))}, "depth and segmentation must be"),
        ({"camera_from_object": {4: np.eye(4)}}, r"camera_from_object\[4\] must be \[3, 4, 4\], got \[4, 4\]"),
        ({"camera_from_object": {4: np.zeros((3, 4, 4))}}, "without an inverse"),
        ({"focal": 0}, "focal must be positive"),
    ],
)
def test_what_does_not_fit_is_named(changes, says):
    with pytest.raises(DatasetError, match=says):
        wall(**changes)


def test_masks_that_do_not_fit_are_named():
    with pytest.raises(DatasetError, match="masks"):
        hide_people(np.ones((3, 2, 3)), np.ones((3, 2), bool), np.ones((2, 5, 5)), [1, 1, 1, 1])
