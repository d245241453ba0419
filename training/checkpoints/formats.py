"""Which reader reads which file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapsdk.system.reading import reading
from training.checkpoints.canonical import read_safetensors
from training.checkpoints.errors import CheckpointError
from training.checkpoints.read_npy import read_npy
from training.checkpoints.read_npz import read_npz
from training.checkpoints.read_torch import read_torch

READERS: dict[str, Callable[[Path], dict[str, NDArray[np.float32]]]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".pt": read_torch,
    ".pth": read_torch,
    ".ckpt": read_torch,
    ".safetensors": read_safetensors,
}


def read_parameters(path: Path) -> dict[str, NDArray[np.float32]]:
    """All parameters of a checkpoint in float32, by the names that the file has. Raises CheckpointError."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CheckpointError(f"{path} has the ending {path.suffix!r}; these can be read: {', '.join(READERS)}")
    with reading(path, "is not a checkpoint", CheckpointError):
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty")
        return reader(path)
