"""Programs of torch.export: one file per stage, any number of points, for PyTorch on any of its devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from export.stages import Stage, Style
from export.targets import Request, Target
from export.targets.dynamic_shapes import TRACED_POINTS, TRACED_SIZE, dynamic_shapes
from tapsdk.backends import Backend, open_backend


class Torch:
    format = "torch"
    style = Style()
    buckets: tuple[int, ...] = ()
    precisions: Mapping[str, float] = {"fp32": 0.01}

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        for stage in stages:
            example = stage.example(TRACED_POINTS, TRACED_SIZE)
            program = torch.export.export(stage.module, example, dynamic_shapes=dynamic_shapes(stage))
            _forget_origin(program)
            _forget_other_stages(program)
            torch.export.save(program, directory / f"{stage.name}.pt2")
        return {stage.name: f"{stage.name}.pt2" for stage in stages}

    def open_backend(self) -> Backend:
        return open_backend("torch")

    def tools(self) -> dict[str, str]:
        return {"torch": torch.__version__}


def _forget_origin(program: torch.export.ExportedProgram) -> None:
    """It notes at every node which lines of which files on this machine it came from, and keeps the example."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None


def _forget_other_stages(program: torch.export.ExportedProgram) -> None:
    """A stage holds the whole model; weights that it does not use would be saved with it."""
    parameters = program.graph_signature.inputs_to_parameters
    for node in program.graph.nodes:
        if node.name in parameters and not node.users:
            program.state_dict[parameters[node.name]] = torch.nn.Parameter(torch.empty(0))


TARGET: Target = Torch()
