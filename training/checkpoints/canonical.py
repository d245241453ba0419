"""Canonical weights: safetensors under our own parameter names, the same for every framework.

The metadata says which model they are of, with its configuration, and which file they came from.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import deserialize

from tapsdk.system.files import AtomicFile
from tapsdk.system.json_text import parse_json
from tapsdk.system.reading import reading
from training.checkpoints.arrays import as_float32, bfloat16_to_float32
from training.checkpoints.errors import CheckpointError

FORMAT = "tapsdk.weights"
NO_SAFETENSORS = "is not a safetensors file"
ALIGNMENT = 8

NUMPY = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "u2",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
}
"""Of safetensors' types, those that parameters come in."""


@dataclass(frozen=True)
class Canonical:
    """Weights of a model in our names, and where they came from."""

    model: str
    config: Any
    """A frozen configuration of `training.models.registry`."""
    weights: dict[str, NDArray[np.float32]]
    source: str
    """Name of the file that the numbers came from."""
    source_sha256: str

    @property
    def metadata(self) -> dict[str, str]:
        """As it is stored in the file."""
        return {
            "format": FORMAT,
            "model": self.model,
            "config": json.dumps(dataclasses.asdict(self.config)),
            "source": self.source,
            "source_sha256": self.source_sha256,
            "tapsdk": _version(),
        }


def save_canonical(canonical: Canonical, path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Writes a file that appears when it is complete; equal weights give equal bytes. Raises SaveError.

    half: round to float16, for files that lie in a repository; they load as float32 like the others.
    """
    # Written here and not by the safetensors package, which puts the metadata in random order and all
    # weights in memory twice.
    header: dict[str, Any] = {"__metadata__": canonical.metadata}
    arrays, end = [], 0
    for name, array in sorted(canonical.weights.items()):
        array = np.ascontiguousarray(array, "<f2" if half else "<f4").reshape(array.shape)
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F16" if half else "F32", "shape": array.shape, "data_offsets": [start, end]}
        arrays.append(array)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with AtomicFile(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(array.tobytes())


def load_canonical(path: str | os.PathLike[str], *models: str) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Weights by our names, and the metadata.

    models: of one of which they must be; none: of any. Raises CheckpointError for other models' weights, and for files
    that are damaged or hold no canonical weights.
    """
    path = Path(path)
    weights, metadata = read_safetensors(path), _read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds no canonical weights: its format is {metadata.get('format', 'not given')!r}, this "
            f"version reads {FORMAT!r}. To make them: python -m training convert OFFICIAL_FILE --model M"
        )
    if models and metadata.get("model") not in models:
        raise CheckpointError(f"{path} holds weights of {metadata.get('model')!r}, not of {models[0]!r}")
    return weights, metadata


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """All tensors of a file in float32. Raises CheckpointError."""
    with reading(path, NO_SAFETENSORS, CheckpointError):
        return {name: _array(name, tensor) for name, tensor in deserialize(path.read_bytes())}


def is_canonical(path: Path) -> bool:
    """Whether a file that could be read as a checkpoint holds canonical weights."""
    return path.suffix.lower() == ".safetensors" and _read_metadata(path).get("format") == FORMAT


def _read_metadata(path: Path) -> dict[str, str]:
    """Of a file that the safetensors package takes; empty if it has none. Raises CheckpointError."""
    with reading(path, NO_SAFETENSORS, CheckpointError), open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        metadata = dict(parse_json(file.read(length)).get("__metadata__") or {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata has something else where a text should be")
        return metadata


def _array(name: str, tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    dtype = tensor["dtype"]
    if dtype not in NUMPY:
        raise CheckpointError(f"parameter {name} holds {dtype}; allowed are {', '.join(NUMPY)}")
    array = np.frombuffer(tensor["data"], "<" + NUMPY[dtype]).reshape(tensor["shape"])
    return bfloat16_to_float32(array) if dtype == "BF16" else as_float32(array, name)


def _version() -> str:
    try:
        return importlib.metadata.version("tapsdk")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
