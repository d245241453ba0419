"""The ops as PyTorch operators, ``torch.ops.tapkernels.<op>``, for eager code and for `torch.export`.

CPU tensors, inference only. The arguments are those of the functions in `tapkernels`, the threads those of
PyTorch; a tensor that is not contiguous is copied, as is usual there. Where a graph must do without them,
``program.run_decompositions(tapkernels.torch.decompositions())`` puts plain operators in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

import tapkernels
from tapkernels import torch_operators

__all__ = ["cost_volume_track", "decompositions", "local_correlation", "sample_features"]


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


def _threads() -> int:
    return min(torch.get_num_threads(), 256)


@torch.library.custom_op("tapkernels::local_correlation", mutates_args=(), device_types="cpu")
def local_correlation(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    scores = tapkernels.local_correlation(_array(grid), _array(query), _array(xy), radius, threads=_threads())
    return torch.from_numpy(scores)


@local_correlation.register_fake
def _local_correlation_shape(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    return query.new_empty((query.shape[0], (2 * radius + 1) ** 2))


@torch.library.custom_op("tapkernels::sample_features", mutates_args=(), device_types="cpu")
def sample_features(grid: Tensor, xy: Tensor) -> Tensor:
    return torch.from_numpy(tapkernels.sample_features(_array(grid), _array(xy), threads=_threads()))


@sample_features.register_fake
def _sample_features_shape(grid: Tensor, xy: Tensor) -> Tensor:
    return grid.new_empty((xy.shape[0], grid.shape[2]))


@torch.library.custom_op("tapkernels::cost_volume_track", mutates_args=(), device_types="cpu")
def cost_volume_track(
    grid: Tensor,
    features: Tensor,
    previous: Tensor | None,
    weights: list[Tensor],
    temperature: float,
    motion_prior: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """weights: the arrays of `tapkernels.CostVolumeHead`, in its order."""
    head = tapkernels.CostVolumeHead(*map(_array, weights), temperature=temperature, motion_prior=motion_prior)
    known = None if previous is None else _array(previous)
    found = tapkernels.cost_volume_track(_array(grid), _array(features), known, head, threads=_threads())
    xy, logits = map(torch.from_numpy, found)
    return xy, logits


@cost_volume_track.register_fake
def _cost_volume_track_shape(
    grid: Tensor,
    features: Tensor,
    previous: Tensor | None,
    weights: list[Tensor],
    temperature: float,
    motion_prior: float = 0.0,
) -> tuple[Tensor, Tensor]:
    points = features.shape[0]
    return features.new_empty((points, 2)), features.new_empty((points, weights[-1].shape[0]))


def decompositions() -> dict[Any, Callable[..., Any]]:
    """What each op computes, in PyTorch's own operators: for `torch.export.ExportedProgram.run_decompositions`."""
    return {getattr(torch.ops.tapkernels, name).default: getattr(torch_operators, name) for name in _OPS}


_OPS = {
    "cost_volume_track": cost_volume_track,
    "local_correlation": local_correlation,
    "sample_features": sample_features,
}


def _refuse_gradients(name: str, op: Any) -> None:
    def refuse(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise RuntimeError(
            f"tapkernels.torch.{name} has no gradient: call it under torch.no_grad() or on detached tensors, and "
            "train with torch operators"
        )

    # Refused in the forward pass, where the mistake is; PyTorch by itself would complain in the backward pass.
    op.register_autograd(lambda ctx, *gradients: None, setup_context=refuse)


for _name, _op in _OPS.items():
    _refuse_gradients(_name, _op)
