"""ONNX by torch's exporter: one file per stage, any number of points, plain operators, no control flow."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxscript
import torch

from export.stages import Stage, Style
from export.targets import Request, Target
from tapsdk.backends import Backend, open_backend
from tapsdk.geometry import MAX_CELLS, MIN_CELLS
from tapsdk.manifest import POINTS

OPSET = 20
TRACED_POINTS = 5
TRACED_SIZE = (96, 176)
SIZE_MULTIPLE = 16
"""Of the frame's sides, where they are dynamic; grids divide them by divisors of it."""
CONTROL_FLOW = {"If", "Loop", "Scan"}


class Onnx:
    format = "onnx"
    style = Style()
    buckets: tuple[int, ...] = ()
    precisions: Mapping[str, float] = {"fp32": 0.01}

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        return {stage.name: self._lower(stage, directory) for stage in stages}

    def _lower(self, stage: Stage, directory: Path) -> str:
        name = f"{stage.name}.onnx"
        shapes = _dynamic_shapes(stage)
        with warnings.catch_warnings(), _quiet_exporter():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                stage.module,
                stage.example(TRACED_POINTS, TRACED_SIZE),
                dynamo=True,
                opset_version=OPSET,
                input_names=[t.name for t in stage.spec.inputs],
                output_names=[t.name for t in stage.spec.outputs],
                dynamic_shapes=_for_signature(stage, shapes) if any(shapes) else None,
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
        found = CONTROL_FLOW & {node.op_type for node in model.graph.node}
        if found:
            raise RuntimeError(f"stage {stage.name!r} was exported with control flow: {', '.join(sorted(found))}")
        _forget_origin(model)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, directory / name)
        return name

    def open_backend(self) -> Backend:
        return open_backend("onnxruntime")

    def tools(self) -> dict[str, str]:
        versions = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxscript": onnxscript.__version__}
        return {**versions, "opset": str(OPSET)}


def _dynamic_shapes(stage: Stage) -> tuple[dict[int, object], ...]:
    """Of every input: the axes whose size is only known when the graph runs."""
    points = torch.export.Dim(POINTS, min=1, max=1 << 20)
    sides = {name: torch.export.Dim(f"{name}_{SIZE_MULTIPLE}", min=MIN_CELLS, max=MAX_CELLS) for name in "HW"}

    def dimension(entry: int | str) -> object:
        if entry == POINTS:
            return points
        name, _, part = str(entry).partition("/")
        times = SIZE_MULTIPLE // int(part or 1)
        return sides[name] if times == 1 else times * sides[name]

    return tuple({i: dimension(e) for i, e in enumerate(t.shape) if isinstance(e, str)} for t in stage.spec.inputs)


def _forget_origin(model: onnx.ModelProto) -> None:
    """The exporter notes at every node which lines of which files on this machine it came from."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]


def _for_signature(stage: Stage, shapes: tuple[object, ...]) -> tuple[object, ...]:
    """dynamic_shapes nests as forward's parameters do: a trailing *args takes one tuple, unless nothing goes there."""
    code = type(stage.module).forward.__code__
    named = code.co_argcount - 1
    variadic = code.co_flags & 0x04
    return (*shapes[:named], shapes[named:]) if variadic and shapes[named:] else shapes


class _quiet_exporter:
    """The exporter logs each of its passes; what matters comes as an exception."""

    def __enter__(self) -> None:
        self._levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")}
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


TARGET: Target = Onnx()
