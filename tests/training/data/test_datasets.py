"""Datasets by name, and files and folders recognised by what is in them."""

import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from PIL import Image as pillow

from tapsdk.video import VideoWriter
from training.data.datasets import DATASETS, GENERATED, open_dataset, recognise, synthetic
from training.data.errors import DatasetError


def write_pickle(folder: Path) -> Path:
    example = {
        "video": np.zeros((2, 20, 30, 3), np.uint8),
        "points": np.full((1, 2, 2), 0.5, np.float32),
        "occluded": np.zeros((1, 2), bool),
    }
    (folder / "tapvid_davis.pkl").write_bytes(pickle.dumps({"goat": example}))
    return folder / "tapvid_davis.pkl"


def write_badja(folder: Path) -> Path:
    (folder / "bear").mkdir(parents=True)
    for t in range(2):
        pillow.new("RGB", (30, 20)).save(folder / "bear" / f"{t:05d}.jpg")
    np.savez(folder / "bear" / "tracks.npz", xy=np.ones((1, 2, 2)), visible=np.ones((1, 2), bool))
    return folder / "bear"


def write_csv(folder: Path) -> Path:
    with VideoWriter(folder / "clip.mp4", 25, (20, 30)) as writer:
        for _ in range(2):
            writer.write(np.zeros((20, 30, 3), np.uint8))
    (folder / "tracks.csv").write_text("clip,0.5,0.5,0,0.5,0.5,0\n")
    return folder / "tracks.csv"


@pytest.mark.parametrize(
    ("write", "size"), [(write_pickle, (256, 256)), (write_csv, (256, 256)), (write_badja, (20, 30))]
)
def test_files_and_folders_are_recognised_and_resized_as_published(tmp_path, write, size):
    inner = write(tmp_path)
    for path in (tmp_path, inner):
        (video,) = open_dataset(str(path))
        assert video.frames.shape == (2, *size, 3)
        (native,) = open_dataset(str(path), size=None)
        assert native.frames.shape == (2, 20, 30, 3)
        (asked,) = open_dataset(str(path), size=(16, 8))
        assert asked.frames.shape == (2, 16, 8, 3)


def test_a_name_says_where_its_files_are(tmp_path):
    (video,) = open_dataset("davis", write_pickle(tmp_path))
    assert video.name == "goat"


def test_pickles_go_before_the_table_that_they_were_made_of(tmp_path):
    write_csv(tmp_path)
    write_pickle(tmp_path)
    assert recognise(tmp_path) == "davis"


def test_records_are_recognised(tmp_path):
    (tmp_path / "movi_e-train.tfrecord-00000-of-00001").touch()
    assert recognise(tmp_path) == "kubric"
    assert recognise(tmp_path / "movi_e-train.tfrecord-00000-of-00001") == "kubric"


@pytest.mark.parametrize("name", DATASETS)
def test_every_named_dataset_says_which_files_it_needs(name, tmp_path):
    for data in (None, tmp_path / "none"):
        with pytest.raises(DatasetError) as caught:
            open_dataset(name, data)
        assert DATASETS[name].files in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    names = "synthetic, returns, figures, .*, davis, .*, or a file"
    with pytest.raises(DatasetError, match=rf"unknown dataset 'nothing'; use one of {names}"):
        open_dataset("nothing")


def test_a_folder_of_nothing_lists_what_would_be_recognised(tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)holds no dataset .*tapvid_davis\.pkl.*tracks\.npz"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("name", GENERATED)
def test_the_held_out_clips_are_the_same_every_time(name):
    pytest.importorskip("cv2", reason="the generator needs OpenCV: pip install '.[train]'")
    first, again = (next(synthetic(name, None)) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first.frames.shape == (48 if name == "returns" else 24, 256, 256, 3)
    assert first.name == f"{name}-000"


def test_the_sets_are_not_the_same_clips():
    pytest.importorskip("cv2", reason="the generator needs OpenCV: pip install '.[train]'")
    frames = [next(synthetic(name, None)).frames[0].tobytes() for name in GENERATED]
    assert len(set(frames)) == len(GENERATED)


def test_generated_clips_can_be_resized():
    pytest.importorskip("cv2", reason="the generator needs OpenCV: pip install '.[train]'")
    native, wide = next(open_dataset("synthetic")), next(open_dataset("synthetic", size=(64, 128)))
    assert wide.frames.shape == (24, 64, 128, 3)
    np.testing.assert_allclose(wide.xy, native.xy * [0.5, 0.25], rtol=1e-6)
