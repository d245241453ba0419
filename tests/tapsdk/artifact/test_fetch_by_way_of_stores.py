"""Official files from a store, or by way of one that machines share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapsdk.artifact import fetch as fetch_module
from tapsdk.artifact.fetch import cached, fetch
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.commands.main import main
from tapsdk.errors import FetchError
from tapsdk.system import remote
from tapsdk.system.places import Url
from tests.stores import BUCKET, Front, contents, cuts_files, new_folder_in, refuses_writes, unavailable

MODEL = "tapir/base"
FILE = OFFICIAL[MODEL].addresses[0].rpartition("/")[2]
CONTENT = bytes(range(256)) * 40
PIN = "tapir-base.pin.json"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a new machine."""
    return another_machine(tmp_path / "first", monkeypatch)


def another_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPSDK_CACHE", str(folder))
    return folder


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that its server was asked for."""
    asked: list[str] = []

    def download(url: str, path: Path, **options: object) -> None:
        asked.append(url)
        path.write_bytes(CONTENT)

    monkeypatch.setattr(fetch_module, "download", download)
    return asked


def put(data: bytes, url: str, tmp_path: Path) -> None:
    (tmp_path / "put").write_bytes(data)
    remote.upload(tmp_path / "put", url)


def test_a_store_may_be_the_mirror(stored: Url, tmp_path: Path) -> None:
    put(CONTENT, f"{stored}/{FILE}", tmp_path)
    path = fetch(MODEL, url=f"{stored}/{FILE}")
    assert path.read_bytes() == CONTENT
    assert cached(MODEL) == path


def test_a_mirror_with_another_file_is_refused(in_memory: Url, tmp_path: Path) -> None:
    put(CONTENT, f"{in_memory}/{FILE}", tmp_path)
    fetch(MODEL, url=f"{in_memory}/{FILE}").unlink()
    put(CONTENT[::-1], f"{in_memory}/{FILE}", tmp_path)
    with pytest.raises(FetchError, match=f"{in_memory}/{FILE} is not the file that was fetched on"):
        fetch(MODEL, url=f"{in_memory}/{FILE}")


@pytest.mark.parametrize("fault", [unavailable, cuts_files])
def test_a_mirror_that_fails_is_one_error(front: Front, machine: Path, tmp_path: Path, fault: object) -> None:
    url = f"{new_folder_in(f'gs://{BUCKET}')}/{FILE}"
    put(CONTENT, url, tmp_path)
    front.fault = fault
    with pytest.raises(FetchError, match=f"^could not fetch {url}: "):
        fetch(MODEL, url=url)
    assert cached(MODEL) is None
    assert not [path for path in machine.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_a_shared_store_is_filled_by_the_first_and_serves_the_others(
    stored: Url, publisher: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch(MODEL, directory=str(stored))
    assert sorted(contents(stored)) == sorted([FILE, PIN])
    another_machine(tmp_path / "second", monkeypatch)
    second = fetch(MODEL, directory=str(stored))
    assert second != first
    assert second.read_bytes() == CONTENT
    assert publisher == [OFFICIAL[MODEL].addresses[0]]
    assert cached(MODEL) == second


def test_what_a_shared_store_holds_is_what_its_note_says(
    in_memory: Url, publisher: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(MODEL, directory=str(in_memory))
    put(CONTENT[::-1], f"{in_memory}/{FILE}", tmp_path)
    another_machine(tmp_path / "second", monkeypatch)
    with pytest.raises(FetchError, match="is not the file that was fetched on"):
        fetch(MODEL, directory=str(in_memory))
    assert cached(MODEL) is None


def test_a_shared_store_with_another_file_than_is_at_hand_is_told(
    in_memory: Url, publisher: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(MODEL, directory=str(in_memory))
    another_machine(tmp_path / "second", monkeypatch)
    put(CONTENT[::-1], f"{in_memory}-other/{FILE}", tmp_path)
    fetch(MODEL, url=f"{in_memory}-other/{FILE}")
    with pytest.raises(FetchError, match=f"delete {in_memory}/{PIN} and fetch again"):
        fetch(MODEL, directory=str(in_memory))


def test_a_shared_store_that_cannot_be_filled_leaves_the_file_at_hand(front: Front, publisher: list[str]) -> None:
    front.fault = refuses_writes
    with pytest.raises(FetchError, match=f"could not write gs://{BUCKET}/x: .*; the file is kept as ") as caught:
        fetch(MODEL, directory=f"gs://{BUCKET}/x")
    assert str(cached(MODEL)) in str(caught.value)


def test_a_shared_store_that_does_not_answer_is_one_error(front: Front, publisher: list[str]) -> None:
    front.fault = unavailable
    with pytest.raises(FetchError, match=f"^gs://{BUCKET}/x/{PIN} cannot be read: the server answered 503$"):
        fetch(MODEL, directory=f"gs://{BUCKET}/x")
    assert publisher == []


def test_the_command_takes_both(
    in_memory: Url, publisher: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(CONTENT, f"{in_memory}/{FILE}", tmp_path)
    command = ["fetch", MODEL, "--quiet", "--url", f"{in_memory}/{FILE}", "--directory", f"{in_memory}/shared"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith(str(cached(MODEL)))
    assert sorted(contents(in_memory / "shared")) == sorted([FILE, PIN])
    assert publisher == []
