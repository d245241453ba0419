"""The loop around the steps, whatever takes them: it goes on as if it had not stopped, and says how it goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tapsdk.errors import SaveError
from tests.training.run.tiny import tiny
from training.checkpoints.errors import CheckpointError
from training.run.config import TrainConfig
from training.run.loop import resume, save, train
from training.run.report import LOG, PICTURES, read_log
from training.run.run_state import CHECKPOINT, Checkpoint, RunState, find_checkpoint, load_checkpoint, save_checkpoint


class Killed(BaseException):
    """Nothing of the process runs any more."""


class Counting:
    """An updater whose one weight says what it has seen, in order; after `killed_at` steps it is killed."""

    rank, world = 0, 1

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.restore(RunState.fresh({"w": np.zeros(2, np.float32)}))

    def step(self, batch: dict[str, Any], learning_rate: float) -> dict[str, float]:
        if self._state.updates == self.killed_at:
            raise Killed
        old = self._state
        weights = {"w": np.float32(0.9) * old.weights["w"] + np.float32([batch["xy"].mean(), learning_rate])}
        self._state = dataclasses.replace(old, weights=weights, updates=old.updates + 1)
        return {"total": float(weights["w"][0]), "grad_norm": 1.0}

    def predict(self, video: np.ndarray, queries_tyx: np.ndarray) -> dict[str, np.ndarray]:
        logits = np.full((len(queries_tyx), len(video)), -9, np.float32)
        tracks = np.repeat(queries_tyx[:, None, :0:-1], len(video), 1)
        return {"tracks": tracks, "occlusion": logits, "expected_dist": logits}

    def state(self) -> RunState:
        return self._state

    def restore(self, state: RunState) -> None:
        self._state = state

    def close(self) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return tiny(tmp_path, steps=7, save_every=3)


def final(directory: Path) -> np.ndarray:
    return load_checkpoint(directory / CHECKPOINT).state.weights["w"]


def rows(directory: Path) -> list[dict[str, Any]]:
    """Of the log, without what depends on the clock."""
    return [{k: v for k, v in row.items() if k != "steps_per_second"} for row in read_log(directory / LOG)]


@pytest.mark.parametrize("killed_at", [1, 3, 5, 6])
def test_a_run_that_was_killed_and_resumed_ends_like_one_that_was_not(
    config: TrainConfig, tmp_path: Path, killed_at: int
) -> None:
    config = dataclasses.replace(config, evaluate_every=2)
    train(config, Counting(), tmp_path / "whole", progress=False)
    with pytest.raises(Killed):
        train(config, Counting(killed_at), tmp_path / "parts", progress=False)
    saved = find_checkpoint(tmp_path / "parts")
    assert (0 if saved is None else load_checkpoint(saved).step) == killed_at // 3 * 3
    train(config, Counting(), tmp_path / "parts", progress=False)
    assert np.array_equal(final(tmp_path / "parts"), final(tmp_path / "whole"))
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_a_finished_run_has_nothing_left_to_do(config: TrainConfig, tmp_path: Path) -> None:
    train(config, Counting(), tmp_path, progress=False)
    train(config, Counting(killed_at=7), tmp_path, progress=False)
    assert load_checkpoint(tmp_path / CHECKPOINT).step == 7


def test_a_finished_run_can_be_made_longer(config: TrainConfig, tmp_path: Path) -> None:
    train(config, Counting(), tmp_path, progress=False)
    train(config.with_steps(9), Counting(), tmp_path, progress=False)
    checkpoint = load_checkpoint(tmp_path / CHECKPOINT)
    assert (checkpoint.step, checkpoint.state.updates) == (9, 9)


def test_the_log_says_how_it_goes(config: TrainConfig, tmp_path: Path) -> None:
    config = config.with_steps(25)
    train(config, Counting(), tmp_path, progress=False)
    log = read_log(tmp_path / LOG)
    assert [row["step"] for row in log] == [20, 25]
    assert log[0].keys() == {"step", "total", "grad_norm", "learning_rate", "steps_per_second"}
    assert log[0]["learning_rate"] == pytest.approx(config.learning_rate_at(19), abs=1e-5)


def test_evaluations_and_pictures_come_as_often_as_asked(config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, evaluate_every=3, picture_every=4)
    train(config, Counting(), tmp_path, progress=False)
    evaluations = [row for row in read_log(tmp_path / LOG) if "AJ" in row]
    assert [row["step"] for row in evaluations] == [3, 6, 7]
    assert all(0 <= row[name] <= 1 for row in evaluations for name in ("AJ", "d_avg", "OA"))
    pictures = sorted(path.name for path in (tmp_path / PICTURES).iterdir())
    assert pictures == ["0000004.png", "0000007.png"]


def test_the_checkpoint_says_what_was_trained(config: TrainConfig, tmp_path: Path) -> None:
    train(config, Counting(), tmp_path, progress=False)
    stored = load_checkpoint(tmp_path / CHECKPOINT).config
    assert stored["model"] == "tapir/tiny"
    assert stored["architecture"]["channels"] == [8, 8, 8, 8]
    assert stored["phases"][0]["steps"] == 7


def test_only_the_first_of_several_processes_writes(config: TrainConfig, tmp_path: Path) -> None:
    updater = Counting()
    updater.rank, updater.world = 1, 2
    train(config, updater, tmp_path / "run", progress=False)
    assert updater.state().updates == 7
    assert not any((tmp_path / "run").iterdir())


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(Checkpoint(3, RunState.fresh({"w": np.zeros(3, np.float32)})), tmp_path)
    with pytest.raises(CheckpointError, match="is of another model: 1 of the wrong shape"):
        resume(Counting(), tmp_path)


def test_a_disk_that_is_full_ends_the_run_and_keeps_the_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(Counting(), tmp_path, 0, config)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", lambda file, **arrays: full())
    with pytest.raises(SaveError, match="No space left"):
        train(config, Counting(), tmp_path, progress=False)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_folder_that_cannot_be_made_is_an_error(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="could not make the folder"):
        train(config, SimpleNamespace(), tmp_path / "file" / "run", progress=False)
