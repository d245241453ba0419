"""A clip of a dataset with its tracks drawn on it."""

import pickle

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

import tapsdk
from tests.training.data.readers.test_tapvid import FRAMES, HEIGHT, WIDTH, example
from training.__main__ import main
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo
from training.data.paint import choose


@pytest.fixture
def dataset(tmp_path):
    """Two grey videos, each with a point that stands still in the middle."""
    grey = np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    one = example(video=grey, points=np.full((1, FRAMES, 2), 0.5, np.float32), occluded=np.zeros((1, FRAMES), bool))
    (tmp_path / "videos.pkl").write_bytes(pickle.dumps({"goat": one, "car": one | {"video": grey + 100}}))
    return tmp_path / "videos.pkl"


def frames_of(path):
    with tapsdk.open_frames(path) as frames:
        return frames.fps, np.stack(list(frames))


def test_the_tracks_of_a_video_are_drawn_where_they_are(dataset, tmp_path, capsys):
    painted = tmp_path / "out.mp4"
    assert main(["paint", "--dataset", str(dataset), "--video", "car", "--fps", "10", "-o", str(painted)]) == 0
    assert capsys.readouterr().out == f"{painted}: car, 1 points\n"
    fps, frames = frames_of(painted)
    assert fps == 10 and frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    changed = np.abs(frames.astype(int) - 190).max(axis=-1) > 40
    assert changed[:, HEIGHT // 2, WIDTH // 2].all()
    assert not changed[:, :, : WIDTH // 4].any()


def test_the_same_number_gives_the_same_clip(dataset, tmp_path):
    outputs = [tmp_path / f"{i}.mp4" for i in range(2)]
    for output in outputs:
        assert main(["paint", "--dataset", str(dataset), "--seed", "3", "-o", str(output)]) == 0
    np.testing.assert_array_equal(*(frames_of(output)[1] for output in outputs))


def test_every_clip_is_as_likely():
    clips = [LabelledVideo(None, None, None, name=str(i)) for i in range(3)]
    counts = np.bincount([int(choose(clips, seed).name) for seed in range(300)])
    assert counts.min() > 70
    with pytest.raises(DatasetError, match="no videos"):
        choose([], None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--video", "bear"], "there is no video 'bear'; there are 2: goat, car"),
        (["--seed", "-1"], "--seed must be 0 or more, got -1"),
        (["--fps", "0"], "fps must be positive"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(dataset, tmp_path, capsys, arguments, says):
    assert main(["paint", "--dataset", str(dataset), *arguments, "-o", str(tmp_path / "out.mp4")]) == 1
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["videos.pkl"]


def test_a_video_does_not_replace_the_dataset(dataset, capsys):
    assert main(["paint", "--dataset", str(dataset), "-o", str(dataset)]) == 1
    assert "it would replace an input" in capsys.readouterr().err
