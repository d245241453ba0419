"""Official Haiku checkpoints: `.npy` with a pickled {"params": {module: {parameter: array}}, "state": {...}}.

`training.checkpoints.pickles` reads it, which runs no code of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.checkpoints.arrays import as_float32
from training.checkpoints.errors import CheckpointError
from training.checkpoints.pickles import DamagedPickleError, ForbiddenPickleError, PickledArray, load_pickle
from training.models.family import STATE

AVERAGE = "average"
"""What Haiku's moving averages call themselves, beside the sums that they go on from in training."""


def read_npy(path: Path) -> dict[str, NDArray[np.float32]]:
    """Parameters of a Haiku checkpoint as "module/parameter", and, of what layers remember of their training, what is
    used once they are trained, as "state/module/average". Raises CheckpointError."""
    with open(path, "rb") as file:
        _skip_header(file, path)
        try:
            content = load_pickle(file)
        except ForbiddenPickleError as error:
            raise CheckpointError(
                f"{path} is not a checkpoint: its pickle asks for {error}, and a checkpoint needs numpy "
                "arrays in plain dictionaries only. It was not called; do not open the file in other ways"
            ) from error
        except DamagedPickleError as error:
            raise CheckpointError(f"{path} is damaged or cut short: {error}") from error
    return _flatten(content, path)


def _skip_header(file: BinaryIO, path: Path) -> None:
    try:
        version = np.lib.format.read_magic(file)
        header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, _, dtype = header[version[0]](file)
    except Exception as error:  # numpy parses the header as Python, whose tokenizer has errors of its own
        raise CheckpointError(f"{path} is not a .npy file, or is cut short: {_said(error)}") from error
    if shape != () or dtype != np.dtype(object):
        raise CheckpointError(
            f"{path} holds an array of {dtype} of shape {shape}, not a checkpoint, "
            "which is a pickled dictionary with the key 'params'"
        )


def _flatten(content: Any, path: Path) -> dict[str, NDArray[np.float32]]:
    if isinstance(content, PickledArray):
        content = (content.to_list() or [None])[0]
    params = content.get("params") if isinstance(content, Mapping) else None
    if not isinstance(params, Mapping):
        raise CheckpointError(f"{path} is not a checkpoint: it has no dictionary 'params'")
    flat = {}
    for module, parameters in params.items():
        if not isinstance(parameters, Mapping):
            raise CheckpointError(f"{path}: 'params' holds {module!r}, which is not a dictionary of arrays")
        for name, array in parameters.items():
            flat[f"{module}/{name}"] = _to_float32(array, f"{module}/{name}", path)
    return flat | _averages(content.get("state"), path)


def _averages(state: Any, path: Path) -> dict[str, NDArray[np.float32]]:
    """Of a file's "state", whatever it is: only models that need it can say what is wrong with it."""
    modules = state if isinstance(state, Mapping) else {}
    names = [module for module, arrays in modules.items() if isinstance(arrays, Mapping) and AVERAGE in arrays]
    return {f"{STATE}{n}/{AVERAGE}": _to_float32(modules[n][AVERAGE], f"{STATE}{n}/{AVERAGE}", path) for n in names}


def _to_float32(array: Any, name: str, path: Path) -> NDArray[np.float32]:
    if not isinstance(array, PickledArray):
        raise CheckpointError(f"{path}: parameter {name} is a {type(array).__name__}, not an array")
    try:
        numbers = array.to_numpy()
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} is damaged: parameter {name}: {_said(error)}") from error
    return as_float32(numbers, name)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
