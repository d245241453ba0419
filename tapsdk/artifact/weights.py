"""Weights that the files of an artifact share: one safetensors file, in which each tensor lies once.

Its layout is Hugging Face's: eight bytes with the length of the header, the header as JSON, which says of every tensor
where it begins and ends, and the numbers. Graphs refer to bytes in it, and kernels to tensors by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact.content import Content
from tapsdk.artifact.entries import Entry
from tapsdk.system.json_text import parse_strict_json

WEIGHTS = "weights.safetensors"
"""What the file is called in an artifact that `tapsdk export` writes; a manifest may say otherwise."""
FORMAT = "safetensors"
MOST_HEADER = 16 << 20
"""Bytes."""
METADATA = "__metadata__"
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
"""Of safetensors' types those that numpy has, and that graphs hold."""
MOST_AXES = 8
LONGEST_NAME = 300


@dataclass(frozen=True)
class Place:
    """A tensor: numpy's name of its dtype, its shape, and where its bytes are in the file, [begin, end)."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Weights:
    """The tensors of a file that was checked against its sum, as they lie in memory, without a copy."""

    def __init__(self, content: Content) -> None:
        """Raises ValueError for what is no safetensors file, or one whose tensors are not in it."""
        self.content = content
        self._bytes = memoryview(content.data)
        self.start, self.places = read_header(self._bytes)

    def tensor(self, name: str) -> NDArray[Any]:
        """Not to be written to. Raises ValueError if there is none of that name."""
        if name not in self.places:
            raise ValueError(f"{self.content.path} has no tensor {name[:80]!r}, which the manifest names")
        place = self.places[name]
        return np.frombuffer(self._bytes[place.begin : place.end], place.dtype).reshape(place.shape)

    def cut(self, offset: int, length: int) -> memoryview:
        """Bytes of tensors, by their place in the file. Raises ValueError if they are not all in there."""
        if offset < self.start or length < 0 or offset + length > len(self._bytes):
            raise ValueError(
                f"it refers to {length} bytes at {offset} of {self.content.path.name}; allowed is from {self.start} to "
                f"{len(self._bytes)}"
            )
        return self._bytes[offset : offset + length]


def read_header(data: memoryview) -> tuple[int, dict[str, Place]]:
    """Where the numbers of a safetensors file begin, and the places of its tensors by name. Raises ValueError."""
    length = int.from_bytes(data[:8], "little")
    start = 8 + length
    if len(data) < 8 or length > MOST_HEADER or start > len(data):
        raise ValueError(
            f"it is no safetensors file: its header would have {length} bytes; allowed are up to {MOST_HEADER}, and "
            f"no more than the file's {len(data)}"
        )
    table = parse_strict_json(bytes(data[8:start]))
    if not isinstance(table, dict):
        raise ValueError("its header is no table")
    table.pop(METADATA, None)
    return start, {name: _place(name, entry, start, len(data)) for name, entry in table.items()}


def _place(name: str, table: Any, start: int, size: int) -> Place:
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a tensor's name has {len(name)} characters; allowed are {LONGEST_NAME}")
    at = Entry(f"the tensor {name!r}", table).fields(("dtype", "shape", "data_offsets"))
    dtype = DTYPES[at["dtype"].one_of(DTYPES)]
    shape = tuple(each.whole(0, size) for each in at["shape"].rows(0, MOST_AXES))
    begin, end = at["data_offsets"].pair(lambda each: each.whole(0, size - start))
    if end - begin != math.prod(shape) * np.dtype(dtype).itemsize:
        raise at["data_offsets"].wrong(f"as many bytes as {list(shape)} of {at['dtype'].value} has")
    return Place(dtype, shape, start + begin, start + end)
