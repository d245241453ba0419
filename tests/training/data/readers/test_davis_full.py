"""Tracks of TAP-Vid's pickle on larger frames of the same videos."""

import pickle

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from PIL import Image as pillow

from tests.training.data.readers.test_tapvid import FRAMES, HEIGHT, WIDTH, example
from training.data.datasets import benchmark_of, open_dataset, recognise
from training.data.errors import DatasetError
from training.data.readers.davis_full import read_davis_full

SIZE = (2 * HEIGHT, 3 * WIDTH)
"""Of the pictures."""


@pytest.fixture(params=["", "DAVIS"])
def folder(request, tmp_path):
    (tmp_path / "tapvid_davis.pkl").write_bytes(pickle.dumps({"goat": example()}))
    pictures = tmp_path / request.param / "JPEGImages" / "Full-Resolution" / "goat"
    pictures.mkdir(parents=True)
    for t in range(FRAMES):
        pillow.new("RGB", SIZE[::-1], (30 * t, 0, 0)).save(pictures / f"{t:05d}.jpg", quality=100)
    return tmp_path


def test_points_lie_where_they_do_in_the_small_video(folder):
    (video,) = read_davis_full(folder)
    assert video.name == "goat" and video.frames.shape == (FRAMES, *SIZE, 3)
    np.testing.assert_allclose(video.frames[:, 5, 5, 0], 30 * np.arange(FRAMES), atol=2)
    np.testing.assert_allclose(video.xy, example()["points"] * SIZE[::-1], rtol=1e-5)
    np.testing.assert_array_equal(video.visible, ~example()["occluded"])


def test_it_is_recognised_and_not_resized_unless_asked(folder):
    assert recognise(folder) == "davis-full" and benchmark_of(str(folder)) == "tapvid"
    (video,) = open_dataset(str(folder))
    assert video.frames.shape[1:3] == SIZE
    (asked,) = open_dataset(str(folder), size=(12, 20))
    assert asked.frames.shape[1:3] == (12, 20)
    np.testing.assert_allclose(asked.xy, example()["points"] * [20, 12], rtol=1e-5)


def test_pictures_that_do_not_fit_the_tracks_are_an_error(folder):
    next(folder.glob("**/00003.jpg")).unlink()
    with pytest.raises(DatasetError, match=f"has 3 pictures, its tracks {FRAMES} frames"):
        list(read_davis_full(folder))


def test_either_part_that_is_missing_is_named(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DatasetError, match=r"must hold tapvid_davis\.pkl, and JPEGImages/Full-Resolution"):
        list(read_davis_full(empty))
    (folder / "tapvid_davis.pkl").unlink()
    with pytest.raises(DatasetError, match=r"must hold tapvid_davis\.pkl"):
        list(read_davis_full(folder))
