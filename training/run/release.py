"""From a training run to canonical weights."""

from __future__ import annotations

import argparse
from typing import Any

from tapsdk.system.files import check_not_input, sha256
from tapsdk.system.places import Place, local_copy, place
from training.checkpoints.canonical import Canonical, save_canonical
from training.checkpoints.errors import CheckpointError
from training.models.registry import config_of, resolve
from training.run.config import TrainConfig
from training.run.run_state import Checkpoint, find_checkpoint, load_checkpoint


def release(run: Place, output: Place, model: str | None = None) -> str:
    """Writes the running mean of a run's weights as canonical .safetensors, rounded to float16.

    Args:
        run: the folder where `train` put its checkpoint, or the checkpoint itself; a path or a URL, as `output` is.
        model: what was trained; checkpoints say so themselves, except old ones (.pt).
    Returns:
        what was released, for people.
    Raises CheckpointError, SaveError, and ModelError for an unknown model.
    """
    path = find_checkpoint(run) if run.is_dir() else run
    if path is None:
        raise CheckpointError(f"{run} holds no checkpoint: it is not the folder of a run, or nothing was saved yet")
    check_not_input(output, [path])
    with local_copy(path, CheckpointError) as copy:
        checkpoint, digest = load_checkpoint(copy), sha256(copy)
    name, config = _model(path, checkpoint, model)
    source = f"training run, step {checkpoint.step}"
    save_canonical(Canonical(name, config, checkpoint.state.average, source, digest), output, half=True)
    return f"{name} after {checkpoint.step} steps"


def _model(path: Place, checkpoint: Checkpoint, model: str | None) -> tuple[str, Any]:
    """Full name and configuration, with the overrides of the run."""
    if not checkpoint.config:
        if model is None:
            raise CheckpointError(f"{path} is too old to say what was trained: give --model, such as tapir/tiny")
        return resolve(model), config_of(resolve(model))
    trained = resolve(checkpoint.config["model"])
    if model is not None and resolve(model) != trained:
        raise CheckpointError(f"{path} is a run of {trained}, not of {resolve(model)}")
    return trained, TrainConfig(trained, (), architecture=checkpoint.config["architecture"]).model_config


def add_parser(commands: Any) -> None:
    """Adds `release` to the subcommands of a parser."""
    parser = commands.add_parser(
        "release",
        help="turn a training run into canonical weights",
        description="Writes the running mean of a run's weights as canonical .safetensors, rounded to float16.",
    )
    parser.add_argument("directory", type=place, metavar="RUN", help="where `train` put its checkpoint, or that itself")
    parser.add_argument("--model", metavar="M", help="what was trained, where the checkpoint is too old to say")
    parser.add_argument("-o", "--output", type=place, required=True, metavar="W.safetensors")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    print(f"{args.output}: {release(args.directory, args.output, args.model)}")
