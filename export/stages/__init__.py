"""How each family is cut into compiled stages: torch modules with flat, named tensors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from tapsdk.artifact.manifest import FlowFusion, FrameSpec, PointSpec, Program, StageSpec, TensorSpec
from training.models.registry import FAMILIES

EXAMPLE_FRAMES = 7
"""Of a clip: not 1, which graphs take for fixed."""


@dataclass(frozen=True)
class Style:
    """How the graphs of a target must be written."""

    lookup: Literal["gather", "dense"] = "gather"
    """How patches of scores are read: by computed indices, or by products alone
    (`training.models.layers.sampling_torch`)."""
    any_size: bool = True
    """Frames of any size go through one graph, where the model can; else of `frame_size`, or the model's own."""
    frame_size: tuple[int, int] | None = None
    """(height, width)"""
    padded: bool = False
    """Some rows of points may only fill up a bucket, and must not change the others."""
    native: bool = True
    """Stages for the native kernels, too."""
    kernels: bool = False
    """What kernels take the place of whole stages where they run, with weights from the artifact's file of them."""


@dataclass(frozen=True)
class Stage:
    """A stage before it is compiled."""

    name: str
    module: nn.Module
    """Takes and gives tensors in the order of `spec`."""
    spec: StageSpec
    size_multiple: int = 16
    """Of the frame's sides, where any size will do."""
    exact: tuple[str, ...] = ()
    """Submodules, by their dotted names, that positions come out of: they compute in float32 in every precision."""

    def example(
        self, points: int, size: tuple[int, int], seed: int = 0, frames: int = EXAMPLE_FRAMES
    ) -> tuple[Tensor, ...]:
        """Inputs of the right shapes for a number of points, frames of (height, width) where any size will do, and a
        number of frames where the stage sees all of a clip."""
        generator = torch.Generator().manual_seed(seed)

        def draw(tensor: TensorSpec) -> Tensor:
            noise = torch.randn(tensor.shape_for(points, size, frames), generator=generator)
            return (noise > 0).float() if tensor.role in ("active", "present") else noise

        return tuple(draw(t) for t in self.spec.inputs)


@dataclass(frozen=True)
class KernelChoice:
    """An op of tapkernels that can compute a stage. weights: names of the model's parameters, by argument."""

    op: str
    weights: Mapping[str, str]
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """A model as stages, with what the runtime needs to know of them."""

    stages: tuple[Stage, ...]
    frames: FrameSpec
    points: PointSpec
    """All but the buckets, which are not the model's business. What a track says at its query's frame holds for
    published models; our own give queries back exactly."""
    program: Program
    flow: FlowFusion | None = None
    kernels: Mapping[str, KernelChoice] = field(default_factory=dict)
    """By stage."""


def cut(family: str, model: nn.Module, style: Style | None = None) -> Cut:
    """The stages of a model of a family. Raises ValueError for a style that the model cannot take."""
    return importlib.import_module(FAMILIES[family].stages).cut(model, style or Style())  # type: ignore[no-any-return]
