"""ONNX graphs that say all there is to them: none whose tensors lie in other files, or anywhere in memory."""

from __future__ import annotations

from tapsdk.artifact.content import Content
from tapsdk.artifact.protobuf import Schema, fields_of

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

EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a TensorProto whose numbers are elsewhere."""
TENSOR_NAME = 8


def check_whole(content: Content) -> bytes:
    """The bytes of a graph. Raises ValueError if they are no ONNX graph, or ask for another file."""
    name = ""
    for message, number, value in fields_of(memoryview(content.data), "ModelProto", MESSAGES):
        if message != "TensorProto":
            continue
        if number == TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8", "replace")
        if number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0):
            raise ValueError(
                f"it keeps tensors outside of itself (at {name[:80]!r} or after it), where nobody checks them; write "
                "the graph with its data inside"
            )
    return content.data
