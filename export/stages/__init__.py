"""How each family is cut into compiled stages: torch modules with flat, named tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tapsdk.manifest import POINTS, StageSpec, Visibility
from tapsdk.manifest import NativePlan as NativePlan


@dataclass(frozen=True)
class Stage:
    """A stage before it is compiled."""

    name: str
    module: nn.Module
    """Takes and gives tensors in the order of `spec`."""
    spec: StageSpec

    @property
    def has_points(self) -> bool:
        return any(POINTS in t.shape for t in self.spec.inputs)

    def example(self, points: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs of the right shapes for a number of points."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(t.shape_for(points), generator=generator) for t in self.spec.inputs)


@dataclass(frozen=True)
class Cut:
    """A model as stages, with what the runtime needs to know of them."""

    stages: tuple[Stage, ...]
    visibility: Visibility
    native: NativePlan | None


def cut(model: nn.Module) -> Cut:
    """The stages of a model, by its family."""
    from export.stages import tapir
    from training.models.tapir_torch import Tapir

    cuts: dict[type[nn.Module], Callable[..., Cut]] = {Tapir: tapir.cut}
    return cuts[type(model)](model)
