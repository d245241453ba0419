"""ONNX graphs that say all there is to them: none with tensors in files that nobody checked, or anywhere in memory.

Large tensors of a graph may lie in the artifact's one file of weights. Engines get them inside the graph, so that there
is nothing for them to open.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tapsdk.artifact.content import Content
from tapsdk.artifact.protobuf import Schema, bytes_field, fields_of, flat_fields
from tapsdk.artifact.weights import Weights

MESSAGES: Schema = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
"""All ways from a model to a tensor, in onnx.proto."""

GRAPH, INITIALIZER = 7, 5
"""Fields of a ModelProto and of a GraphProto, where the tensors are that may lie in the file of weights."""
DIMS, DATA_TYPE, TENSOR_NAME, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 8, 9, 13, 14
"""Fields of a TensorProto; with one of the last two its numbers are elsewhere."""
KEY, VALUE = 1, 2
"""Fields of a StringStringEntryProto, of which external data consists."""
SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of a number by TensorProto.DataType, as far as each has whole bytes of its own."""
NUMBER = re.compile(r"[0-9]{1,18}")
Parts: TypeAlias = list[bytes | memoryview]
"""Of a message, to be joined once all of them are there."""


def whole_graph(content: Content) -> bytes:
    """The bytes of a graph, with all its tensors inside.

    Raises ValueError if they are no ONNX graph, or ask for another file than the artifact's weights, or for what is not
    in that one.
    """
    data = content.data if content.weights is None else _filled(memoryview(content.data), content.weights)
    name = ""
    for message, number, value in fields_of(memoryview(data), "ModelProto", MESSAGES):
        if message != "TensorProto":
            continue
        if number == TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8", "replace")
        if number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0):
            raise ValueError(
                f"it keeps tensors outside of itself (at {name[:80]!r} or after it), where nobody checks them; write "
                "the graph with its data inside"
            )
    return data


def _filled(model: memoryview, weights: Weights) -> bytes:
    """The model with what its initializers have in the file of weights. What else lies elsewhere stays as it is."""

    def tensor(value: memoryview) -> Parts:
        return _with_data(value, weights)

    def graph(value: memoryview) -> Parts:
        return _edited(value, INITIALIZER, tensor)

    return b"".join(_edited(model, GRAPH, graph))


def _edited(message: memoryview, field: int, edit: Callable[[memoryview], Parts]) -> Parts:
    """A message in parts, with every message in a field of that number edited."""
    parts: Parts = []
    for number, value, whole in flat_fields(message):
        edits = number == field and isinstance(value, memoryview)
        parts += bytes_field(number, edit(value)) if edits else [whole]  # type: ignore[arg-type]
    return parts


def _with_data(tensor: memoryview, weights: Weights) -> Parts:
    """A TensorProto with its numbers inside. Raises ValueError if it wants others than there are."""
    inside, dims, external, kind = Parts(), list[int](), dict[str, str](), 0
    for number, value, whole in flat_fields(tensor):
        if number == EXTERNAL_DATA and isinstance(value, memoryview):
            external.update([_entry(value)])
        elif number != DATA_LOCATION:
            inside.append(whole)
        dims += [value if isinstance(value, int) else -1] if number == DIMS else []
        kind = value if number == DATA_TYPE and isinstance(value, int) else kind
    if not external:
        return [tensor]
    data = weights.cut(*_span(external, weights.content.path.name))
    if min(dims, default=0) < 0 or len(data) != SIZES.get(kind, 0) * math.prod(dims):
        raise ValueError(f"a tensor of the shape {dims} and the type {kind} refers to {len(data)} bytes")
    return [*inside, *bytes_field(RAW_DATA, [data])]


def _entry(entry: memoryview) -> tuple[str, str]:
    texts = {number: bytes(value).decode() for number, value, _ in flat_fields(entry) if isinstance(value, memoryview)}
    return texts.get(KEY, ""), texts.get(VALUE, "")


def _span(external: Mapping[str, str], file: str) -> tuple[int, int]:
    """Where in that file the numbers are: (offset, length)."""
    place = [external.get(name, "") for name in ("offset", "length")]
    if external.get("location") != file or len(external) != 3 or not all(map(NUMBER.fullmatch, place)):
        told = ", ".join(f"{name} {value!r}" for name, value in external.items())[:200]
        raise ValueError(
            f"it keeps a tensor outside of itself, at {told}; allowed is a 'location' of {file!r}, with 'offset' and "
            "'length' and nothing else"
        )
    return int(place[0]), int(place[1])
