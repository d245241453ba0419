"""Runs that are kept in a store: resumed from there to the bit, and nothing is lost where the store does not answer."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import SaveError, StorageError
from tapsdk.system import remote
from tapsdk.system.places import Url
from tests.stores import BUCKET, Front, contents, cuts_files, new_folder_in, refuses_writes, unavailable
from tests.training.run.test_loop import Counting, Killed, final, rows
from tests.training.run.tiny import tiny, tiny_file
from training.__main__ import main
from training.checkpoints.errors import CheckpointError
from training.run.config import TrainConfig
from training.run.loop import train
from training.run.release import release
from training.run.report import LOG, PICTURES
from training.run.run_state import CHECKPOINT, find_checkpoint, load_checkpoint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "remote"


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return tiny(tmp_path, steps=7, save_every=3)


def fetched(url: Url, folder: Path) -> Path:
    """The run as a folder of this machine."""
    for name, data in contents(url).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("killed_at", [1, 5])
def test_a_run_in_a_store_that_was_killed_and_resumed_ends_like_one_on_this_machine(
    config: TrainConfig, stored: Url, tmp_path: Path, cache: Path, killed_at: int
) -> None:
    config = dataclasses.replace(config, evaluate_every=2)
    train(config, Counting(), tmp_path / "here", progress=False)
    with pytest.raises(Killed):
        train(config, Counting(killed_at), stored, progress=False)
    saved = find_checkpoint(stored)
    assert (0 if saved is None else load_checkpoint(saved).step) == killed_at // 3 * 3
    train(config, Counting(), stored, progress=False)
    there = fetched(stored, tmp_path / "there")
    assert np.array_equal(final(there), final(tmp_path / "here"))
    assert rows(there) == rows(tmp_path / "here")
    assert not any(cache.iterdir())


def test_all_that_a_run_writes_goes_there(config: TrainConfig, in_memory: Url) -> None:
    pytest.importorskip("tensorboard")
    train(dataclasses.replace(config, picture_every=4), Counting(), in_memory, progress=False)
    names = list(contents(in_memory))
    assert {CHECKPOINT, LOG, f"{PICTURES}/0000004.png", f"{PICTURES}/0000007.png"} < set(names)
    assert any(name.startswith("tensorboard/") for name in names)


def test_the_checkpoint_goes_last_and_what_did_not_change_not_at_all(
    config: TrainConfig, in_memory: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run.report._has_tensorboard", lambda: False)
    sent: list[str] = []
    upload = remote.upload
    monkeypatch.setattr(remote, "upload", lambda path, url: (sent.append(path.name), upload(path, url)))
    train(dataclasses.replace(config, evaluate_every=3), Counting(), in_memory, progress=False)
    assert sent == [LOG, CHECKPOINT] * 3
    sent.clear()
    train(dataclasses.replace(config, evaluate_every=3), Counting(), in_memory, progress=False)
    assert sent == []


def test_only_the_first_of_several_processes_writes(config: TrainConfig, in_memory: Url) -> None:
    updater = Counting()
    updater.rank, updater.world = 1, 2
    train(config, updater, in_memory, progress=False)
    assert not in_memory.exists()


def test_a_run_in_a_store_is_released(config: TrainConfig, in_memory: Url) -> None:
    with pytest.raises(CheckpointError, match=f"{in_memory} holds no checkpoint|{in_memory} cannot be read"):
        release(in_memory, in_memory / "w.safetensors")
    train(config, Counting(), in_memory, progress=False)
    for run in (in_memory, in_memory / CHECKPOINT):
        assert release(run, in_memory / "w.safetensors") == "tapir/tiny after 7 steps"
    with pytest.raises(SaveError, match="it would replace an input"):
        release(in_memory, in_memory / CHECKPOINT)


# Stores that fail


def test_a_store_that_is_away_for_a_while_holds_up_nothing(
    config: TrainConfig, front: Front, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_folder_in(f"gs://{BUCKET}")

    class Away(Counting):
        def step(self, batch, learning_rate):
            front.fault = unavailable if self._state.updates < 4 else lambda request: False
            return super().step(batch, learning_rate)

    train(config, Away(), url, progress=False)
    assert f"could not write {url}/" in caplog.text
    assert "the next checkpoint tries again" in caplog.text
    train(config, Counting(), tmp_path / "here", progress=False)
    assert np.array_equal(final(fetched(url, tmp_path / "there")), final(tmp_path / "here"))
    assert not any(cache.iterdir())


def test_a_run_that_cannot_be_sent_is_kept_and_goes_on_from_there(
    config: TrainConfig, front: Front, cache: Path, tmp_path: Path
) -> None:
    url = new_folder_in(f"gs://{BUCKET}")
    front.fault = refuses_writes
    with pytest.raises(SaveError, match=f"^could not write {url}/.*nobody may write here") as caught:
        train(config, Counting(), url, progress=False)
    kept = Path(re.search("the run is kept as (.*), where --resume", str(caught.value))[1])
    assert list(cache.iterdir()) == [kept]
    assert load_checkpoint(kept / CHECKPOINT).step == 7
    train(config.with_steps(9), Counting(), kept, progress=False)
    assert load_checkpoint(kept / CHECKPOINT).step == 9


def test_an_older_checkpoint_stays_where_a_newer_one_cannot_be_sent(config: TrainConfig, front: Front) -> None:
    url = new_folder_in(f"gs://{BUCKET}")
    train(config, Counting(), url, progress=False)
    front.fault = refuses_writes
    with pytest.raises(SaveError):
        train(config.with_steps(9), Counting(), url, progress=False)
    front.fault = lambda request: False
    assert load_checkpoint(url / CHECKPOINT).step == 7


def test_a_run_that_ends_early_while_the_store_is_away_is_kept(
    config: TrainConfig, front: Front, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    front.fault = refuses_writes
    url = new_folder_in(f"gs://{BUCKET}")
    with pytest.raises(Killed):
        train(config, Counting(5), url, progress=False)
    (kept,) = cache.iterdir()
    assert load_checkpoint(kept / CHECKPOINT).step == 3
    assert f"{url} lacks the last checkpoint; the run is kept as {kept}" in caplog.text


def test_a_checkpoint_that_does_not_come_whole_starts_no_run_anew(config: TrainConfig, front: Front) -> None:
    url = new_folder_in(f"gs://{BUCKET}")
    train(config, Counting(), url, progress=False)
    front.fault = cuts_files
    with pytest.raises(CheckpointError, match=f"^{url}/{CHECKPOINT} cannot be read: "):
        train(config.with_steps(9), Counting(), url, progress=False)


def test_a_store_that_does_not_answer_starts_no_run_anew(config: TrainConfig, front: Front) -> None:
    front.fault = unavailable
    with pytest.raises(StorageError, match="cannot be looked up: the server answered 503"):
        train(config, Counting(), new_folder_in(f"gs://{BUCKET}"), progress=False)


def test_the_command_takes_urls(in_memory: Url, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    command = ["train", str(tiny_file(tmp_path, steps=2)), "--quiet"]
    assert main([*command, "-o", f"{in_memory}/run"]) == 0
    assert main([*command, "-o", f"{in_memory}/run"]) == 1
    assert f"{in_memory}/run holds a run already; go on with it: --resume {in_memory}/run" in capsys.readouterr().err
    assert main([*command, "--steps", "3", "--resume", f"{in_memory}/run"]) == 0
    assert load_checkpoint(in_memory / "run" / CHECKPOINT).step == 3
    assert main(["release", f"{in_memory}/run", "-o", f"{in_memory}/w.safetensors"]) == 0
    assert main([*command, "-o", str(tmp_path / "tuned"), "--init", f"{in_memory}/w.safetensors"]) == 0
    assert main([*command, "-o", str(tmp_path / "none"), "--init", f"{in_memory}/none.safetensors"]) == 1
    assert f"{in_memory}/none.safetensors cannot be read: there is no such file" in capsys.readouterr().err
