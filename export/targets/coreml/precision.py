"""Which operations of a MIL program stay in float32 when the rest computes in half precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from export.stages import Stage
from tapsdk.artifact.manifest import POINTS, TensorSpec

PRODUCTS = {"conv", "linear", "matmul", "scaled_dot_product_attention", "instance_norm", "layer_norm"}
"""Sums over many channels: what half precision is for. What comes out of one is features again, not a coordinate."""
EXPONENTIALS = {"exp", "softmax"}
"""They turn small differences of their results' logarithms into large ones; recurrences decay by them, too."""
SQUARES = {"rsqrt", "clip", "reduce_sum", "mul", "square"}
"""The length of a vector by steps; the squares of features may be beyond the largest number of half precision."""
FEW = 4
"""A tensor with at most this many numbers a point holds positions, times and logits, not features."""
NARROW = ("xy", "logit")
"""Roles of what is that in any case: of many frames it is many numbers."""


def exact_operations(function: Any, stage: Stage) -> set[Any]:
    """The operations of a stage's function that coordinates pass through, and what half precision is unfit for.

    A pixel's coordinate beyond 128 has an error of up to 1/16 in half precision, at every operation. So it stays in
    float32 whatever coordinates are computed from or with, up to the layers that features go through.
    """
    given = [function.inputs[t.name] for t in stage.spec.inputs if _is_narrow(t)]
    wanted = [var for var, t in zip(function.outputs, stage.spec.outputs, strict=True) if _is_narrow(t)]
    operations = [op for op in function.operations if op.op_type != "const"]
    layers = tuple(f"p_{name.replace('.', '_')}_" for name in stage.exact)
    start = {
        *_walk((var.op for var in wanted if var.op), lambda op: _before(op) if op.op_type not in PRODUCTS else ()),
        *(op for var in given for op in var.child_ops),
        *(op for op in operations if op.op_type in EXPONENTIALS or _has_weights(op, layers)),
    }
    start -= {op for op in start if op.op_type in PRODUCTS and not _has_weights(op, layers)}
    with_coordinates = _walk(start, _after)
    lengths = _walk((op for op in operations if op.op_type == "rsqrt"), _squares_before)
    return with_coordinates | lengths


def _is_narrow(tensor: TensorSpec) -> bool:
    if tensor.role in NARROW:
        return True
    return POINTS in tensor.shape and math.prod(int(size) for size in tensor.shape if size != POINTS) <= FEW


def _walk(start: Iterable[Any], follow: Callable[[Any], Iterable[Any]]) -> set[Any]:
    """The operations of `start` and all that `follow` leads to."""
    found: set[Any] = set()
    open_ones = list(start)
    while open_ones:
        operation = open_ones.pop()
        if operation not in found:
            found.add(operation)
            open_ones.extend(follow(operation))
    return found


def _before(operation: Any) -> list[Any]:
    values = operation.inputs.values()
    flat = [var for value in values for var in (value if isinstance(value, (list, tuple)) else [value])]
    return [var.op for var in flat if var.op is not None and var.op.op_type != "const"]


def _after(operation: Any) -> list[Any]:
    """The users of its results, but for layers; truth values are exact in any precision."""
    results = [var for var in operation.outputs if not var.is_tensor_or_scalar_of(dtype="bool")]
    return [op for var in results for op in var.child_ops if op.op_type not in PRODUCTS]


def _squares_before(operation: Any) -> list[Any]:
    return [op for op in _before(operation) if op.op_type in SQUARES]


def _has_weights(operation: Any, prefixes: tuple[str, ...]) -> bool:
    """Whether it belongs to a module, by the names that the converter gives to parameters."""
    weight = operation.inputs.get("weight")
    return weight is not None and weight.name.startswith(prefixes)
