"""The ops as PyTorch operators, ``torch.ops.tapkernels.<op>``, for eager code and for `torch.export`.

CPU tensors, inference only. The arguments are those of the functions in `tapkernels`, the threads those of
PyTorch; a tensor that is not contiguous is copied, as is usual there.

Where an exported program is to run without these kernels, `DECOMPOSITIONS` has operators of PyTorch in their place:

    table = torch.export.default_decompositions()
    table.update(tapkernels.torch.DECOMPOSITIONS)
    program = torch.export.export(module, arguments).run_decompositions(table)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import tapkernels
from tapkernels.mixer_weights import MixerWeights, parameter_panels

__all__ = ["DECOMPOSITIONS", "local_correlation", "mixer"]


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


def _mixer_of_operators(
    x: Tensor, narrow: Tensor, wide: Tensor, weights: Tensor, outputs: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What `mixer` computes, of operators of PyTorch."""
    blocks, _, _, width = narrow.shape
    parameters = {
        name: weights[part].reshape(panels).transpose(1, 2).reshape(-1, panels[1])[: shape[0]].reshape(shape)
        for name, shape, panels, part in parameter_panels(x.shape[1], width, blocks, outputs)
    }

    def linear(layer: str, x: Tensor) -> Tensor:
        return F.linear(x, parameters[f"{layer}.weight"], parameters[f"{layer}.bias"])

    def norm(layer: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), parameters[f"{layer}.weight"])

    def gelu(x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    def convolve(layer: str, frames: Tensor) -> Tensor:
        return (frames * parameters[f"{layer}_weight"].T).sum(1) + parameters[f"{layer}_bias"]

    mixed = linear("embed", x)
    next_narrow, next_wide = [], []
    for i in range(blocks):
        block = f"blocks.{i}"
        seen = torch.cat([narrow[i], norm(f"{block}.norm_time", mixed)[:, None]], 1)
        inner = gelu(convolve(f"{block}.time.up", seen.repeat_interleave(4, -1)))
        seen_wide = torch.cat([wide[i], inner[:, None]], 1)
        mixed = mixed + convolve(f"{block}.time.out", seen_wide).unflatten(-1, (width, 4)).sum(-1)
        hidden = gelu(linear(f"{block}.channels_up", norm(f"{block}.norm_channels", mixed)))
        mixed = mixed + linear(f"{block}.channels_down", hidden)
        next_narrow.append(seen[:, 1:])
        next_wide.append(seen_wide[:, 1:])
    out = linear("out", norm("norm", mixed))
    if not blocks:
        return out, narrow.clone(), wide.clone()
    return out, torch.stack(next_narrow), torch.stack(next_wide)


_refuse_gradients(local_correlation, "local_correlation", 4)
_refuse_gradients(mixer, "mixer", 5)

DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {torch.ops.tapkernels.mixer.default: _mixer_of_operators}
"""Operators of PyTorch that compute the same, by op."""
