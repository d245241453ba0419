"""`training.models.layers.efficientnet` in JAX, and a top-down part that makes two grids. Images are [F, H, W, C]."""

from __future__ import annotations

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from training.models.layers.efficientnet import FINE, STEM, TAPS, Block, blocks, tap_widths
from training.models.layers.modules_jax import Conv, double, same_pad


class InvertedResidual(eqx.Module):
    """One block of the table."""

    expand: Conv | None
    depthwise: Conv
    project: Conv
    block: Block = eqx.field(static=True)

    def __init__(self, block: Block, keys: Iterator[Array]) -> None:
        width, padding = block.width, 0 if block.stride > 1 else block.kernel // 2
        self.block = block
        self.expand = Conv(block.inputs, width, 1, keys) if block.widens else None
        self.depthwise = Conv(width, width, block.kernel, keys, stride=block.stride, padding=padding, groups=width)
        self.project = Conv(width, block.outputs, 1, keys)

    def __call__(self, x: Array) -> Array:
        y = x if self.expand is None else jax.nn.relu6(self.expand(x))
        if self.block.stride > 1:
            y = same_pad(y, self.block.kernel, self.block.stride)
        y = self.project(jax.nn.relu6(self.depthwise(y)))
        return x + y if self.block.adds_input else y


class Backbone(eqx.Module):
    """Frames [F, H, W, 3] in [-1, 1] to features at 1/4, 1/8 and 1/16; the last of a size that is rounded up."""

    stem: Conv
    blocks: list[InvertedResidual]

    def __init__(self, keys: Iterator[Array]) -> None:
        self.stem = Conv(3, STEM, 3, keys, stride=2)
        self.blocks = [InvertedResidual(block, keys) for block in blocks()]

    def __call__(self, frames: Array) -> list[Array]:
        x = jax.nn.relu6(self.stem(same_pad(frames, 3, 2)))
        features = []
        for i, block in enumerate(self.blocks):
            if block.block.stride > 1:
                x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
            x = block(x)
            if i in TAPS:
                features.append(x)
        return features


class TopDown(eqx.Module):
    """Features at 1/4, 1/8 and 1/16 to grids at 1/4 and 1/8 that know of the coarser ones."""

    low_side: Conv
    low_down: Conv
    low_out: Conv
    high_side: Conv
    high_down: Conv
    high_out: Conv

    def __init__(self, high: int, low: int, keys: Iterator[Array]) -> None:
        quarter, eighth, sixteenth = tap_widths()
        self.low_side = Conv(eighth, low, 1, keys)
        self.low_down = Conv(sixteenth, low, 1, keys)
        self.low_out = Conv(low, low, 3, keys, padding=1)
        self.high_side = Conv(quarter, high, 1, keys)
        self.high_down = Conv(low, high, 1, keys)
        self.high_out = Conv(high, high, 3, keys, padding=1)

    def __call__(self, quarter: Array, eighth: Array, sixteenth: Array) -> tuple[Array, Array]:
        height, width = eighth.shape[1:3]
        above = double(self.low_down(sixteenth))[:, :height, :width]
        low = self.low_out(jax.nn.relu(self.low_side(eighth) + above))
        high = self.high_out(jax.nn.relu(self.high_side(quarter) + double(self.high_down(low))))
        return high, low


class Fine(eqx.Module):
    """Frames [F, H, W, 3] to what is added to the grid at 1/4."""

    first: Conv
    second: Conv

    def __init__(self, high: int, keys: Iterator[Array]) -> None:
        self.first = Conv(3, FINE, 4, keys, stride=2, padding=1)
        self.second = Conv(FINE, high, 4, keys, stride=2, padding=1)

    def __call__(self, frames: Array) -> Array:
        return self.second(jax.nn.relu(self.first(frames)))


class EfficientNetLite(eqx.Module):
    """Frames [F, H, W, 3] in [-1, 1], sides multiples of 8, to grids [F, H/4, W/4, high] and [F, H/8, W/8, low]."""

    backbone: Backbone
    top_down: TopDown
    fine: Fine

    def __init__(self, high: int, low: int, keys: Iterator[Array]) -> None:
        self.backbone = Backbone(keys)
        self.top_down = TopDown(high, low, keys)
        self.fine = Fine(high, keys)

    def __call__(self, frames: Array) -> tuple[Array, Array]:
        high, low = self.top_down(*self.backbone(frames))
        return high + self.fine(frames), low
