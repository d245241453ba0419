"""The configuration of TAP-Net, for its torch and its JAX module. Variants are rows of numbers, nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TapnetConfig:
    """TAP-Net (Doersch et al. 2022, arXiv:2211.03726). The defaults are the published model.

    The published code says other widths and dilated convolutions; neither reaches its layers, and these are what the
    published weights are of.
    """

    stem: int = 64
    """Channels of the first convolution, after which the picture is a quarter of its size."""
    channels: tuple[int, int, int] = (64, 128, 256)
    """Of the three units of residual blocks."""
    strides: tuple[int, int, int] = (1, 2, 1)
    blocks: int = 2
    """Of a unit."""
    shifted: tuple[bool, bool, bool] = (True, True, False)
    """Units whose blocks see the frames before and after (temporal shift, arXiv:1811.08383)."""
    head: tuple[int, int, int] = (16, 32, 16)
    """Widths of the cost-volume head: shared convolution, occlusion convolution, occlusion hidden layer."""
    softmax_temperature: float = 10.0
    resolution: tuple[int, int] = (256, 256)
    """(height, width) of the frames that it was trained on, and works on once exported; `clip` takes any."""

    @property
    def causal(self) -> bool:
        return False

    @property
    def reach(self) -> int:
        """How many frames before and after its own what is found in a frame depends on."""
        return self.blocks * sum(self.shifted)

    @property
    def stride(self) -> int:
        """Pixels that a cell of the grid is wide."""
        first, second, third = self.strides
        return 4 * first * second * third


SHIFTED_SHARE = 8
"""A shifted block takes one part in so many of its channels from the frame after, and as many from the one before."""

SOFT_ARGMAX_RADIUS = 5
"""Cells around the heatmap's peak that are averaged."""

VARIANTS = {"tapnet/base": TapnetConfig()}
