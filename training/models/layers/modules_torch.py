"""Layers that torch.nn lacks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

DECAY = 0.9
"""Of the running means of batch normalisation, with every batch. Haiku's are free of where they begin, which these are
after a hundred batches."""


def same_pad(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pads [..., H, W] the way XLA's SAME does: an odd pixel goes to the bottom and the right.

    Sides that are symbols, as where a graph is traced for frames of any size, must be multiples of the stride.
    """

    def sides(size: int) -> tuple[int, int]:
        rest = size % stride if isinstance(size, int) else 0
        total = max(kernel - (rest or stride), 0)
        return total // 2, total - total // 2

    height, width = x.shape[-2:]
    return F.pad(x, (*sides(width), *sides(height)), value=value)


def double(x: Tensor) -> Tensor:
    """[F, C, h, w] at twice the size, bilinear; beyond the border is what is on it."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def huber(squared: Tensor, delta: float) -> Tensor:
    """Huber's loss of distances, from their squares: it grows linearly beyond `delta`."""
    distance = (squared + 1e-12).sqrt()
    return torch.where(distance < delta, squared / 2, delta * (distance - delta / 2))


class CostVolumeLayers(nn.Module):
    """The layers that TAP-Net and TAPIR look for a point with among scores; each has a forward of its own."""

    def __init__(self, widths: tuple[int, int, int], logits: int) -> None:
        super().__init__()
        shared, occlusion, hidden = widths
        self.shared = nn.Conv2d(1, shared, 3, padding=1)
        self.heatmap = nn.Conv2d(shared, 1, 3, padding=1)
        self.occlusion_conv = nn.Conv2d(shared, occlusion, 3, 2)
        self.occlusion_hidden = nn.Linear(occlusion, hidden)
        self.occlusion_out = nn.Linear(hidden, logits)


class BatchNorm(nn.Module):
    """Over all pixels and frames of [F, C, H, W], every channel on its own, by running means of what was trained on.

    In training, when it goes by the mean and variance of its input, these are those of all processes that train
    together. torch.nn's own layers differ: they move the running variance by another one, which is less biased, and
    over several processes compute on GPUs alone.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        x = x.float()
        mean = _over_processes(x.mean((0, 2, 3)))
        x = x - mean[:, None, None]
        var = _over_processes(x.square().mean((0, 2, 3)))
        with torch.no_grad():
            self.running_mean.lerp_(mean, 1 - DECAY)
            self.running_var.lerp_(var, 1 - DECAY)
        return x * ((var + self.eps).rsqrt() * self.weight)[:, None, None] + self.bias[:, None, None]


def _over_processes(mean: Tensor) -> Tensor:
    """The mean over all processes that train together."""
    return _Mean.apply(mean) if dist.is_available() and dist.is_initialized() else mean


class _Mean(torch.autograd.Function):
    """Every process has the same share in what every other one gets, so that gradients come back by the mean, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Mean.forward(ctx, gradient)
