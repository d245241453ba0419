"""Official Flax checkpoints: `.npz` with flat keys "a/b/c"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapsdk.system import npz
from tapsdk.system.reading import reading
from training.checkpoints.arrays import as_float32
from training.checkpoints.errors import CheckpointError


def read_npz(path: Path) -> dict[str, NDArray[np.float32]]:
    """Parameters by their keys. Raises CheckpointError."""
    with reading(path, "is not a .npz file of numbers", CheckpointError), open(path, "rb") as file:
        return {name: as_float32(array, name) for name, array in npz.read_npz(file).items()}
