"""What a run has learned, in numpy and under our parameter names, in memory and on disk, whatever the framework."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError
from tapsdk.system.files import AtomicFile
from tapsdk.system.json_text import parse_json
from tapsdk.system.npz import check_unpacked, read_npz
from tapsdk.system.places import Place, local_copy
from tapsdk.system.reading import reading
from training.checkpoints.errors import CheckpointError
from training.checkpoints.fit import Table, fit

Arrays = dict[str, NDArray[np.float32]]

CHECKPOINT = "checkpoint.npz"
"""In the folder of a run."""
OLD_CHECKPOINT = "checkpoint.pt"
"""Of runs in PyTorch before the frameworks shared one file."""

PARTS = ("weights", "average", "first_moment", "second_moment")


@dataclass(frozen=True)
class RunState:
    """Everything that the next step depends on, besides the configuration and the number of the step."""

    weights: Arrays
    average: Arrays
    """Running mean of the weights."""
    first_moment: Arrays
    """Adam's running mean of the gradients."""
    second_moment: Arrays
    """Adam's running mean of their squares."""
    updates: int
    """Steps that changed the weights; those that were not finite did not."""

    @classmethod
    def fresh(cls, weights: Arrays) -> RunState:
        """Before the first step."""
        zeros = {name: np.zeros_like(array) for name, array in weights.items()}
        return cls(weights, weights, zeros, zeros, updates=0)


@dataclass(frozen=True)
class Checkpoint:
    step: int
    """The one to go on with."""
    state: RunState
    config: Mapping[str, Any] = field(default_factory=dict)
    """The run's `TrainConfig` as plain data; empty in old files."""


def make_folder(path: Path) -> None:
    """Raises SaveError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"could not make the folder {path}: {error.strerror or error}") from error


def save_checkpoint(checkpoint: Checkpoint, directory: Path) -> None:
    """Replaces the run's checkpoint in one go: whoever reads it, whenever, finds the old one or the new one, whole.

    Raises SaveError.
    """
    arrays = {f"{part}.{name}": array for part in PARTS for name, array in getattr(checkpoint.state, part).items()}
    numbers = {"step": np.int64(checkpoint.step), "updates": np.int64(checkpoint.state.updates)}
    config = np.frombuffer(json.dumps(checkpoint.config).encode(), np.uint8)
    with AtomicFile(directory / CHECKPOINT) as file:
        np.savez(file, config=config, **numbers, **arrays)


def find_checkpoint(directory: Place) -> Place | None:
    """The checkpoint in the folder of a run, if there is one yet. Raises StorageError."""
    paths = (directory / name for name in (CHECKPOINT, OLD_CHECKPOINT))
    return next((path for path in paths if path.exists()), None)


def load_checkpoint(path: Place) -> Checkpoint:
    """Raises CheckpointError for a file that is damaged or is no checkpoint of a run."""
    read = _read_old if path.suffix == ".pt" else _read
    complaint = "is not a checkpoint of a training run"
    with reading(path, complaint, CheckpointError), local_copy(path, CheckpointError) as copy:
        try:
            checkpoint = read(copy)
        except ImportError as error:
            raise CheckpointError(f"{path} can be read with PyTorch only: pip install 'tapsdk[torch]'") from error
        if min(checkpoint.step, checkpoint.state.updates) < 0 or not isinstance(checkpoint.config, dict):
            raise ValueError("its numbers of steps or its configuration are none")
        return checkpoint


def check_fit(found: Arrays, wanted: Mapping[str, Any], subject: str) -> None:
    """Raises CheckpointError, which begins with `subject`, unless names and shapes are those of the arrays `wanted`."""
    shapes = {name: array.shape for name, array in wanted.items()}
    result = fit(Table.of_ours(shapes), found, shapes)
    if not result.is_exact:
        raise result.error(subject)


def _read(path: Path) -> Checkpoint:
    with open(path, "rb") as file:
        entries = read_npz(file)
    parts: dict[str, Arrays] = {part: {} for part in PARTS}
    for name, array in entries.items():
        part, _, parameter = name.partition(".")
        if parameter:
            parts[part][parameter] = array
    config = parse_json(entries["config"].tobytes())
    return Checkpoint(int(entries["step"]), RunState(**parts, updates=int(entries["updates"])), config)


def _read_old(path: Path) -> Checkpoint:
    """PyTorch's own dictionaries, with the state of its AdamW by number: first what decays, then the rest."""
    import torch

    check_unpacked(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    weights, average = ({k: v.numpy() for k, v in content[part].items()} for part in ("model", "average"))
    names = sorted(weights, key=lambda name: weights[name].ndim <= 1)  # stable
    rows = content["optimizer"]["state"]
    first, second = (
        {name: rows[i][moment].numpy() if i in rows else np.zeros_like(weights[name]) for i, name in enumerate(names)}
        for moment in ("exp_avg", "exp_avg_sq")
    )
    updates = int(rows[0]["step"]) if rows else 0
    return Checkpoint(int(content["step"]), RunState(weights, average, first, second, updates))
