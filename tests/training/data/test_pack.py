"""Pickles as TAP-Vid publishes them, written, and read again."""

import csv
import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tapsdk.errors import SaveError
from tests.training.data.readers.test_tapvid_csv import random_tracks, track, write_video
from training.__main__ import main
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo
from training.data.pack import LAYOUTS, check_place, write_tapvid
from training.data.readers.tapvid import read_tapvid
from training.data.readers.tapvid_csv import read_tapvid_csv

SINGLE = [name for name, layout in LAYOUTS.items() if layout.shards is None]
SHARDED = [name for name, layout in LAYOUTS.items() if layout.shards is not None]


def video(name="goat", seed=0, points=3, frames=4, size=(24, 40)):
    rng = np.random.default_rng(seed)
    slope = np.add.outer(np.arange(size[0]), np.arange(size[1]))[..., None]
    smooth = (rng.integers(0, 150, (frames, 1, 1, 3)) + slope).astype(np.uint8)
    xy = rng.uniform(-5, 45, (points, frames, 2)).astype(np.float32)
    return LabelledVideo(smooth, xy, rng.random((points, frames)) < 0.7, name=name)


def assert_same(found, written, encoded):
    assert found.xy.dtype == np.float32
    np.testing.assert_array_equal(found.visible, written.visible)
    np.testing.assert_allclose(found.xy, written.xy, rtol=0 if encoded else 1e-6)
    np.testing.assert_allclose(found.frames.astype(int), written.frames, atol=6 if encoded else 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_written_is_read_again(tmp_path, layout):
    """To the bit, but for what the published form rounds: positions in single precision, and JPEG."""
    videos = [video("goat"), video("car", 1, points=1, size=(40, 24)), video("none", 2, points=0, frames=1)]
    path = tmp_path / ("folder" if layout in SHARDED else "videos.pkl")
    check_place(path, layout)
    assert write_tapvid(path, iter(videos), layout) == 3
    read = list(read_tapvid(path))
    for found, written in zip(read, videos, strict=True):
        assert_same(found, written, LAYOUTS[layout].encoded)
    if LAYOUTS[layout].named:
        assert [found.name for found in read] == ["goat", "car", "none"]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_each_layout_is_what_is_published(tmp_path):
    """Types and names as TAP-Vid's README and generate_tapvid.py have them, for readers that are not ours."""
    for layout in LAYOUTS:
        write_tapvid(tmp_path / layout, [video(str(i), i) for i in range(12)], layout)

    def load(name):
        with open(tmp_path / name, "rb") as file:
            return pickle.load(file)

    assert sorted(path.name for path in (tmp_path / "kinetics").iterdir()) == [f"{i:04}_of_0010.pkl" for i in range(6)]
    assert sorted(path.name for path in (tmp_path / "robotap").iterdir()) == [f"robotap_split{i}.pkl" for i in range(4)]
    assert list(load("davis")) == [str(i) for i in range(12)]
    assert [list(load(f"robotap/robotap_split{i}.pkl")) for i in (0, 3)] == [["0", "1", "2"], ["9", "10", "11"]]
    raw, encoded = load("rgb-stacking")[0], load("kinetics/0000_of_0010.pkl")[0]
    assert (raw["video"].dtype, raw["points"].dtype, raw["occluded"].dtype) == (np.uint8, np.float32, bool)
    assert (encoded["video"].dtype.kind, encoded["points"].dtype) == ("S", np.float64)
    assert encoded["video"][0].startswith(b"\xff\xd8")
    for example in (raw, encoded):
        np.testing.assert_allclose(example["points"], video("0").xy / [40, 24], rtol=1e-6)
        np.testing.assert_array_equal(example["occluded"], ~video("0").visible)


def test_hidden_points_may_have_no_position(tmp_path):
    written = video()
    written.xy[~written.visible] = np.nan
    write_tapvid(tmp_path / "videos.pkl", [written])
    (found,) = read_tapvid(tmp_path / "videos.pkl")
    np.testing.assert_allclose(found.xy, written.xy, rtol=1e-6)


def test_a_table_and_its_videos_become_pickles_of_kinetics(tmp_path, capsys):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}_000001_000002.mp4", 5)
    rows = [[name, 1, 2, *track(random_tracks(1, 5)[0])] for name in "ab"]
    with open(tmp_path / "tapvid_kinetics.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    table, pickles = tmp_path / "tapvid_kinetics.csv", tmp_path / "new" / "pickles"
    assert main(["pack", "--dataset", str(table), "--layout", "kinetics", "-o", str(pickles)]) == 0
    assert capsys.readouterr().out == f"{pickles}: 2 videos\n"
    for found, written in zip(read_tapvid(pickles), read_tapvid_csv(table), strict=True):
        assert_same(found, written, encoded=True)


def test_generated_clips_can_be_packed_at_another_size(tmp_path, monkeypatch):
    pytest.importorskip("cv2", reason="the generator needs OpenCV: pip install '.[train]'")
    monkeypatch.setattr("training.data.datasets.synthetic.__defaults__", (None, 2))
    path = tmp_path / "clips.pkl"
    assert main(["pack", "--resolution", "32x48", "-o", str(path)]) == 0
    assert [found.frames.shape for found in read_tapvid(path)] == [(24, 32, 48, 3)] * 2


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("videos", "says"),
    [
        ([], "no videos to pack"),
        ([replace(video(), annotated=np.array([True, False, True, True]))], "goat: nothing is known of some frames"),
    ],
)
def test_what_cannot_be_packed_leaves_nothing(tmp_path, layout, videos, says):
    with pytest.raises(DatasetError, match=says):
        write_tapvid(tmp_path / "out", videos, layout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["davis", "robotap"])
def test_layouts_by_name_refuse_a_name_twice(tmp_path, layout):
    with pytest.raises(DatasetError, match="two videos have the name 'goat'"):
        write_tapvid(tmp_path / "out", [video(), video()], layout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_reader_that_fails_half_way_leaves_nothing(tmp_path, layout):
    def videos():
        yield video()
        raise DatasetError("cut short")

    with pytest.raises(DatasetError, match="cut short"):
        write_tapvid(tmp_path / "out", videos(), layout)
    assert not list(tmp_path.iterdir())


def test_another_layout_lists_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match="unknown layout 'coco'; use one of davis, rgb-stacking, kinetics, robotap"):
        write_tapvid(tmp_path / "out.pkl", [video()], "coco")


def test_places_that_cannot_be_are_refused_before_the_work(tmp_path):
    (tmp_path / "taken").mkdir()
    for layout in SHARDED:
        with pytest.raises(SaveError, match="it exists"):
            check_place(tmp_path / "taken", layout)
    for layout in SINGLE:
        with pytest.raises(SaveError, match=r"the suffix must be \.pkl"):
            check_place(tmp_path / "out.npz", layout)
        with pytest.raises(SaveError, match="could not write"):
            check_place(tmp_path / "none" / "out.pkl", layout)
    (tmp_path / "file").touch()
    for place in ("file/out", "taken"):
        with pytest.raises(SaveError, match="could not write"):
            write_tapvid(tmp_path / place, [video()], "kinetics")
