"""Layers that torch.nn lacks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def same_pad(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pads [..., H, W] the way XLA's SAME does for even sizes: the odd pixel goes to the bottom and the right."""
    total = max(kernel - stride, 0)
    return F.pad(x, (total // 2, total - total // 2) * 2)


def double(x: Tensor) -> Tensor:
    """[F, C, h, w] at twice the size, bilinear; beyond the border is what is on it."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
