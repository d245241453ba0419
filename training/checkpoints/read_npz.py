"""Official Flax checkpoints: `.npz` with flat keys "a/b/c"."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.checkpoints.arrays import as_float32
from training.checkpoints.errors import CheckpointError


def read_npz(path: Path) -> dict[str, NDArray[np.float32]]:
    """Parameters by their keys. Raises CheckpointError."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a .npz file, or is cut short")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} is not a .npz file of numbers, or is damaged: {error}") from error
    strangers = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if strangers:
        raise CheckpointError(f"{path} is not a .npz file of numbers: {strangers[0]} is not an array")
    return {name: as_float32(array, name) for name, array in arrays.items()}
