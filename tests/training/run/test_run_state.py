"""Checkpoints of runs: whole or not there, and the same for all frameworks."""

import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapsdk.errors import SaveError
from tests.support import ROOT, needs_torch
from training.checkpoints.errors import CheckpointError
from training.run.run_state import (
    CHECKPOINT,
    OLD_CHECKPOINT,
    PARTS,
    Checkpoint,
    RunState,
    check_fit,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)


def example(step: int = 7) -> Checkpoint:
    rng = np.random.default_rng(step)
    parts = [{"a.weight": rng.random((2, 3), np.float32), "a.bias": rng.random(2, np.float32)} for _ in PARTS]
    return Checkpoint(step, RunState(*parts, updates=step - 1), {"model": "tapir/tiny", "phases": [{"steps": 9}]})


def assert_same(found: Checkpoint, expected: Checkpoint) -> None:
    assert (found.step, found.config, found.state.updates) == (expected.step, expected.config, expected.state.updates)
    for part in PARTS:
        arrays, wanted = getattr(found.state, part), getattr(expected.state, part)
        assert arrays.keys() == wanted.keys()
        assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted), part


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path)
    path = find_checkpoint(tmp_path)
    assert path == tmp_path / CHECKPOINT
    assert_same(load_checkpoint(path), example())


def test_a_newer_checkpoint_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(example(step), tmp_path)
    assert_same(load_checkpoint(tmp_path / CHECKPOINT), example(2))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_folder_without_a_run_has_no_checkpoint(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    assert find_checkpoint(tmp_path / "nowhere") is None


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(example(1), tmp_path)

    def write_half(file, **arrays: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", write_half)
    with pytest.raises(SaveError, match="No space"):
        save_checkpoint(example(2), tmp_path)
    assert_same(load_checkpoint(tmp_path / CHECKPOINT), example(1))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


KILLED_AT_RENAMING = """
import os, signal, sys
from pathlib import Path
from typing import Any
from training.run.run_state import Checkpoint, RunState, save_checkpoint
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
save_checkpoint(Checkpoint(2, RunState({}, {}, {}, {}, 0)), Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_killed_between_writing_and_renaming_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(example(1), tmp_path)
    result = subprocess.run([sys.executable, "-c", KILLED_AT_RENAMING, tmp_path], cwd=ROOT, check=False)
    assert result.returncode == -signal.SIGKILL
    assert_same(load_checkpoint(tmp_path / CHECKPOINT), example(1))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip file at all"])
@pytest.mark.parametrize("name", [CHECKPOINT, pytest.param(OLD_CHECKPOINT, marks=needs_torch)])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(tmp_path / name)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        load_checkpoint(tmp_path / CHECKPOINT)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    save_checkpoint(example(), tmp_path)
    data = bytearray((tmp_path / CHECKPOINT).read_bytes())
    data[data.index(example().state.average["a.weight"].tobytes())] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path / CHECKPOINT)


def test_other_archives_are_no_checkpoints(tmp_path: Path) -> None:
    np.savez(tmp_path / CHECKPOINT, tracks=np.zeros(3))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / CHECKPOINT)


def test_an_archive_with_pickles_runs_no_code(tmp_path: Path) -> None:
    np.savez(tmp_path / CHECKPOINT, config=np.array([object()], object))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / CHECKPOINT)


def test_weights_of_another_model_are_named() -> None:
    weights = example().state.weights
    with pytest.raises(CheckpointError, match=r"run x is of another model: 1 missing \(a.bias\)") as error:
        check_fit({"a.weight": weights["a.weight"]}, weights, "run x is of another model")
    assert error.value.missing == ("a.bias",)
    with pytest.raises(CheckpointError, match="of the wrong shape"):
        check_fit({**weights, "a.bias": np.zeros(3, np.float32)}, weights, "")


@needs_torch
@pytest.mark.parametrize("steps", [0, 3])
def test_checkpoints_from_before_frameworks_shared_one_file_are_read(tmp_path: Path, steps: int) -> None:
    """They hold PyTorch's own dictionaries; in its optimizer's, parameters have numbers."""
    import torch

    from tests.training.run.tiny import tiny
    from training.run.batches import make_batch
    from training.run.update_torch import TorchUpdater

    config = tiny(tmp_path)
    updater = TorchUpdater(config)
    for step in range(steps):
        updater.step(make_batch(config, step), 1e-3)
    parts = {name: getattr(updater, name).state_dict() for name in ("model", "average", "optimizer")}
    torch.save({"step": steps, **parts}, tmp_path / OLD_CHECKPOINT)

    path = find_checkpoint(tmp_path)
    assert path == tmp_path / OLD_CHECKPOINT
    assert_same(load_checkpoint(path), Checkpoint(steps, updater.state()))
    save_checkpoint(Checkpoint(9, updater.state(), asdict(config)), tmp_path)
    assert find_checkpoint(tmp_path) == tmp_path / CHECKPOINT


@pytest.mark.parametrize(
    "changed",
    [
        {"config": np.frombuffer(b"[" * 100_000, np.uint8)},
        {"config": np.frombuffer(b"[]", np.uint8)},
        {"config": np.frombuffer(b"\xff", np.uint8)},
        {"step": np.int64(-1)},
        {"step": np.float64(np.nan)},
        {"updates": np.zeros(3)},
        {"others.a": np.zeros(1)},
    ],
    ids=range(7),
)
def test_entries_of_another_kind_are_an_error(tmp_path: Path, changed: dict[str, Any]) -> None:
    save_checkpoint(example(), tmp_path)
    with np.load(tmp_path / CHECKPOINT) as file:
        np.savez(tmp_path / CHECKPOINT, **{**file, **changed})
    with pytest.raises(CheckpointError, match="is not a checkpoint of a training run, or is damaged"):
        load_checkpoint(tmp_path / CHECKPOINT)
