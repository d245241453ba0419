"""Graphs for PyTorch on any of its devices: one safetensors file per stage, any number of points, no code in it.

The format is `tapsdk.backends.torch_graph`'s.
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


class Torch:
    format = "torch"
    style = Style()
    buckets: tuple[int, ...] = ()
    precisions: Mapping[str, float] = {"fp32": 0.01}

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        for stage in compiling(stages):
            (directory / f"{stage.name}.safetensors").write_bytes(to_bytes(traced(stage), stage.spec))
        return {stage.name: f"{stage.name}.safetensors" for stage in stages}

    def open_backend(self) -> Backend:
        return open_backend("torch")

    def tools(self) -> dict[str, str]:
        return {"torch": torch.__version__}


def to_bytes(program: torch.export.ExportedProgram, spec: StageSpec) -> bytes:
    """A program of torch.export as a file. Raises RuntimeError for one with operators that graphs may not call."""
    writer = _Writer(program)
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

    def __init__(self, program: torch.export.ExportedProgram) -> None:
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
        self.calls: list[list[Any]] = []
        for node in nodes:
            if node.op == "call_function" and node.target not in DROPPED:
                self._add(node)
        self.outputs = [self._argument(each) for each in nodes[-1].args[0]]

    def _add(self, node: fx.Node) -> None:
        if node.target in SAME:
            self._places[node] = self._places[node.args[0]]
            return
        named = {name: value for name, value in node.kwargs.items() if name not in USUAL or value != USUAL[name]}
        call = [_name(node), self._argument(node.args), {name: self._argument(value) for name, value in named.items()}]
        self._places[node] = len(self.inputs) + len(self.weights) + len(self.calls)
        self.calls.append(call)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return {"value": self._places[value]}
        if isinstance(value, (list, tuple)):
            return [self._argument(each) for each in value]
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


def _axes(node: fx.Node) -> list[Any]:
    """The input's sizes, each a number or [times, letter]."""

    def axis(size: Any) -> Any:
        if isinstance(size, int):
            return size
        times, letter = size.node.expr.as_coeff_Mul()
        return [int(times), str(letter)]

    return [axis(size) for size in node.meta["val"].shape]


TARGET: Target = Torch()
