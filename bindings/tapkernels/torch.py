"""The ops as PyTorch operators, ``torch.ops.tapkernels.<op>``, for eager code and for `torch.export`.

CPU tensors, inference only. The arguments are those of the functions in `tapkernels`, the threads those of
PyTorch; a tensor that is not contiguous is copied, as is usual there.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

import tapkernels

__all__ = ["local_correlation"]


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


@torch.library.custom_op("tapkernels::local_correlation", mutates_args=(), device_types="cpu")
def local_correlation(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    threads = min(torch.get_num_threads(), 256)
    scores = tapkernels.local_correlation(_array(grid), _array(query), _array(xy), radius, threads=threads)
    return torch.from_numpy(scores)


@local_correlation.register_fake
def _local_correlation_shape(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    return query.new_empty((query.shape[0], (2 * radius + 1) ** 2))


def _refuse_gradient(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    raise RuntimeError(
        "tapkernels.torch.local_correlation has no gradient: call it under torch.no_grad() or on detached "
        "tensors, and train with torch operators"
    )


# Refused in the forward pass, where the mistake is; PyTorch by itself would complain in the backward pass.
local_correlation.register_autograd(lambda ctx, gradient: (None,) * 4, setup_context=_refuse_gradient)
