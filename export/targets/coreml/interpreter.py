"""Runs Core ML packages on PyTorch: a stand-in where Core ML itself, which is macOS alone, cannot verify an export.

It executes the program that was saved, weights included, operation by operation. Tensors have the types that the
program gives them: what it keeps in half precision is rounded to half precision after every operation. Within an
operation it computes in float32. So it shows what the converter made of a model, and what half precision costs; it
does not show what Apple's own kernels do.

Parameters of the functions below are named as MIL names them. An operation, a parameter or a value of one that they do
not know raises MilError: an interpreter that guesses proves nothing.
"""

from __future__ import annotations

import inspect
import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec, entry_point
from tapsdk.backends import PROCESSOR, Array
from tapsdk.backends.coreml import import_coremltools
from tapsdk.backends.coreml_package import unpack
from tapsdk.errors import ArtifactError, BackendError

ct = import_coremltools()

from coremltools.converters.mil.frontend.milproto.load import load as parse_program  # noqa: E402

WEIGHTS = "Data/com.apple.CoreML/weights"
DTYPES = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "int32": torch.int32,
    "bool": torch.bool,
}


class MilError(BackendError):
    """A program with something that the interpreter does not know."""


def _allow(parameter: str, value: object, *allowed: object) -> None:
    if value not in allowed:
        raise MilError(f"{parameter} = {value!r} is not known, only {', '.join(map(repr, allowed))}")


def _ints(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor.reshape(-1).tolist()]


# Layers.


def conv(
    x: Tensor, weight: Tensor, pad_type: str, pad: Tensor, strides: Tensor, dilations: Tensor, groups: Tensor, bias=None
) -> Tensor:
    _allow("pad_type", pad_type, "valid", "custom")
    if pad_type == "custom":
        x = _padded(x, _ints(pad))
    run = {3: F.conv1d, 4: F.conv2d}[x.ndim]
    return run(x, weight, bias, _ints(strides), 0, _ints(dilations), int(groups))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, transpose_x: Tensor, transpose_y: Tensor) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask)


def instance_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: Tensor) -> Tensor:
    return F.instance_norm(x, weight=gamma, bias=beta, eps=float(epsilon))


def batch_norm(x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor, epsilon: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=float(epsilon))


def layer_norm(
    x: Tensor, axes: Tensor, epsilon: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None
) -> Tensor:
    _allow("axes", _ints(axes), [-1], [x.ndim - 1])
    return F.layer_norm(x, x.shape[-1:], gamma, beta, float(epsilon))


def gelu(x: Tensor, mode: str) -> Tensor:
    _allow("mode", mode, "EXACT", "TANH_APPROXIMATION")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def softmax(x: Tensor, axis: Tensor) -> Tensor:
    return x.softmax(int(axis))


def max_pool(x: Tensor, kernel_sizes: Tensor, strides: Tensor, pad_type: str, pad: Tensor, ceil_mode: Tensor) -> Tensor:
    _allow("pad_type", pad_type, "valid", "custom")
    _allow("ceil_mode", bool(ceil_mode), False)
    if pad_type == "custom":
        x = _padded(x, _ints(pad), -math.inf)
    return F.max_pool2d(x, _ints(kernel_sizes), _ints(strides))


def upsample_bilinear(
    x: Tensor, scale_factor_height: Tensor, scale_factor_width: Tensor, align_corners: Tensor
) -> Tensor:
    _allow("align_corners", bool(align_corners), False)
    factors = [float(scale_factor_height), float(scale_factor_width)]
    _allow("whether both factors are whole", all(factor.is_integer() for factor in factors), True)
    return F.interpolate(x, scale_factor=factors, mode="bilinear", align_corners=False)


# Reductions.


def _reduction(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, axes: Tensor, keep_dims: Tensor) -> Tensor:
        return reduce(x, _ints(axes), keepdim=bool(keep_dims))

    return run


def reduce_argmax(x: Tensor, axis: Tensor, keep_dims: Tensor, output_dtype: str) -> Tensor:
    _allow("output_dtype", output_dtype, "int32")
    return x.argmax(int(axis), keepdim=bool(keep_dims))


# Elementwise.


def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return x.clamp(float(alpha), float(beta))


def log(x: Tensor, epsilon: Tensor) -> Tensor:
    return (x + epsilon).log()


def rsqrt(x: Tensor, epsilon: Tensor) -> Tensor:
    return (x + epsilon).rsqrt()


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


def fill_like(ref_tensor: Tensor, value: Tensor) -> Tensor:
    return torch.full_like(ref_tensor, float(value))


def cast(x: Tensor, dtype: str) -> Tensor:
    _allow("dtype", dtype, *DTYPES)
    return x.to(DTYPES[dtype])


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        return function(x)

    return run


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def run(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return run


# Shapes.


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    # A zero would mean: as in x.
    _allow("whether shape has zeros", 0 in _ints(shape), False)
    return x.reshape(_ints(shape))


def transpose(x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(_ints(perm))


def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    axes_left = [axis % (x.ndim + axes.numel()) for axis in _ints(axes)]
    for axis in sorted(axes_left):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(_ints(axes))


def tile(x: Tensor, reps: Tensor) -> Tensor:
    return x.repeat(_ints(reps))


def concat(values: Sequence[Tensor], axis: Tensor, interleave: Tensor) -> Tensor:
    _allow("interleave", bool(interleave), False)
    return torch.cat(list(values), int(axis))


def stack(values: Sequence[Tensor], axis: Tensor) -> Tensor:
    return torch.stack(list(values), int(axis))


def split(x: Tensor, axis: Tensor, split_sizes: Tensor) -> tuple[Tensor, ...]:
    return x.split(_ints(split_sizes), int(axis))


def pad(x: Tensor, pad: Tensor, mode: str, constant_val: Tensor) -> Tensor:
    _allow("mode", mode, "constant")
    return _padded(x, _ints(pad), float(constant_val))


def _padded(x: Tensor, widths: list[int], value: float = 0.0) -> Tensor:
    """widths: before and after each of the last axes, in their order; PyTorch begins with the last one."""
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    return F.pad(x, [width for pair in reversed(pairs) for width in pair], value=value)


def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """x[begin:end:stride] on every axis; masks open a side of the range, or take the single index `begin`."""
    strides = [1] * x.ndim if stride is None else _ints(stride)
    _allow("whether stride is positive", min(strides) > 0, True)
    first_open, last_open, single = (
        [False] * x.ndim if mask is None else mask.tolist() for mask in (begin_mask, end_mask, squeeze_mask)
    )
    starts = [0 if is_open else first for first, is_open in zip(_ints(begin), first_open, strict=True)]
    stops = [None if is_open else last for last, is_open in zip(_ints(end), last_open, strict=True)]
    ranges = map(slice, starts, stops, strides)
    return x[tuple(first if alone else r for first, r, alone in zip(starts, ranges, single, strict=True))]


def reverse(x: Tensor, axes: Tensor) -> Tensor:
    return x.flip(_ints(axes))


_SAME_NAME = (
    *(conv, linear, matmul, scaled_dot_product_attention, instance_norm, batch_norm, layer_norm, gelu, softmax),
    *(max_pool, upsample_bilinear, reduce_argmax),
    *(clip, log, rsqrt, select, fill_like, cast),
    *(reshape, transpose, expand_dims, squeeze, tile, concat, stack, split, pad, slice_by_index, reverse),
)
_REDUCTIONS = {"reduce_sum": torch.sum, "reduce_mean": torch.mean, "reduce_max": torch.amax}
_UNARY = {
    **{name: getattr(torch, name) for name in ("abs", "exp", "floor", "relu", "round", "sigmoid", "sqrt", "tanh")},
    **{"identity": torch.positive, "logical_not": torch.logical_not, "square": torch.square},
    **{"relu6": F.relu6, "softplus": F.softplus},
}
_BINARY = {
    **{"add": torch.add, "sub": torch.sub, "mul": torch.mul, "real_div": torch.true_divide},
    **{name: getattr(torch, name) for name in ("pow", "maximum", "minimum", "logical_and", "logical_or")},
    **{"floor_div": torch.floor_divide, "equal": torch.eq, "not_equal": torch.ne},
    **{name: getattr(torch, name) for name in ("less", "less_equal", "greater", "greater_equal")},
}
OPERATIONS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    **{function.__name__: function for function in _SAME_NAME},
    **{name: _reduction(function) for name, function in _REDUCTIONS.items()},
    **{name: _unary(function) for name, function in _UNARY.items()},
    **{name: _binary(function) for name, function in _BINARY.items()},
}


# Programs.


@dataclass(frozen=True)
class Step:
    """An operation of a program."""

    operation: Any
    run: Callable[..., Tensor | tuple[Tensor, ...]]
    last_looks: tuple[str, ...]
    """Values that no later operation looks at."""


class MilSession:
    """A function of a program; kept tensors are torch tensors."""

    def __init__(self, function: Any) -> None:
        self._inputs = {var.name: tuple(var.shape) for var in function.inputs.values()}
        self._outputs = list(function.outputs)
        constants = [op for op in function.operations if op.op_type == "const"]
        self._constants = {op.outputs[0].name: _constant(op.outputs[0].val) for op in constants}
        lasting = {*self._constants, *(var.name for var in self._outputs)}
        self._steps = _steps([op for op in function.operations if op.op_type != "const"], lasting)

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        given = {name: _as_tensor(value) for name, value in inputs.items()}
        shapes = {name: tuple(value.shape) for name, value in given.items()}
        if shapes != self._inputs:
            raise BackendError(f"this program takes tensors of {self._inputs}, got {shapes}")
        with torch.inference_mode():
            values = self._computed(given)
        # Copies: a result may be part of an input, whose memory is the caller's.
        found = {var.name: values[var.name].clone(memory_format=torch.contiguous_format) for var in self._outputs}
        return {name: value if name in keep else value.numpy() for name, value in found.items()}

    def _computed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = {**self._constants, **inputs}
        for step in self._steps:
            arguments = {name: _value_of(var, values) for name, var in step.operation.inputs.items()}
            try:
                found = step.run(**arguments)
            except (MilError, RuntimeError, TypeError, ValueError, KeyError) as error:
                raise MilError(f"{_told(step.operation)}: {error}") from error
            for var, value in zip(step.operation.outputs, found if isinstance(found, tuple) else (found,), strict=True):
                if tuple(value.shape) != tuple(var.shape):
                    raise MilError(f"{_told(step.operation)} gave {tuple(value.shape)}, declared is {var.shape}")
                values[var.name] = value.to(_dtype(var))
            for name in step.last_looks:
                del values[name]
        return values


def _as_tensor(value: Array | Tensor) -> Tensor:
    # PyTorch has no tensors that must not be written to, and warns of arrays that are so.
    return value if isinstance(value, Tensor) else torch.from_numpy(np.require(value, requirements=["C", "W"]))


def _constant(value: Any) -> Tensor | str:
    """A string as it is; anything else as a tensor of the type that operations compute in."""
    return str(value) if isinstance(value, str) else _computable(torch.as_tensor(np.array(value)))


def _computable(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.float16 else value


def _value_of(var: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(var, (list, tuple)):
        return [_value_of(one, values) for one in var]
    value = values[var.name]
    return value if isinstance(value, str) else _computable(value)


def _dtype(var: Any) -> torch.dtype:
    name = ct.converters.mil.mil.types.builtin_to_string(var.dtype)
    _allow(f"type of {var.name}", name, *DTYPES)
    return DTYPES[name]


def _told(operation: Any) -> str:
    return f"operation {operation.name!r} ({operation.op_type})"


def _steps(operations: Sequence[Any], lasting: set[str]) -> list[Step]:
    """Raises MilError for what the interpreter does not know."""
    looked_at = [{var.name for value in op.inputs.values() for var in _flat(value)} for op in operations]
    later: set[str] = set(lasting)
    steps = []
    for operation, names in zip(reversed(operations), reversed(looked_at), strict=True):
        made = {var.name for var in operation.outputs}
        unused = made - later
        steps.append(Step(operation, _known(operation), tuple((names - later) | unused)))
        later |= names
    return steps[::-1]


def _flat(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _known(operation: Any) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    run = OPERATIONS.get(operation.op_type)
    if run is None:
        raise MilError(f"{_told(operation)} is not known to the interpreter")
    unknown = set(operation.inputs) - set(inspect.signature(run).parameters)
    if unknown:
        raise MilError(f"{_told(operation)} has parameters that are not known: {', '.join(sorted(unknown))}")
    return run


class MilInterpreter:
    """A backend of tapsdk for packages of Core ML."""

    name = "mil"
    formats = ("coreml",)
    threads = None
    place = PROCESSOR

    def describe(self) -> str:
        return f"MIL interpreter on torch {torch.__version__} (Apple's own kernels were not run)"

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> MilSession:
        function = _function(file, entry_point(stage, points or 0))
        found = set(function.inputs), {var.name for var in function.outputs}
        declared = {t.name for t in stage.inputs}, {t.name for t in stage.outputs}
        if found != declared:
            raise ArtifactError(f"{file.path} has inputs and outputs {found}, but the manifest declares {declared}")
        return MilSession(function)

    def keep(self, array: Array) -> Tensor:
        return _as_tensor(array)

    def fetch(self, tensor: Tensor) -> Array:
        return np.array(tensor.numpy())


def _function(file: Content, name: str) -> Any:
    """A function of a package's program, with its weights."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            functions = _functions(unpack(file, Path(folder)), name)
    except Exception as error:  # whatever a damaged file makes the parser stumble over
        raise ArtifactError(f"{file.path} cannot be read as a Core ML package: {error}") from error
    if name not in functions:
        raise ArtifactError(f"{file.path} has no function {name!r}; it has {', '.join(functions)}")
    return functions[name]


def _functions(package: Path, name: str) -> Any:
    """The program's functions by name, where the one that is asked for alone is more than a name."""
    spec = ct.utils.load_spec(str(package))
    functions = spec.mlProgram.functions
    if name not in functions:
        return dict.fromkeys(functions)
    for other in [other for other in functions if other != name]:
        del functions[other]
    return parse_program(spec, spec.specificationVersion, str(package / WEIGHTS)).functions
