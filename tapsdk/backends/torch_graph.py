"""Graphs for PyTorch as data: a safetensors file with the weights, and in its header, as JSON, what is done with them.

What `torch.export.save` writes is opened by unpickling and by evaluating strings, so that it can run anything. Here a
graph is a list of calls to operators that are named below, all of which compute and do nothing else, with arguments
that are numbers, short words, lists, and the results of calls before.

    {"version": 1, "inputs": [[name, shape], ...], "outputs": [[name, argument], ...],
     "weights": [name, ...], "calls": [[operator, [argument, ...], {name: argument}], ...]}

shape: of each axis its size, or [times, letter]: a multiple of a number that is the same wherever the letter stands.
argument: a number, a word, null, a list, {"float": "inf"}, {"dtype": "float32"}, {"device": null} for the one that it
runs on, or {"value": i}; values are the inputs, then the weights, then what the calls gave, counted from 0.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tapsdk.system.json_text import parse_strict_json

VERSION = 1
ENTRY = "tapsdk.graph"
"""Of the header's metadata."""
MOST_CALLS = 100_000
WORD = re.compile(r"[a-z]*([,a-z]*->[a-z]*)?")
"""What words there are: "tanh", "constant", "rgi,gij->rgj"."""
DTYPES = ("bfloat16", "bool", "float16", "float32", "float64", "int32", "int64", "uint8")

# fmt: off
OPERATORS = frozenset(
    [
        "operator.add", "operator.floordiv", "operator.getitem", "operator.mul", "operator.sub", "operator.truediv",
        "torch.sym_float", "aten.__and__.Tensor", "aten.abs.default", "aten.add.Scalar", "aten.add.Tensor",
        "aten.amax.default", "aten.arange.default", "aten.arange.start", "aten.arange.start_step",
        "aten.cat.default", "aten.chunk.default", "aten.clamp.default", "aten.conv2d.default", "aten.div.Scalar",
        "aten.div.Tensor", "aten.einsum.default", "aten.embedding.default", "aten.eq.Scalar", "aten.eq.Tensor",
        "aten.exp.default", "aten.expand.default", "aten.expm1.default", "aten.flatten.using_ints",
        "aten.flip.default", "aten.floor.default", "aten.ge.Scalar", "aten.ge.Tensor", "aten.gelu.default",
        "aten.gt.Scalar", "aten.gt.Tensor", "aten.instance_norm.default", "aten.layer_norm.default",
        "aten.le.Scalar", "aten.le.Tensor", "aten.linear.default", "aten.log.default", "aten.lt.Scalar",
        "aten.lt.Tensor", "aten.matmul.default", "aten.max_pool2d.default", "aten.mean.default", "aten.mean.dim",
        "aten.mul.Scalar", "aten.mul.Tensor", "aten.narrow.default", "aten.neg.default", "aten.new_zeros.default",
        "aten.ones_like.default", "aten.pad.default", "aten.permute.default", "aten.pow.Tensor_Scalar",
        "aten.relu.default", "aten.relu6.default", "aten.reshape.default", "aten.rms_norm.default",
        "aten.round.default", "aten.rsqrt.default", "aten.rsub.Scalar", "aten.scaled_dot_product_attention.default",
        "aten.select.int", "aten.sigmoid.default", "aten.slice.Tensor", "aten.softmax.int", "aten.softplus.default",
        "aten.split_with_sizes.default", "aten.sqrt.default", "aten.square.default", "aten.stack.default",
        "aten.sub.Tensor", "aten.sum.dim_IntList", "aten.sym_size.int", "aten.to.device", "aten.to.dtype",
        "aten.transpose.int", "aten.unbind.int", "aten.unflatten.int", "aten.unsqueeze.default",
        "aten.upsample_bilinear2d.vec", "aten.where.ScalarSelf", "aten.where.self", "aten.zeros_like.default",
    ]
)
# fmt: on
"""What a graph may call. None of them knows a file, a name of Python's or memory that is not its arguments'."""

Axis: TypeAlias = int | tuple[int, str]


@dataclass(frozen=True)
class Word:
    """An argument that is not a number or a list of them: the value of that number, a dtype, or the device."""

    kind: Literal["value", "dtype", "device"]
    what: Any = None


Argument: TypeAlias = "bool | int | float | str | Word | list[Argument] | None"


@dataclass(frozen=True)
class Call:
    operator: str
    arguments: Sequence[Argument]
    named: Mapping[str, Argument]


@dataclass(frozen=True)
class Graph:
    """Inputs with the sizes of their axes, names of weights, calls in order, and outputs with where they come from."""

    inputs: Mapping[str, tuple[Axis, ...]]
    weights: tuple[str, ...]
    calls: tuple[Call, ...]
    outputs: Mapping[str, Argument]

    def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raises ValueError for inputs of shapes that the graph does not take."""
        letters: dict[str, int] = {}
        for (name, axes), shape in zip(self.inputs.items(), shapes, strict=True):
            if len(axes) != len(shape) or not all(_fits(a, n, letters) for a, n in zip(axes, shape, strict=True)):
                raise ValueError(f"{name} is {list(shape)}, which is not {_told(axes)}")


def _fits(axis: Axis, size: int, letters: dict[str, int]) -> bool:
    if isinstance(axis, int):
        return axis == size
    times, letter = axis
    count, rest = divmod(size, times)
    return not rest and letters.setdefault(letter, count) == count


def _told(axes: tuple[Axis, ...]) -> str:
    return f"[{', '.join(str(a) if isinstance(a, int) else f'{a[0]} * {a[1]}' for a in axes)}]"


def read_graph(data: bytes) -> Graph:
    """The graph of a safetensors file. Raises ValueError for a file without one, or with anything else in its place."""
    if data.startswith(b"PK"):
        raise ValueError(
            "it is an archive of torch.export, which can run code and is not opened; export the model again"
        )
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= len(data) - 8:
        raise ValueError("it is not a safetensors file")
    try:
        return _graph(parse_strict_json(parse_strict_json(data[8 : 8 + length])["__metadata__"][ENTRY]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it holds no graph that this version reads: {error}") from error


def _graph(table: dict[str, Any]) -> Graph:
    if table["version"] != VERSION:
        raise ValueError(f"its graph has version {table['version']!r}; this version of tapsdk reads {VERSION}")
    inputs = {_text(name): tuple(map(_axis, shape)) for name, shape in table["inputs"]}
    weights = tuple(map(_text, table["weights"]))
    if len(table["calls"]) > MOST_CALLS or len(inputs) != len(table["inputs"]) or len(set(weights)) != len(weights):
        raise ValueError(f"its graph has names twice, or more than {MOST_CALLS} calls")
    known, calls = len(inputs) + len(weights), list[Call]()
    for operator, arguments, named in table["calls"]:
        calls.append(_call(operator, arguments, named, known + len(calls)))
    outputs = {_text(name): _argument(value, known + len(calls)) for name, value in table["outputs"]}
    return Graph(inputs, weights, tuple(calls), outputs)


def _call(operator: Any, arguments: Any, named: Any, known: int) -> Call:
    if operator not in OPERATORS:
        raise ValueError(f"its graph calls {str(operator)[:80]!r}, which is not an operator that graphs may call")
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in named):
        raise ValueError(f"its graph calls {operator} with arguments of other names than arguments have")
    return Call(
        operator, [_argument(each, known) for each in arguments], {k: _argument(v, known) for k, v in named.items()}
    )


def _argument(value: Any, known: int) -> Argument:
    """known: how many values there are so far."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, list):
        return [_argument(each, known) for each in value]
    if isinstance(value, str):
        if len(value) > 64 or not WORD.fullmatch(value):
            raise ValueError(f"its graph has the word {value[:80]!r}, which is none of an operator's")
        return value
    ((kind, what),) = value.items()
    if kind == "value" and type(what) is int and 0 <= what < known:
        return Word("value", what)
    if kind == "dtype" and what in DTYPES:
        return Word("dtype", what)
    if kind == "device" and what is None:
        return Word("device")
    if kind == "float" and what in ("inf", "-inf"):
        return math.inf if what == "inf" else -math.inf
    raise ValueError(f"its graph has the argument {str(value)[:80]}, which is none")


def _axis(value: Any) -> Axis:
    if type(value) is int:
        return value
    times, letter = value
    if type(times) is not int or times < 1:
        raise ValueError(f"its graph has an axis of {value!r}")
    return times, _text(letter)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its graph has the name {str(value)[:80]}, which is no text")
    return value
