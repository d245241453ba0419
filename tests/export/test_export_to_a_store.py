"""`python -m export -o URL`: a verified artifact there, or nothing new, and what was made is kept."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tapsdk.artifact import open_artifact
from tapsdk.system import remote
from tapsdk.system.places import Url
from tests.stores import BUCKET, Front, contents, new_folder_in, refuses_writes
from tests.support import SMALL, import_or_skip, known_model

import_or_skip("onnx")
import_or_skip("torch")

from export import pipeline  # noqa: E402
from export.__main__ import main  # noqa: E402


@pytest.fixture(autouse=True)
def instant(exported: Path, small_config: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What is exported was made before; the cache is a new one."""

    def copied(build: object, directory: Path) -> object:
        shutil.copytree(exported, directory, dirs_exist_ok=True)
        return open_artifact(directory).manifest

    monkeypatch.setattr(pipeline._Build, "into", copied)
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    with known_model(SMALL, small_config):
        yield


def run(weights: object, output: object, *more: str) -> int:
    return main([SMALL, "--target", "onnx", "--weights", str(weights), "-o", str(output), *more])


def test_weights_come_from_there_and_the_artifact_goes_there(
    stored: Url, small_model: Path, exported: Path, tmp_path: Path
) -> None:
    remote.upload(small_model, f"{stored}/w.safetensors")
    assert run(stored / "w.safetensors", stored / "a") == 0
    expected = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert contents(stored / "a") == expected
    open_artifact(stored / "a").verify()
    assert not any((tmp_path / "cache" / "remote").iterdir())


def test_what_is_there_is_replaced_only_if_asked(
    in_memory: Url, small_model: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small_model, in_memory) == 0
    (tmp_path / "old").write_text("old")
    remote.upload(tmp_path / "old", f"{in_memory}/old.bin")
    assert run(small_model, in_memory) == 1
    assert f"{in_memory} exists; use --force to replace an artifact" in capsys.readouterr().err
    assert run(small_model, in_memory, "--force") == 0
    assert sorted(contents(in_memory)) == sorted(os.listdir(exported))


def test_what_is_no_artifact_is_never_replaced(
    in_memory: Url, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.upload(small_model, f"{in_memory}/w.safetensors")
    assert run(small_model, in_memory, "--force") == 1
    assert "is not an artifact; choose another directory" in capsys.readouterr().err


def test_weights_within_what_is_replaced_are_kept(
    in_memory: Url, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small_model, in_memory) == 0
    remote.upload(small_model, f"{in_memory}/w.safetensors")
    assert run(in_memory / "w.safetensors", in_memory, "--force") == 1
    assert "holds the weights" in capsys.readouterr().err


@pytest.mark.parametrize("force", [False, True])
def test_what_cannot_be_sent_is_kept_and_what_is_there_stays(
    front: Front, small_model: Path, exported: Path, force: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_folder_in(f"gs://{BUCKET}") / "a"
    if force:
        assert run(small_model, url) == 0
    before = contents(url)
    front.fault = refuses_writes
    assert run(small_model, url, "--force") == 1
    error = capsys.readouterr().err
    found = re.fullmatch(rf"error: could not write {url}: .*; what was to go there is kept as (.*)\n", error)
    assert found, error
    assert sorted(os.listdir(found[1])) == sorted(os.listdir(exported))
    open_artifact(found[1]).verify()
    front.fault = lambda request: False
    assert contents(url) == before


def test_weights_that_are_not_there_are_one_error(in_memory: Url, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(in_memory / "w.safetensors", in_memory / "a") == 1
    assert capsys.readouterr().err == f"error: {in_memory}/w.safetensors cannot be read: there is no such file\n"
