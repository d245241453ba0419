"""Graphs for PyTorch on any of its devices: one safetensors file per stage, any number of points, no code in it.

The format is `tapsdk.backends.torch_graph`'s. In half precision (fp16, bf16) it is as with PyTorch's autocast: products
of matrices and convolutions take and give half floats, all else is float32, and so are modules that must be exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import fx

from export.stages import Stage, Style
from export.targets import Request, Target, compiling
from export.targets.dynamic_shapes import traced
from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends import Backend, open_backend
from tapsdk.backends.torch_graph import ENTRY, OPERATORS, VERSION

DROPPED = {torch.ops.aten._assert_tensor_metadata.default, torch.ops.aten._assert_scalar.default}
"""Checks of what cannot be otherwise once the inputs' shapes are right."""
SAME = {torch.ops.aten.lift_fresh_copy.default, torch.ops.aten.detach_.default, torch.ops.aten.detach.default}
"""What gives its argument, where nothing is learned or written to."""
USUAL = {"layout": torch.strided, "pin_memory": False, "memory_format": torch.contiguous_format}
"""Arguments that go without saying."""


HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
PRODUCTS = {
    torch.ops.aten.conv2d.default,
    torch.ops.aten.einsum.default,
    torch.ops.aten.linear.default,
    torch.ops.aten.matmul.default,
    torch.ops.aten.scaled_dot_product_attention.default,
}
"""What half precision is for; of the rest, the time goes into memory."""


class Torch:
    format = "torch"
    style = Style()
    buckets: tuple[int, ...] = ()
    precisions: Mapping[str, float] = {"fp32": 0.01, "fp16": 0.25, "bf16": 0.5}

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        half = HALVES.get(request.precision)
        for stage in compiling(stages):
            data = to_bytes(traced(stage), stage.spec, half, stage.exact)
            (directory / f"{stage.name}.safetensors").write_bytes(data)
        return {stage.name: f"{stage.name}.safetensors" for stage in stages}

    def open_backend(self) -> Backend:
        return open_backend("torch")

    def tools(self) -> dict[str, str]:
        return {"torch": torch.__version__}


def to_bytes(
    program: torch.export.ExportedProgram,
    spec: StageSpec,
    half: torch.dtype | None = None,
    exact: tuple[str, ...] = (),
) -> bytes:
    """A program of torch.export as a file. Raises RuntimeError for one with operators that graphs may not call.

    half: what products are computed in; None: float32. exact: submodules that are not.
    """
    writer = _Writer(program, half, exact)
    inputs, outputs = ([t.name for t in tensors] for tensors in (spec.inputs, spec.outputs))
    graph = {
        "version": VERSION,
        "inputs": list(zip(inputs, map(_axes, writer.inputs), strict=True)),
        "weights": list(writer.weights),
        "calls": writer.calls,
        "outputs": list(zip(outputs, writer.outputs, strict=True)),
    }
    return safetensors.torch.save(writer.weights, {ENTRY: json.dumps(graph, separators=(",", ":"), allow_nan=False)})


class _Writer:
    """The parts of the file. Weights that the program does not use are left out."""

    def __init__(self, program: torch.export.ExportedProgram, half: torch.dtype | None, exact: tuple[str, ...]) -> None:
        self._half, self._exact = half, exact
        nodes, signature = list(program.graph.nodes), program.graph_signature
        stored = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        given = [node for node in nodes if node.op == "placeholder"]
        self.inputs = [node for node in given if node.name not in stored]
        weights = [node for node in given if node.name in stored and node.users]
        tensors = {**program.constants, **program.state_dict}
        self.weights = {stored[n.name]: tensors[stored[n.name]].detach().contiguous().clone() for n in weights}
        self._places = {node: i for i, node in enumerate((*self.inputs, *weights))}
        self._halved: dict[fx.Node, int] = {}
        for node in weights:
            if half and _is_float(node) and all(self._in_half(user) for user in node.users):
                self.weights[stored[node.name]] = self.weights[stored[node.name]].to(half)
                self._halved[node] = self._places[node]
        self.calls: list[list[Any]] = []
        for node in nodes:
            if node.op == "call_function" and node.target not in DROPPED:
                self._add(node)
        self.outputs = [self._argument(each) for each in nodes[-1].args[0]]

    def _add(self, node: fx.Node) -> None:
        if node.target in SAME:
            self._places[node] = self._places[node.args[0]]
            return
        in_half = self._in_half(node)
        named = {name: value for name, value in node.kwargs.items() if name not in USUAL or value != USUAL[name]}
        arguments = self._argument(node.args, in_half)
        self._places[node] = self._called(
            _name(node), arguments, {name: self._argument(value, in_half) for name, value in named.items()}
        )
        if in_half:
            self._halved[node] = self._places[node]
            self._places[node] = self._cast(self._halved[node], torch.float32)

    def _called(self, name: str, arguments: list[Any], named: dict[str, Any]) -> int:
        """Adds a call; returns the place of what it gives."""
        self.calls.append([name, arguments, named])
        return len(self.inputs) + len(self.weights) + len(self.calls) - 1

    def _cast(self, place: int, dtype: torch.dtype) -> int:
        return self._called("aten.to.dtype", [{"value": place}, self._argument(dtype)], {})

    def _in_half(self, node: fx.Node) -> bool:
        """Is it a product, of a module that need not be exact?"""
        modules = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        exact = any(f"{path}.".startswith(f"{name}.") for path in modules for name in self._exact)
        return self._half is not None and node.target in PRODUCTS and not exact

    def _argument(self, value: Any, in_half: bool = False) -> Any:
        if isinstance(value, fx.Node):
            if in_half and _is_float(value):
                if value not in self._halved:
                    self._halved[value] = self._cast(self._places[value], self._half)
                return {"value": self._halved[value]}
            return {"value": self._places[value]}
        if isinstance(value, (list, tuple)):
            return [self._argument(each, in_half) for each in value]
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"device": None}
        if isinstance(value, float) and math.isinf(value):
            return {"float": str(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise RuntimeError(f"an argument of the kind {type(value).__name__} has no place in a graph: {value}")


def _name(node: fx.Node) -> str:
    target: Any = node.target
    name = str(target) if isinstance(target, torch._ops.OpOverload) else f"{target.__module__}.{target.__name__}"
    name = name.removeprefix("_")  # Python's operators come from a module `_operator`
    if name not in OPERATORS:
        raise RuntimeError(f"the model calls {name}, which is not one of tapsdk.backends.torch_graph.OPERATORS")
    return name


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _axes(node: fx.Node) -> list[Any]:
    """The input's sizes, each a number or [times, letter]."""

    def axis(size: Any) -> Any:
        if isinstance(size, int):
            return size
        times, letter = size.node.expr.as_coeff_Mul()
        return [int(times), str(letter)]

    return [axis(size) for size in node.meta["val"].shape]


TARGET: Target = Torch()
