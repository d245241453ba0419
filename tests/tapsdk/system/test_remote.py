"""Files in stores: whole or not there, of one version and of a size that was allowed; what fails is one OSError."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapsdk.system import remote
from tapsdk.system.places import Url
from tests.stores import (
    BUCKET,
    Front,
    Request,
    contents,
    cuts_files,
    hangs_up,
    new_folder_in,
    refuses_writes,
    unavailable,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "here.bin"
    path.write_bytes(bytes(range(256)) * 10)
    return path


def test_what_is_put_there_comes_back(stored: Url, file: Path, tmp_path: Path) -> None:
    url = stored / "deep" / "there.bin"
    assert remote.kind(url.text) is None
    remote.upload(file, url.text)
    assert (remote.kind(url.text), remote.kind((stored / "deep").text)) == ("file", "directory")
    remote.download(url.text, tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == file.read_bytes()
    assert remote.files_under(stored.text) == ["deep/there.bin"]


def test_a_file_of_several_parts_comes_back(stored: Url, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(251)) * (6 << 12))
    remote.upload(tmp_path / "large", (stored / "large").text)
    told: list[tuple[int, int | None]] = []
    remote.download((stored / "large").text, tmp_path / "back", told=lambda *numbers: told.append(numbers))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    assert len(told) > 1
    assert told[-1] == ((tmp_path / "large").stat().st_size,) * 2


def test_an_empty_file_is_a_file(stored: Url, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    remote.upload(tmp_path / "empty", (stored / "empty").text)
    remote.download((stored / "empty").text, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_a_file_is_replaced(stored: Url, file: Path) -> None:
    remote.upload(file, (stored / "a").text)
    file.write_bytes(b"new")
    remote.upload(file, (stored / "a").text)
    assert contents(stored) == {"a": b"new"}


def test_a_file_has_another_version_when_it_has_other_bytes(stored: Url, file: Path) -> None:
    remote.upload(file, (stored / "a").text)
    first = remote.version((stored / "a").text)
    assert remote.version((stored / "a").text) == first
    file.write_bytes(b"new")
    remote.upload(file, (stored / "a").text)
    assert remote.version((stored / "a").text) != first


def test_files_are_found_by_a_pattern(stored: Url, file: Path) -> None:
    for name in ("a.mp4", "deep/b.mp4", "deep/c.txt"):
        remote.upload(file, (stored / name).text)
    assert remote.matches(stored.text) == ["a.mp4", "deep/b.mp4", "deep/c.txt"]
    assert remote.matches(stored.text, "*/*.mp4") == ["deep/b.mp4"]
    assert remote.matches(stored.text, "*.avi") == []


def test_a_folder_is_no_file(stored: Url, file: Path, tmp_path: Path) -> None:
    remote.upload(file, (stored / "deep" / "there.bin").text)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        remote.download((stored / "deep").text, tmp_path / "back")


def test_what_is_not_there_says_so(stored: Url, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        remote.download((stored / "nothing").text, tmp_path / "back")


def test_more_bytes_than_are_allowed_are_not_copied(stored: Url, file: Path, tmp_path: Path) -> None:
    remote.upload(file, (stored / "a").text)
    with pytest.raises(OSError, match="it has more than 2559 bytes"):
        remote.download((stored / "a").text, tmp_path / "back", 2559)
    remote.download((stored / "a").text, tmp_path / "back", 2560)


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        part = path / name.replace("__", "/")
        part.parent.mkdir(exist_ok=True)
        part.write_text(text)
    return path


def test_a_folder_goes_there_and_another_takes_its_place(stored: Url, tmp_path: Path) -> None:
    remote.upload_folder(folder(tmp_path / "1", last="1", a="1", b__c="1", old="1"), stored.text, "last")
    assert contents(stored) == {"a": b"1", "b/c": b"1", "last": b"1", "old": b"1"}
    remote.upload_folder(folder(tmp_path / "2", last="2", a="2", b__c="2", new="2"), stored.text, "last")
    assert contents(stored) == {"a": b"2", "b/c": b"2", "last": b"2", "new": b"2"}


# Stores that fail


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, in_memory: Url) -> Iterator[Url]:
    """Where the second file that is put there, and those after it, break off in the middle."""
    from fsspec.implementations.memory import MemoryFileSystem

    put, count = MemoryFileSystem.put_file, iter(range(1000))

    def put_half(store: MemoryFileSystem, path: str, to: str, **options: object) -> None:
        if next(count) < 1:
            return put(store, path, to, **options)
        store.pipe_file(to, Path(path).read_bytes()[:1])
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_half)
    yield in_memory


def test_a_file_that_breaks_off_leaves_the_old_one(failing: Url, file: Path) -> None:
    remote.upload(file, (failing / "a").text)
    before = contents(failing)
    with pytest.raises(OSError, match="Connection reset"):
        remote.upload(file, (failing / "a").text)
    assert contents(failing) == before


def test_a_file_of_which_a_part_came_leaves_the_old_one(
    in_memory: Url, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda store, path, to: store.pipe_file(to, b"half"))
    with pytest.raises(OSError, match="4 of 2560 bytes arrived"):
        remote.upload(file, (in_memory / "a").text)
    assert remote.kind((in_memory / "a").text) is None


def test_a_folder_that_breaks_off_is_not_there(failing: Url, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Connection reset"):
        remote.upload_folder(folder(tmp_path / "1", last="1", a="1", b="1"), failing.text, "last")
    assert contents(failing) == {}


def test_a_folder_that_breaks_off_leaves_the_old_one(in_memory: Url, tmp_path: Path, request) -> None:
    remote.upload_folder(folder(tmp_path / "1", last="1", a="1", b="1"), in_memory.text, "last")
    before = contents(in_memory)
    request.getfixturevalue("failing")
    with pytest.raises(OSError, match="Connection reset"):
        remote.upload_folder(folder(tmp_path / "2", last="2", a="2", b="2"), in_memory.text, "last")
    assert contents(in_memory) == before


def test_a_file_that_is_replaced_while_it_is_read_is_an_error(
    in_memory: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").write_bytes(b"1" * 3 * remote.CHUNK)
    remote.upload(tmp_path / "large", (in_memory / "a").text)

    def replace(came: int, size: int | None) -> None:
        if came == remote.CHUNK:
            remote.upload(tmp_path / "large", (in_memory / "a").text)

    with pytest.raises(OSError, match="it was replaced while it was read; try again"):
        remote.download((in_memory / "a").text, tmp_path / "back", told=replace)


@pytest.mark.parametrize("name", ["../out", "a\\b", "a:b"])
def test_a_folder_with_a_name_that_leads_elsewhere_is_not_listed(
    in_memory: Url, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "find", lambda store, path: [f"{path}/fine", f"{path}/{name}"])
    with pytest.raises(OSError, match="it holds a file that is named"):
        remote.files_under(in_memory.text)


def test_a_mark_of_a_folder_is_no_file_in_it(in_memory: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    marked = ["/", "/sub/", "/sub/a", "", "/b"]
    monkeypatch.setattr(MemoryFileSystem, "find", lambda store, path: [path + each for each in marked])
    assert remote.files_under(in_memory.text) == ["b", "sub/a"]


def test_a_folder_of_too_many_files_is_not_listed(in_memory: Url, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_FILES", 1)
    for name in "ab":
        remote.upload(file, (in_memory / name).text)
    with pytest.raises(OSError, match="it holds 2 files, and 1 are the most"):
        remote.files_under(in_memory.text)


FAULTS = {
    unavailable: "the server answered 503",
    hangs_up: "disconnected",
    refuses_writes: "nobody may write here",
}


@pytest.mark.parametrize("fault, message", FAULTS.items(), ids=[fault.__name__ for fault in FAULTS])
def test_a_server_that_fails_is_one_error_and_the_old_file_stays(
    front: Front, file: Path, fault: object, message: str
) -> None:
    url = new_folder_in(f"gs://{BUCKET}")
    remote.upload(file, (url / "a").text)
    before = contents(url)
    file.write_bytes(b"new")
    front.fault = fault
    with pytest.raises(OSError, match=message):
        remote.upload(file, (url / "a").text)
    front.fault = lambda request: False
    assert contents(url) == before


@pytest.mark.parametrize("fault", [unavailable, hangs_up, cuts_files])
def test_a_server_that_fails_to_send_is_one_error(front: Front, file: Path, tmp_path: Path, fault: object) -> None:
    url = new_folder_in(f"gs://{BUCKET}") / "a"
    remote.upload(file, url.text)
    front.fault = fault
    with pytest.raises(OSError):
        remote.download(url.text, tmp_path / "back")
    if fault is not cuts_files:
        with pytest.raises(OSError):
            remote.kind(url.text)


def test_a_large_file_that_breaks_off_leaves_the_old_one(front: Front, tmp_path: Path) -> None:
    """It goes in parts there."""
    url = new_folder_in(f"gs://{BUCKET}")
    (tmp_path / "a").write_bytes(b"old")
    remote.upload(tmp_path / "a", (url / "a").text)
    (tmp_path / "a").write_bytes(b"1" * (6 << 20))
    front.fault = lambda request: "upload_id" in request.path and unavailable(request)
    with pytest.raises(OSError, match="503"):
        remote.upload(tmp_path / "a", (url / "a").text)
    front.fault = lambda request: False
    assert contents(url) == {"a": b"old"}


# URLs that nothing here reads


@pytest.mark.parametrize(
    "url, missing, message",
    [
        ("gs://b/a", "gcsfs", r"gs:// needs a package that is not installed: pip install 'tapsdk\[gcs\]'"),
        ("gs://b/a", "fsspec.core", r"gs:// needs a package that is not installed: pip install 'tapsdk\[gcs\]'"),
        ("s3://b/a", "fsspec.core", "s3:// needs a package that is not installed: pip install s3fs"),
        ("abfs://b/a", "adlfs", "pip install adlfs"),
        ("oci://b/a", "ocifs", "oci:// is not read here: .*ocifs"),
    ],
)
def test_what_to_install_is_one_command(
    url: str, missing: str, message: str, in_memory: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.partition(":")[0], raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(OSError, match=message):
        remote.check(url)


@pytest.mark.parametrize("url", ["nix://b/a", "simplecache::gs://b/a", "memory://a::memory://b"])
def test_other_urls_are_refused(url: str, in_memory: Url) -> None:
    with pytest.raises(OSError, match=r"fsspec knows no|is not allowed"):
        remote.check(url)


def test_the_web_is_read(front: Front, file: Path, tmp_path: Path) -> None:
    def serve(request: Request) -> bool:
        request.answer(*((200, {}, file.read_bytes()) if request.path == "/a" else (404, {}, b"")))
        return True

    front.fault = serve
    assert remote.kind(f"{front.address}/a") == "file"
    assert remote.kind(f"{front.address}/b") is None
    remote.download(f"{front.address}/a", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    with pytest.raises(OSError, match="Connect call failed"):
        remote.kind("http://127.0.0.1:1/a")


def test_the_web_is_not_written_to(in_memory: Url, file: Path) -> None:
    with pytest.raises(OSError, match="name a store, such as gs://"):
        remote.upload(file, "https://127.0.0.1/a")
