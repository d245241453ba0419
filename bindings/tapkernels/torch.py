"""The ops as PyTorch operators, ``torch.ops.tapkernels.<op>``, for eager code and for `torch.export`.

CPU tensors, inference only; `local_correlation` also takes those on CUDA, by `tapkernels.triton`. The arguments are
those of the functions in `tapkernels`, the threads those of PyTorch; a tensor that is not contiguous is copied, as is
usual there.

Where an exported program is to run without these kernels, `DECOMPOSITIONS` has operators of PyTorch in their place:

    table = torch.export.default_decompositions()
    table.update(tapkernels.torch.DECOMPOSITIONS)
    program = torch.export.export(module, arguments).run_decompositions(table)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

import tapkernels
from tapkernels import torch_operators
from tapkernels.cost_volume import ARRAYS
from tapkernels.mixer_weights import MixerWeights

__all__ = ["DECOMPOSITIONS", "cost_volume_track", "local_correlation", "mixer", "sample_features"]


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


def _threads() -> int:
    return min(int(torch.get_num_threads()), 256)


def _refuse_gradients(op: Any, name: str, arguments: int) -> None:
    """In the forward pass, where the mistake is; PyTorch by itself would complain in the backward pass."""

    def refuse(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise RuntimeError(
            f"tapkernels.torch.{name} has no gradient: call it under torch.no_grad() or on detached tensors, and "
            "train with torch operators"
        )

    op.register_autograd(lambda ctx, *gradients: (None,) * arguments, setup_context=refuse)


@torch.library.custom_op("tapkernels::local_correlation", mutates_args=(), device_types="cpu")
def local_correlation(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    scores = tapkernels.local_correlation(_array(grid), _array(query), _array(xy), radius, threads=_threads())
    return torch.from_numpy(scores)


@local_correlation.register_kernel("cuda")
def _local_correlation_on_cuda(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    try:
        from tapkernels import triton
    except ImportError:  # as on Windows, where PyTorch comes without it
        return torch_operators.local_correlation(grid, query, xy, radius)
    return triton.local_correlation(grid, query, xy, radius)


@local_correlation.register_fake
def _local_correlation_shape(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    return query.new_empty((query.shape[0], (2 * radius + 1) ** 2))


@torch.library.custom_op("tapkernels::mixer", mutates_args=(), device_types="cpu")
def mixer(x: Tensor, narrow: Tensor, wide: Tensor, weights: Tensor, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """weights: [W], `MixerWeights.packed`. outputs: O, which it does not tell."""
    packed = MixerWeights(_array(weights), x.shape[1], narrow.shape[3], narrow.shape[0], outputs)
    results = tapkernels.mixer(_array(x), _array(narrow), _array(wide), packed, threads=_threads())
    out, next_narrow, next_wide = (torch.from_numpy(result) for result in results)
    return out, next_narrow, next_wide


@mixer.register_fake
def _mixer_shapes(
    x: Tensor, narrow: Tensor, wide: Tensor, weights: Tensor, outputs: int
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty((x.shape[0], outputs)), narrow.new_empty(narrow.shape), wide.new_empty(wide.shape)


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
    named = dict(zip(ARRAYS, map(_array, weights), strict=True))
    head = tapkernels.CostVolumeHead(**named, temperature=temperature, motion_prior=motion_prior)
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


_refuse_gradients(cost_volume_track, "cost_volume_track", 6)
_refuse_gradients(local_correlation, "local_correlation", 4)
_refuse_gradients(mixer, "mixer", 5)
_refuse_gradients(sample_features, "sample_features", 2)

DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.tapkernels.cost_volume_track.default: torch_operators.cost_volume_track,
    torch.ops.tapkernels.local_correlation.default: torch_operators.local_correlation,
    torch.ops.tapkernels.mixer.default: torch_operators.mixer,
    torch.ops.tapkernels.sample_features.default: torch_operators.sample_features,
}
"""Operators of PyTorch that compute the same, by op."""
