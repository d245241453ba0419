"""TAPVid-3D's files, written and read back, and what is wrong with them."""

import os
import zipfile

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tapsdk.system import npz
from tests.training.data.scene3d import FRAMES, HEIGHT, WIDTH, scene
from training.data.datasets import open_dataset, recognise
from training.data.errors import DatasetError
from training.data.readers.tapvid3d import read_arrays, read_tapvid3d, read_truth, write_arrays, write_tapvid3d
from training.data.tracked_video3d import project

POINTS = 7


@pytest.fixture
def file(tmp_path):
    write_tapvid3d(tmp_path / "made.npz", scene())
    return tmp_path / "made.npz"


def rewrite(file, **changes):
    """The file again with other arrays; None leaves one out."""
    arrays = dict(np.load(file)) | changes
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def as_objects(pictures):
    array = np.empty(len(pictures), object)
    array[:] = pictures
    return array


@pytest.mark.parametrize("moving", [True, False])
def test_what_was_written_is_read(tmp_path, moving):
    written = scene(moving=moving)
    write_tapvid3d(tmp_path / "made.npz", written)
    video = read_tapvid3d(str(tmp_path / "made.npz"))
    assert video.name == "made" and video.frames.shape == (FRAMES, HEIGHT, WIDTH, 3) and video.frames.dtype == np.uint8
    for part in ("xyz", "visible", "queries_txy", "intrinsics"):
        np.testing.assert_array_equal(getattr(video, part), getattr(written, part))
    if moving:
        np.testing.assert_array_equal(video.world_to_camera, written.world_to_camera)
    else:
        assert video.world_to_camera is None


def test_the_layout_is_the_published_one(file):
    arrays, made = np.load(file), scene()
    shapes = {name: arrays[name].shape for name in arrays.files}
    assert shapes == {
        "images_jpeg_bytes": (FRAMES,),
        "queries_xyt": (POINTS, 3),
        "tracks_XYZ": (FRAMES, POINTS, 3),
        "visibility": (FRAMES, POINTS),
        "fx_fy_cx_cy": (4,),
        "extrinsics_w2c": (FRAMES, 4, 4),
    }
    np.testing.assert_array_equal(arrays["tracks_XYZ"][2, 5], made.xyz[5, 2])
    np.testing.assert_array_equal(arrays["queries_xyt"][5], made.queries_txy[5, [1, 2, 0]])
    assert all(picture.startswith(b"\xff\xd8") for picture in arrays["images_jpeg_bytes"].tolist())


def test_pictures_that_were_saved_as_objects_are_read_too(file):
    frames = read_tapvid3d(file).frames
    rewrite(file, images_jpeg_bytes=as_objects(np.load(file)["images_jpeg_bytes"].tolist()))
    np.testing.assert_array_equal(read_tapvid3d(file).frames, frames)


def test_resizing_scales_queries_and_intrinsics(file):
    video = read_tapvid3d(file, (HEIGHT // 2, WIDTH * 2))
    assert video.frames.shape == (FRAMES, HEIGHT // 2, WIDTH * 2, 3)
    np.testing.assert_allclose(video.xy, read_tapvid3d(file).xy * [2, 0.5])
    np.testing.assert_allclose(video.queries_txy, scene().queries_txy * [1, 2, 0.5])


def test_a_query_is_where_its_point_is_projected(file):
    video = read_tapvid3d(file)
    at = video.queries_txy[:, 0].astype(int)
    np.testing.assert_allclose(video.xy[np.arange(POINTS), at], video.queries_txy[:, 1:], atol=1e-9)


def test_points_that_stand_still_stand_still_in_the_world(file):
    video = read_tapvid3d(file)
    world = video.spatial()
    np.testing.assert_allclose(world.xyz, np.broadcast_to(video.xyz[:, :1], video.xyz.shape), atol=1e-6)
    np.testing.assert_allclose(world.camera_to_world[0], np.eye(4), atol=1e-12)
    assert world.frame == "world" and world.camera_to_world[-1, 2, 3] > 0.1


def test_a_point_behind_the_camera_is_nowhere_in_the_picture():
    assert np.isnan(project(np.array([[0, 0, -1.0], [0, 0, 0]]), np.ones(4))).all()


def test_the_truth_is_read_without_decoding_frames(file):
    truth, size = read_truth(file)
    assert size == (HEIGHT, WIDTH) and len(truth.frames) == 0
    np.testing.assert_array_equal(truth.xyz, scene().xyz)


@pytest.mark.parametrize("points", [0, 1])
def test_no_point_and_one_point(tmp_path, points):
    write_tapvid3d(tmp_path / "few.npz", scene(points=points))
    assert read_tapvid3d(tmp_path / "few.npz").xyz.shape == (points, FRAMES, 3)


def test_it_is_a_dataset_of_two_dimensional_tracks(tmp_path):
    for source in ("pstudio", "drivetrack"):
        (tmp_path / source).mkdir()
        write_tapvid3d(tmp_path / source / f"{source}.npz", scene())
    for path in (tmp_path, tmp_path / "pstudio", tmp_path / "pstudio" / "pstudio.npz"):
        assert recognise(path) == "tapvid3d"
    assert [video.name for video in open_dataset(str(tmp_path))] == ["pstudio", "drivetrack"]
    (video,) = open_dataset(str(tmp_path / "pstudio"), size=(HEIGHT, WIDTH * 2))
    np.testing.assert_allclose(video.xy, scene().xy * [2, 1], rtol=1e-5)
    np.testing.assert_array_equal(video.visible, scene().visible)


class Attack:
    def __reduce__(self):
        return os.system, ("echo attacked",)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"visibility": None}, "lacks visibility"),
        ({"images_jpeg_bytes": None}, "lacks images_jpeg_bytes; python -m training annotate puts pictures in"),
        ({"tracks_XYZ": np.zeros((FRAMES + 1, POINTS, 3))}, r"6 frames and 7 points need tracks_XYZ \[6, 7, 3\]"),
        ({"tracks_XYZ": np.zeros(3)}, "need tracks_XYZ"),
        ({"visibility": np.ones((POINTS, FRAMES), bool)}, r"need visibility \[6, 7\], got \[7, 6\]"),
        ({"queries_xyt": np.zeros((POINTS + 1, 3))}, r"need queries_xyt \[7, 3\], got \[8, 3\]"),
        ({"queries_xyt": np.full((POINTS, 3), FRAMES)}, "with t from 0 to 5"),
        ({"queries_xyt": np.full((POINTS, 3), np.nan)}, "queries_xyt must be finite"),
        ({"tracks_XYZ": np.full((FRAMES, POINTS, 3), np.nan)}, "a visible point has no finite position"),
        ({"tracks_XYZ": np.full((FRAMES, POINTS, 3), "a")}, "tracks_XYZ holds <U1, not numbers"),
        ({"fx_fy_cx_cy": np.zeros(4)}, "positive focal lengths"),
        ({"fx_fy_cx_cy": np.eye(3)}, r"need fx_fy_cx_cy \[4\], got \[3, 3\]"),
        ({"extrinsics_w2c": np.eye(4)}, r"need extrinsics_w2c \[6, 4, 4\]"),
        ({"extrinsics_w2c": np.full((FRAMES, 4, 4), np.inf)}, "extrinsics_w2c must be finite"),
        ({"images_jpeg_bytes": np.array([b"no picture"] * FRAMES)}, r"images_jpeg_bytes\[0\] is not a picture"),
        ({"images_jpeg_bytes": np.zeros((FRAMES, 4, 4, 3), np.uint8)}, "no list of encoded pictures"),
        ({"images_jpeg_bytes": np.array([], "S1")}, "0 frames"),
        ({"images_jpeg_bytes": as_objects([1] * FRAMES)}, "no list of encoded pictures"),
        ({"images_jpeg_bytes": as_objects([Attack()] * FRAMES)}, r"system.* It was not called"),
        ({"tracks_XYZ": as_objects([{}])}, "an array of Python objects"),
    ],
)
def test_what_is_wrong_is_said(file, changes, says, capfd):
    rewrite(file, **changes)
    with pytest.raises(DatasetError, match=says):
        read_tapvid3d(file)
    assert "attacked" not in capfd.readouterr().out


def test_no_file_no_npz_and_no_files(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        read_tapvid3d(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DatasetError, match="is not a TAPVid-3D file"):
        read_tapvid3d(tmp_path / "text.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no TAPVid-3D files"):
        list(open_dataset("tapvid3d", tmp_path / "empty"))


def test_pictures_that_unpack_to_too_much_are_refused(file, monkeypatch):
    monkeypatch.setattr(npz, "FREE_BYTES", 1 << 20)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images_jpeg_bytes.npy", bytes(1 << 21))
    with pytest.raises(DatasetError, match="it unpacks to"):
        read_tapvid3d(file)


def test_a_file_without_pictures_is_read_before_they_are_put_in(file):
    rewrite(file, images_jpeg_bytes=None, video_means=np.zeros((FRAMES, 3)))
    arrays, pictures = read_arrays(file, pictures=False)
    assert pictures == [] and arrays["video_means"].shape == (FRAMES, 3)
    write_arrays(file, arrays, [b"a", b"bc"] * 3)
    assert np.load(file)["images_jpeg_bytes"].tolist() == [b"a", b"bc"] * 3
    with pytest.raises(DatasetError, match="2 frames and 7 points need tracks_XYZ"):
        write_arrays(file, arrays, [b"a", b"bc"])
    with pytest.raises(DatasetError, match="would lack fx_fy_cx_cy"):
        write_arrays(file, {name: array for name, array in arrays.items() if name != "fx_fy_cx_cy"}, [b"a"] * FRAMES)
