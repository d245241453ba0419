"""Pickles as DAVIS, RGB-Stacking, Kinetics and RoboTAP have them, small ones."""

import io
import os
import pickle

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from PIL import Image as pillow

from training.data.errors import DatasetError
from training.data.readers.tapvid import read_tapvid

FRAMES, HEIGHT, WIDTH, POINTS = 4, 24, 40, 3


def example(seed=0, **changes):
    rng = np.random.default_rng(seed)
    return {
        "video": rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8),
        "points": rng.uniform(0, 1, (POINTS, FRAMES, 2)).astype(np.float32),
        "occluded": rng.random((POINTS, FRAMES)) < 0.3,
        **changes,
    }


def jpegs(video):
    encoded = []
    for frame in video:
        file = io.BytesIO()
        pillow.fromarray(frame).save(file, "JPEG", quality=95)
        encoded.append(file.getvalue())
    return encoded


@pytest.fixture
def write(tmp_path):
    """Writes a pickle of this content, and gives its path."""

    def write(content, name="videos.pkl", protocol=pickle.DEFAULT_PROTOCOL):
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol))
        return tmp_path / name

    return write


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_davis_is_a_dictionary_of_videos_by_name(write, protocol):
    written = {"goat": example(0), "car-shadow": example(1)}
    videos = list(read_tapvid(write(written, protocol=protocol)))
    assert [video.name for video in videos] == ["goat", "car-shadow"]
    for video, truth in zip(videos, written.values(), strict=True):
        np.testing.assert_array_equal(video.frames, truth["video"])
        np.testing.assert_array_equal(video.visible, ~truth["occluded"])
        np.testing.assert_allclose(video.xy, truth["points"] * [WIDTH, HEIGHT], rtol=1e-6)
        assert video.xy.dtype == np.float32


def test_rgb_stacking_is_a_list_of_videos_without_names(write):
    videos = list(read_tapvid(write([example(0), example(1)], "tapvid_rgb_stacking.pkl")))
    assert [video.name for video in videos] == ["tapvid_rgb_stacking-000", "tapvid_rgb_stacking-001"]


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda frames: np.array(frames, object)])
def test_kinetics_has_encoded_frames_in_shards(write, tmp_path, kind):
    """generate_tapvid.py makes an array of bytes of the frames."""
    truth = example(0)
    for shard in range(2):
        content = [example(shard, video=kind(jpegs(example(shard)["video"]))), example(9)]
        write(content, f"{shard:04}_of_0010.pkl")
    videos = list(read_tapvid(tmp_path))
    assert [v.name for v in videos] == [f"{shard:04}_of_0010-{index:03d}" for shard in range(2) for index in range(2)]
    decoded = [np.array(pillow.open(io.BytesIO(data))) for data in jpegs(truth["video"])]
    np.testing.assert_array_equal(videos[0].frames, decoded)


def test_robotap_is_dictionaries_in_shards_in_natural_order(write, tmp_path):
    for split in (0, 2, 10):
        write({f"video{split}": example(split)}, f"robotap_split{split}.pkl")
    assert [video.name for video in read_tapvid(tmp_path)] == ["video0", "video2", "video10"]


def test_frames_may_be_a_list_of_arrays(write):
    truth = example()
    (video,) = read_tapvid(write([example(video=list(truth["video"]))]))
    np.testing.assert_array_equal(video.frames, truth["video"])


def test_resizing_keeps_points_where_they_are_in_the_picture(write):
    truth = example()
    (video,) = read_tapvid(write([truth]), (256, 128))
    assert video.frames.shape == (FRAMES, 256, 128, 3)
    np.testing.assert_allclose(video.xy, truth["points"] * [128, 256], rtol=1e-6)


def test_hidden_points_may_have_no_position(write):
    truth = example()
    truth["points"][truth["occluded"]] = np.nan
    (video,) = read_tapvid(write([truth]))
    assert np.isnan(video.xy[~video.visible]).all()


@pytest.mark.parametrize("points", [0, 1])
def test_few_points(write, points):
    truth = example(points=np.zeros((points, FRAMES, 2)), occluded=np.zeros((points, FRAMES), bool))
    (video,) = read_tapvid(write([truth]))
    assert video.xy.shape == (points, FRAMES, 2)


def test_an_array_of_dictionaries_is_a_list_too(write):
    videos = np.empty(2, object)
    videos[:] = [example(0), example(1)]
    assert len(list(read_tapvid(write(videos)))) == 2


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("key", ["video", "points", "occluded"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_runs_nothing_and_is_named(write, tmp_path, key, protocol):
    victim = tmp_path / "victim"
    path = write({"goat": example(**{key: Hostile(os.mkdir, str(victim))})}, protocol=protocol)
    with pytest.raises(DatasetError, match=r"asks for \w+\.mkdir.*It was not called"):
        list(read_tapvid(path))
    assert not victim.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (3, "neither a dictionary nor a list"),
        ("text", "neither a dictionary nor a list"),
        (np.zeros(3), "neither a dictionary nor a list"),
        ({"goat": 3}, "goat is not a TAP-Vid video: it lacks occluded, points, video"),
        ([{"video": 1, "points": 2}], "videos-000 is not a TAP-Vid video: it lacks occluded"),
        ([example(video=np.zeros((FRAMES, 4, 4, 3)))], "got .* float64"),
        ([example(video=np.zeros((FRAMES, 4, 4), np.uint8))], r"got \[4, 4, 4\]"),
        ([example(video=np.zeros((0, 4, 4, 3), np.uint8))], "video has no frames"),
        ([example(video=[])], "video has no frames"),
        ([example(video=[b"no picture"] * FRAMES)], r"video\[0\] is not a picture"),
        ([example(video=["text"] * FRAMES)], r"video\[0\]"),
        ([example(points=np.zeros((POINTS, FRAMES + 1, 2)))], "4 frames need points"),
        ([example(points=np.zeros((POINTS, FRAMES, 3)))], "4 frames need points"),
        ([example(occluded=np.zeros((POINTS, FRAMES + 1), bool))], "4 frames need points"),
        ([example(points="text")], "points holds <U4, not numbers"),
        ([example(points=np.array(["a"]))], "not a type of numbers"),
        ([example(points=np.full((POINTS, FRAMES, 2), np.nan))], "no finite position"),
    ],
)
def test_content_that_is_no_dataset(write, content, says):
    with pytest.raises(DatasetError, match=says):
        list(read_tapvid(write(content)))


def test_a_cut_off_file(write):
    path = write([example()])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="cut short"):
        list(read_tapvid(path))


def test_a_missing_file_and_an_empty_folder(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        list(read_tapvid(tmp_path / "none.pkl"))
    with pytest.raises(DatasetError, match="holds no pickles"):
        list(read_tapvid(tmp_path))
