"""TFRecords as TensorFlow Datasets writes MOVi: pictures as PNG, numbers flat."""

import pickle
import sys

import cv2
import numpy as np
import pytest

from tests.training.data.synthetic.scenes import moving_box
from training.data.datasets import training_videos
from training.data.errors import DatasetError
from training.data.readers.kubric import KubricVideos, kubric_clips, read_kubric, read_kubric_spatial
from training.data.readers.kubric_tracks import track_pixels
from training.data.training_videos import ClipShape, cut_clip

FRAMES, HEIGHT, WIDTH = 4, 32, 48


def needs_tensorflow():
    return pytest.importorskip("tensorflow", reason="needs tensorflow: pip install 'tapsdk[kubric]'")


@pytest.fixture(scope="module")
def movi():
    """The features of one record, and the scene that they are of."""
    truth = moving_box(FRAMES, (HEIGHT, WIDTH))
    scene = truth.render()
    rng = np.random.default_rng(0)
    near, far = float(scene.depth.min()), float(scene.depth.max())
    features = {
        "metadata/video_name": [b"17"],
        "metadata/depth_range": [near, far],
        "metadata/num_frames": [FRAMES],
        "camera/focal_length": [truth.camera.focal_length],
        "camera/sensor_width": [truth.camera.sensor_width],
        "camera/positions": truth.camera.positions.ravel().tolist(),
        "camera/quaternions": truth.camera.quaternions.ravel().tolist(),
        "instances/bboxes_3d": scene.boxes.ravel().tolist(),
        "video": pngs(rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)),
        "segmentations": pngs(scene.segmentation),
        "depth": pngs(np.round((scene.depth - near) / (far - near) * 65535).astype(np.uint16)),
        "normal": pngs(np.round((scene.normals + 1) / 2 * 65535).astype(np.uint16)),
    }
    return features, scene


def pngs(images):
    """Each as PNG; OpenCV takes colours backwards."""
    return [cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes() for image in images]


def write_records(path, records):
    tf = needs_tensorflow()
    kinds = {
        bytes: lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)),
        float: lambda v: tf.train.Feature(float_list=tf.train.FloatList(value=v)),
        int: lambda v: tf.train.Feature(int64_list=tf.train.Int64List(value=v)),
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for features in records:
            packed = {name: kinds[type(values[0])](values) for name, values in features.items()}
            example = tf.train.Example(features=tf.train.Features(feature=packed))
            writer.write(example.SerializeToString())
    return path


def test_a_record_is_the_scene_that_was_written(tmp_path, movi):
    features, scene = movi
    path = write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", [features])
    (clip,) = kubric_clips(path, points=60)
    assert clip.frames.shape == (FRAMES, HEIGHT, WIDTH, 3) and clip.frames.dtype == np.uint8
    np.testing.assert_array_equal(cv2.imencode(".png", clip.frames[1][..., ::-1])[1].tobytes(), features["video"][1])
    pixels = np.floor(clip.queries[:, [0, 2, 1]]).astype(int)
    assert set(scene.segmentation[tuple(pixels.T)]) == {0, 1, 2}
    xy, visible = track_pixels(scene, pixels)
    np.testing.assert_allclose(clip.xy, xy, atol=0.02)  # depth is written in 16 bits
    assert (clip.visible == visible).mean() > 0.99
    rows = np.arange(60)
    np.testing.assert_array_equal(clip.queries[:, 1:], clip.xy[rows, clip.queries[:, 0].astype(int)])
    assert clip.visible[rows, clip.queries[:, 0].astype(int)].all()


def test_a_seed_determines_the_points_and_videos_differ(tmp_path, movi):
    path = write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", [movi[0]] * 2)
    first, second = kubric_clips(path, points=9, seed=1)
    again, _ = kubric_clips(path, points=9, seed=1)
    np.testing.assert_array_equal(first.queries, again.queries)
    assert (first.queries != second.queries).any()


def test_evaluation_takes_the_validation_split_and_resizes(tmp_path, movi):
    pytest.importorskip("PIL", reason="resizing needs Pillow: pip install '.[train]'")
    write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", [movi[0]] * 3)
    write_records(tmp_path / "movi_e-validation.tfrecord-00000-of-00001", [movi[0]])
    (native,), (resized,) = read_kubric(tmp_path), read_kubric(tmp_path, (64, 24))
    assert native.name == "17"
    assert resized.frames.shape == (FRAMES, 64, 24, 3)
    np.testing.assert_allclose(resized.xy, native.xy * [0.5, 2], rtol=1e-5, atol=1e-4)
    assert len(list(kubric_clips(tmp_path, points=3, split="train"))) == 3
    assert len(list(kubric_clips(tmp_path, points=3))) == 4


def test_tracks_in_space_come_with_depth_and_poses(tmp_path, movi):
    path = write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", [movi[0]])
    (video,) = read_kubric_spatial(path, points=50)
    assert video.name == "17" and video.xyz.shape == (50, FRAMES, 3) and video.depth.shape == (FRAMES, HEIGHT, WIDTH)
    (flat,) = read_kubric(path)
    assert video.flat().frames.shape == flat.frames.shape
    np.testing.assert_allclose(video.depth, movi[1].camera.depth_of(movi[1].depth), atol=1e-3)  # in 16 bits


def test_training_takes_any_video_by_its_number(tmp_path, movi):
    """From all files of the training split, whatever the order."""
    needs_tensorflow()
    for number, count in ((10, 2), (9, 1)):
        write_records(tmp_path / f"movi_e-train.tfrecord-000{number:02}-of-00011", [movi[0]] * count)
    write_records(tmp_path / "movi_e-validation.tfrecord-00000-of-00001", [movi[0]])
    videos = pickle.loads(pickle.dumps(KubricVideos(tmp_path, points=12)))
    assert len(videos) == 3
    (expected,) = kubric_clips(tmp_path / "movi_e-train.tfrecord-00009-of-00011", points=12)
    for index in (2, 0, 1):
        found, again = (videos.read(index, np.random.default_rng(4)) for _ in range(2))
        np.testing.assert_array_equal(found.frames, expected.frames)
        assert found.xy.shape == (12, FRAMES, 2) and np.isfinite(found.xy).all()
        np.testing.assert_array_equal(found.xy, again.xy)
        assert (found.xy != videos.read(index, np.random.default_rng(5)).xy).any()
    alone = KubricVideos(tmp_path / "movi_e-validation.tfrecord-00000-of-00001")
    assert len(alone) == 1


def test_kubric_feeds_training(tmp_path, movi):
    """Positions are true where points are hidden, too, and clips smaller than the videos."""
    needs_tensorflow()
    write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", [movi[0]] * 2)
    shape = ClipShape(3, (16, 24), 20)
    with training_videos(tmp_path, shape) as videos:
        clip = cut_clip(videos.read(1, np.random.default_rng(0)), shape, np.random.default_rng(0), crops=1.0)
    assert clip.frames.shape == (3, 16, 24, 3) and clip.xy.shape == (20, 3, 2)
    assert np.isfinite(clip.xy).all()
    assert clip.visible[np.arange(20), clip.queries[:, 0].astype(int)].all()


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_files_that_hold_no_records_are_refused_before_training(tmp_path, movi, damage):
    path = write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", [movi[0]])
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-3], "empty": b"", "text": b"neither length nor checksum"}[damage])
    with pytest.raises(DatasetError, match=r"movi_e-train.*(is not a record file of MOVi|holds no records)"):
        KubricVideos(tmp_path)


def test_a_record_that_is_damaged_is_an_error_when_it_is_read(tmp_path, movi):
    features = {name: values for name, values in movi[0].items() if name != "metadata/depth_range"}
    path = write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", [features])
    with pytest.raises(DatasetError, match="record 0: is not a record file of MOVi"):
        KubricVideos(path).read(0, np.random.default_rng(0))


def test_a_folder_without_that_split(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no records \(\*-test\.tfrecord\*\)"):
        list(kubric_clips(tmp_path, split="test"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"camera/positions": [0.0] * 5}, "record 0: its parts do not fit"),
        ({"instances/bboxes_3d": [0.0] * (FRAMES * 24)}, "shows object 2 and has boxes of 1"),
        ({"metadata/depth_range": None}, "not a record file of MOVi"),
        ({"video": None}, "has no frames"),
        ({"depth": [b"no picture"] * FRAMES}, "not a record file of MOVi"),
    ],
)
def test_records_that_are_no_movi(tmp_path, movi, change, says):
    features = {name: values for name, values in {**movi[0], **change}.items() if values is not None}
    path = write_records(tmp_path / "broken.tfrecord", [features])
    with pytest.raises(DatasetError, match=says):
        list(kubric_clips(path, points=3))


def test_a_file_that_is_no_record_file(tmp_path):
    needs_tensorflow()
    (tmp_path / "text.tfrecord").write_text("neither length nor checksum, but long enough for both")
    with pytest.raises(DatasetError, match="is damaged"):
        list(kubric_clips(tmp_path / "text.tfrecord"))


def test_without_tensorflow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "a.tfrecord").touch()
    with pytest.raises(DatasetError, match=r"pip install 'tapsdk\[kubric\]'"):
        list(kubric_clips(tmp_path))
