"""The one file with an artifact's weights: which tensors lie in it, under what names, and where.

Stages have most weights in common, `step` all of those of the others. Tensors with the same bytes are stored once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact.weights import DTYPES, WEIGHTS

SMALLEST = 1024
"""Bytes of a tensor that is worth a place of its own; what is smaller stays where it is used."""
ALIGNMENT = 64
"""Bytes. Tensors of a multiple of it come first, each at a multiple of it; safetensors allows no gaps in between."""
TYPES = {np.dtype(known): name for name, known in DTYPES.items()}
TRANSPOSED = "transposed"


@dataclass
class SharedWeights:
    """Collects tensors; once all are there, `write` lays them out.

    known: the model's own tensors by their canonical names. One of them, or a matrix of them transposed, goes by its
    name wherever it comes from. needed: those that are to be there in any case, be it transposed.
    """

    known: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    needed: Sequence[str] = ()
    _arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict, init=False)
    _names: dict[bytes, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        turned = {f"{name}.{TRANSPOSED}": array.T for name, array in self.known.items() if array.ndim == 2}
        # Of several with the same bytes the first one counts, and any of them before one that is transposed.
        ordered = reversed([*self.known.items(), *turned.items()])
        self._canonical = {_digest(array): (name, array) for name, array in ordered}

    def add(self, array: NDArray[np.generic], hint: str) -> str:
        """Takes a tensor and returns its name, which is `hint` or one like it unless it has a canonical one."""
        digest = _digest(array)
        if digest not in self._names:
            wanted, array = self._canonical.get(digest, (hint, array))
            name, count = wanted, 1
            while name in self._arrays:
                name, count = f"{wanted}_{count}", count + 1
            self._names[digest], self._arrays[name] = name, np.ascontiguousarray(array)
        return self._names[digest]

    def found(self, name: str) -> tuple[str, bool]:
        """Under what name one of the `known` is there, and whether it is so transposed."""
        for array, turned in ((self.known[name], False), (self.known[name].T, True)):
            stored = self._names.get(_digest(array))
            if stored is not None and self._arrays[stored].shape == array.shape:
                return stored, turned
        return name, False

    def write(self, directory: Path) -> dict[str, tuple[int, int]]:
        """Writes the file, and returns each tensor's place in it, (offset, bytes). Without tensors there is no file."""
        for name in self.needed:
            if self.found(name)[0] not in self._arrays:
                self.add(self.known[name], name)
            if self.found(name)[0] not in self._arrays:  # the same bytes are there, in another shape
                self._arrays[name] = np.ascontiguousarray(self.known[name])
        if not self._arrays:
            return {}
        ordered = sorted(self._arrays.items(), key=lambda item: _order(item[1]))
        header: dict[str, object] = {}
        places, end = {}, 0
        for name, array in ordered:
            begin, end = end, end + array.nbytes
            header[name] = {"dtype": TYPES[array.dtype], "shape": array.shape, "data_offsets": [begin, end]}
            places[name] = begin, array.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + 8) % ALIGNMENT)
        with open(directory / WEIGHTS, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, array in ordered:
                file.write(array.tobytes())
        return {name: (8 + len(text) + begin, size) for name, (begin, size) in places.items()}


def _order(array: NDArray[np.generic]) -> tuple[bool, int]:
    return array.nbytes % ALIGNMENT != 0, -array.itemsize


def _digest(array: NDArray[np.generic]) -> bytes:
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.dtype.str} ".encode() + array.tobytes()).digest()
