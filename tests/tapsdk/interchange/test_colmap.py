"""A database for COLMAP."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from tapsdk import Tracks
from tests.tapsdk.interchange.made import SIZE, awkward, plain

PAIRS = 2147483647


def stored(path, table, dtype):
    """{key: matrix} of a table, by the documented grammar."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(f"SELECT * FROM {table}").fetchall()
    return {key: np.frombuffer(data, dtype).reshape(height, width) for key, height, width, data in rows}


def pairs(path):
    return {divmod(key, PAIRS): match for key, match in stored(path, "matches", "<u4").items()}


def test_keypoints_are_the_visible_points_in_the_same_pixels(tmp_path):
    tracks = awkward()
    tracks.export(tmp_path / "tracks.db", size=SIZE)
    found = stored(tmp_path / "tracks.db", "keypoints", "<f4")
    assert list(found) == [1, 2, 3, 4, 5, 6]
    for t in range(6):
        np.testing.assert_array_equal(found[t + 1], tracks.xy[tracks.visible[:, t], t])


def test_matches_join_the_same_point_in_frames_a_power_of_two_apart(tmp_path):
    tracks = awkward()
    tracks.export(tmp_path / "tracks.db", size=SIZE)
    keypoints, found = stored(tmp_path / "tracks.db", "keypoints", "<f4"), pairs(tmp_path / "tracks.db")
    assert sorted(found) == [(a, b) for a in range(1, 7) for b in range(a + 1, 7) if b - a in (1, 2, 4)]
    for (a, b), match in found.items():
        both = tracks.visible[:, a - 1] & tracks.visible[:, b - 1]
        np.testing.assert_array_equal(keypoints[a][match[:, 0]], tracks.xy[both, a - 1])
        np.testing.assert_array_equal(keypoints[b][match[:, 1]], tracks.xy[both, b - 1])


def test_a_long_video_has_few_pairs(tmp_path):
    plain(1, 200).export(tmp_path / "tracks.db", size=SIZE)
    assert len(pairs(tmp_path / "tracks.db")) == sum(200 - (1 << k) for k in range(8))


@pytest.mark.parametrize(("points", "frames"), [(0, 3), (1, 1), (2, 0), (0, 0)])
def test_few_points_and_few_frames(tmp_path, points, frames):
    plain(points, frames).export(tmp_path / "tracks.db", size=SIZE)
    found = stored(tmp_path / "tracks.db", "keypoints", "<f4")
    assert [keypoints.shape for keypoints in found.values()] == [(points, 2)] * frames
    assert not pairs(tmp_path / "tracks.db")


def test_pycolmap_reads_it(tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="needs pycolmap: pip install 'tapsdk[structure]'")
    tracks, names = awkward(), [f"frame {t}.png" for t in range(6)]
    tracks.export(tmp_path / "tracks.db", size=SIZE, images=names)
    database = pycolmap.Database.open(tmp_path / "tracks.db")
    camera = database.read_camera(1)
    assert (camera.height, camera.width) == SIZE and camera.focal_length == 288
    assert [image.name for image in database.read_all_images()] == names
    np.testing.assert_array_equal(database.read_keypoints(3), tracks.xy[3:, 2])
    assert database.read_matches(1, 3).tolist() == [[2, 0]]  # the third that is seen in one, the only one in the other
    database.close()


@pytest.mark.slow
def test_colmap_rebuilds_a_scene_from_it(tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="needs pycolmap: pip install 'tapsdk[structure]'")
    height, width, frames = 480, 640, 12
    space = np.random.default_rng(0).uniform((-2, -1.5, 4), (2, 1.5, 8), (300, 3))
    xy = np.zeros((300, frames, 2))
    for t in range(frames):
        cos, sin = np.cos(0.02 * t), np.sin(0.02 * t)
        seen = space @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]) + (-0.12 * t, 0.01 * t, 0)
        xy[:, t] = 1.2 * width * seen[:, :2] / seen[:, 2:] + (width / 2, height / 2)
    visible = ((xy > 0) & (xy < (width, height))).all(axis=2)
    Tracks(xy, visible, visible.astype(float)).export(tmp_path / "tracks.db", size=(height, width))
    (tmp_path / "images").mkdir()
    (tmp_path / "model").mkdir()
    options = pycolmap.IncrementalPipelineOptions()
    options.extract_colors = False
    pycolmap.geometric_verification(tmp_path / "tracks.db")
    found = pycolmap.incremental_mapping(tmp_path / "tracks.db", tmp_path / "images", tmp_path / "model", options)
    assert found[0].num_reg_images() == frames
    assert found[0].compute_mean_reprojection_error() < 0.01
