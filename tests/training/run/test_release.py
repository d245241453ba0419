"""From a run to canonical weights, whichever framework it ran in."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.run.tiny import tiny
from training.__main__ import main
from training.checkpoints import CheckpointError, load_canonical
from training.run.release import release
from training.run.run_state import Checkpoint, RunState, save_checkpoint


def save_run(directory: Path, step: int = 9, **config: object) -> RunState:
    """A checkpoint, and what it holds; `config` is what it says of the run."""
    weights, average = ({"head.out.weight": np.full((2, 3), x, np.float32)} for x in (1.0, 1 / 3))
    state = dataclasses.replace(RunState.fresh(weights), average=average)
    directory.mkdir(exist_ok=True)
    save_checkpoint(Checkpoint(step, state, config), directory)
    return state


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_the_running_mean_is_released_in_half_precision(tmp_path: Path, framework: str) -> None:
    config = dataclasses.asdict(tiny(tmp_path, framework=framework))
    state = save_run(tmp_path / "run", **config)
    release(tmp_path / "run", tmp_path / "w.safetensors")
    weights, metadata = load_canonical(tmp_path / "w.safetensors", "tapir/tiny")
    expected = state.average["head.out.weight"].astype(np.float16)
    assert np.array_equal(weights["head.out.weight"], expected.astype(np.float32))
    assert metadata["source"] == "training run, step 9"


def test_the_file_says_which_architecture_was_trained(tmp_path: Path) -> None:
    save_run(tmp_path / "run", **dataclasses.asdict(tiny(tmp_path)))
    release(tmp_path / "run" / "checkpoint.npz", tmp_path / "w.safetensors")
    _, metadata = load_canonical(tmp_path / "w.safetensors")
    stored = json.loads(metadata["config"])
    assert stored["channels"] == [8, 8, 8, 8]
    assert stored["causal"] is True


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(tmp_path / "run", **dataclasses.asdict(tiny(tmp_path)))
    output = tmp_path / "w.safetensors"
    assert main(["release", str(tmp_path / "run"), "--model", "tapir", "-o", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}: tapir/tiny after 9 steps\n"


def test_a_model_that_was_not_trained_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(tmp_path / "run", **dataclasses.asdict(tiny(tmp_path)))
    arguments = ["release", str(tmp_path / "run"), "--model", "tapir/base", "-o", str(tmp_path / "w.safetensors")]
    assert main(arguments) == 1
    assert "is a run of tapir/tiny, not of tapir/base" in capsys.readouterr().err


def test_old_checkpoints_do_not_say_what_was_trained(tmp_path: Path) -> None:
    save_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="give --model"):
        release(tmp_path / "run", tmp_path / "w.safetensors")
    release(tmp_path / "run", tmp_path / "w.safetensors", "tapir/tiny")
    _, metadata = load_canonical(tmp_path / "w.safetensors", "tapir/tiny")
    assert metadata["model"] == "tapir/tiny"


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        release(tmp_path, tmp_path / "w.safetensors")
