"""Places: which of the two a text names, and the parts of both; copies of what lies elsewhere."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tapsdk.errors import StorageError, TracksError
from tapsdk.system import places, remote
from tapsdk.system.places import Url, is_within, keep, local_copy, place, scratch


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a/b.npz", Path("a/b.npz")),
        (Path("/a/b"), Path("/a/b")),
        ("C:\\a", Path("C:\\a")),
        ("gs:/a", Path("gs:/a")),
        ("file:///a/b%20c", Path("/a/b c")),
        ("gs://b/a/", Url("gs://b/a")),
        ("GS://b/A", Url("gs://b/A")),
        (Url("gs://b/a"), Url("gs://b/a")),
    ],
)
def test_a_url_is_told_from_a_path(text: str | Path, expected: places.Place) -> None:
    assert place(text) == expected


@pytest.mark.parametrize(
    "url, name, suffix",
    [
        ("gs://b/a.tar.gz", "a.tar.gz", ".gz"),
        ("gs://b/folder", "folder", ""),
        ("gs://b/a?b.npz", "a?b.npz", ".npz"),
        ("https://b/a.npz?signature=1", "a.npz", ".npz"),
        ("gs://b/..", "", ""),
    ],
)
def test_a_url_has_a_name_and_a_suffix(url: str, name: str, suffix: str) -> None:
    assert (place(url).name, place(url).suffix) == (name, suffix)


def test_a_url_has_parts_and_is_a_path_to_whoever_takes_text() -> None:
    url = place("gs://b/a") / "c"
    assert os.fspath(url) == str(url) == "gs://b/a/c"


def test_a_password_is_not_shown() -> None:
    url = place("sftp://me:secret@host/a@b")
    assert str(url) == "sftp://me:***@host/a@b"
    assert os.fspath(url) == "sftp://me:secret@host/a@b"


@pytest.mark.parametrize(
    "inner, outer, expected",
    [
        ("gs://b/a/w", "gs://b/a", True),
        ("gs://b/a", "gs://b/a", True),
        ("gs://b/ab", "gs://b/a", False),
        ("a/w", "gs://b/a", False),
        ("a/b/../w", "./a", True),
        ("ab/w", "a", False),
    ],
)
def test_what_lies_in_what(inner: str, outer: str, expected: bool) -> None:
    assert is_within(place(inner), place(outer)) is expected


def test_a_url_says_what_is_there(in_memory: Url, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    remote.upload(tmp_path / "a", (in_memory / "a").text)
    assert (in_memory.exists(), in_memory.is_dir(), in_memory.is_file()) == (True, True, False)
    assert ((in_memory / "a").exists(), (in_memory / "a").is_dir(), (in_memory / "a").is_file()) == (True, False, True)
    assert not (in_memory / "b").exists()


def test_a_url_that_cannot_be_looked_up_is_one_error() -> None:
    pytest.importorskip("fsspec", reason="needs fsspec: pip install '.[gcs]'")
    with pytest.raises(StorageError, match="nix://b/a cannot be looked up: fsspec knows no nix://"):
        place("nix://b/a").exists()


def test_a_path_is_its_own_copy(tmp_path: Path) -> None:
    with local_copy(tmp_path / "nothing", TracksError) as copy:
        assert copy == tmp_path / "nothing"


def test_a_copy_has_the_name_and_is_gone_in_the_end(in_memory: Url, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    remote.upload(tmp_path / "a", (in_memory / "w.npy").text)
    with local_copy(in_memory / "w.npy", TracksError) as copy:
        assert (copy.name, copy.read_bytes()) == ("w.npy", b"1")
    assert not copy.exists()
    assert not copy.parent.exists()


def test_what_cannot_be_copied_is_the_readers_error(in_memory: Url) -> None:
    url = in_memory / "w.npy"
    with pytest.raises(TracksError, match=f"{url} cannot be read: there is no such file"), local_copy(url, TracksError):
        pass


def test_errors_of_the_copy_name_the_url(in_memory: Url, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    remote.upload(tmp_path / "a", (in_memory / "w.npy").text)
    with (
        pytest.raises(TracksError, match=f"^{in_memory}/w.npy is empty$"),
        local_copy(in_memory / "w.npy", TracksError) as copy,
    ):
        raise TracksError(f"{copy} is empty")


def test_what_is_kept_has_a_name_that_tells_what_it_is(tmp_path: Path) -> None:
    for path in (tmp_path / "1", tmp_path / "2"):
        path.write_bytes(b"1")
    kept = [keep(tmp_path / name, "tracks.npz") for name in "12"]
    assert all(path.name.startswith("tracks-") and path.suffix == ".npz" for path in kept)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_without_a_cache_things_pass_through_the_systems_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "file"))
    assert scratch() == Path(tempfile.gettempdir())
