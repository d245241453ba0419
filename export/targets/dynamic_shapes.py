"""What stages are traced with, and which axes stay open, for targets that leave sizes open."""

from __future__ import annotations

import torch
from torch.export import Dim, ExportedProgram

from export.stages import Stage
from tapsdk.artifact.manifest import FRAMES, POINTS
from tapsdk.runtime.sizes import MIN_CELLS

TRACED_POINTS = 5
TRACED_SIZE = (96, 176)
MAX_SIDE = 8192
"""Pixels of the frame's sides, where they are dynamic: more than any frame has."""


def traced(stage: Stage) -> ExportedProgram:
    """A stage as a program for any sizes of what is open."""
    return torch.export.export(
        stage.module, stage.example(TRACED_POINTS, TRACED_SIZE), dynamic_shapes=dynamic_shapes(stage)
    )


def dynamic_shapes(stage: Stage) -> tuple[object, ...] | None:
    """The axes of every input whose size is only known when the graph runs, as torch.export wants to be told them."""
    counts = {name: Dim(name, min=1, max=1 << 20) for name in (POINTS, FRAMES)}
    multiple = stage.size_multiple
    sides = {name: Dim(f"{name}_{multiple}", min=MIN_CELLS, max=MAX_SIDE // multiple) for name in ("H", "W")}

    def dimension(entry: str) -> object:
        if entry in counts:
            return counts[entry]
        name, _, part = entry.partition("/")
        times, rest = divmod(multiple, int(part or 1))
        if rest or not times:  # of a grid that is pooled further than a frame's sides can be divided
            return Dim(f"{name}_by_{part}", min=1, max=MAX_SIDE // int(part))
        return sides[name] if times == 1 else times * sides[name]

    open_axes = tuple(
        {axis: dimension(entry) for axis, entry in enumerate(t.shape) if isinstance(entry, str)}
        for t in stage.spec.inputs
    )
    return _for_signature(stage, open_axes) if any(open_axes) else None


def _for_signature(stage: Stage, shapes: tuple[object, ...]) -> tuple[object, ...]:
    """It nests as forward's parameters do: a trailing *args takes one tuple, unless nothing goes there."""
    code = type(stage.module).forward.__code__
    named = code.co_argcount - 1
    variadic = code.co_flags & 0x04
    return (*shapes[:named], shapes[named:]) if variadic and shapes[named:] else shapes
