"""TAPVid-3D's splits, and which files of a folder belong to them."""

import logging

import pytest

from training.data.errors import DatasetError
from training.data.tapvid3d import SOURCES, names_of, recording_of, truths

COUNTS = {"adt": (50, 1906), "pstudio": (50, 106), "drivetrack": (50, 2407)}


@pytest.mark.parametrize("source", SOURCES)
def test_splits_have_as_many_videos_as_published_and_none_in_common(source):
    minival, full = ({*names_of(source, split)} for split in ("minival", "full"))
    assert (len(minival), len(full)) == COUNTS[source] and not minival & full
    assert {*names_of(source, "all")} == minival | full


def test_every_video_of_adt_has_its_recording():
    assert all(recording_of(name).startswith(name.rpartition("_")[0] + "_") for name in names_of("adt", "all"))
    assert recording_of("basketball_5") is None


@pytest.mark.parametrize("asked", [("adt", "test"), ("kitti", "full")])
def test_what_there_is_not_is_said(asked):
    with pytest.raises(DatasetError, match="sources are adt, pstudio, drivetrack, splits minival, full, all"):
        names_of(*asked)


def folder_with(tmp_path, **names):
    for source, some in names.items():
        (tmp_path / source).mkdir()
        for name in some:
            (tmp_path / source / f"{name}.npz").touch()
    return tmp_path


def test_a_folder_gives_the_files_of_a_split_and_says_how_many_it_lacks(tmp_path, caplog):
    one, other = names_of("adt", "minival")[0], names_of("adt", "full")[0]
    found = truths(folder_with(tmp_path, adt=[one, other]), "minival")
    assert found == {"adt": [tmp_path / "adt" / f"{one}.npz"]}
    assert "has 1 of the 50 videos of minival" in caplog.text


def test_videos_of_your_own_are_all_taken(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    found = truths(folder_with(tmp_path, pstudio=["b", "a"]), "full")
    assert [path.stem for path in found["pstudio"]] == ["a", "b"]
    assert "none of TAPVid-3D's" in caplog.text


def test_a_folder_without_any_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        truths(tmp_path / "nothing", "full")
    only_full = folder_with(tmp_path, adt=names_of("adt", "full")[:2])
    with pytest.raises(DatasetError, match="holds no video of minival"):
        truths(only_full, "minival")
