"""What the ops compute, in plain numpy: the specification that every compiled version is tested against.

Clear before fast, and float64 inside. Arguments are those of the public functions, and are not checked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Float32 = NDArray[np.float32]
_Float64 = NDArray[np.float64]


def local_correlation(grid: _Float32, query: _Float32, xy: _Float32, radius: int = 3) -> _Float32:
    """Sample the grid around each point, then take dot products with the query."""
    step = np.arange(-radius, radius + 1.0)
    across = _linear_weights(xy[:, :1] + step, grid.shape[1])  # [N, S, W] with S = 2 radius + 1
    down = _linear_weights(xy[:, 1:] + step, grid.shape[0])  # [N, S, H]
    samples = across[:, None] @ np.tensordot(down, grid, axes=1)  # [N, S, S, C]
    scores: _Float64 = samples @ query[:, None, :, None].astype(np.float64)
    return scores.reshape(len(xy), len(step) ** 2).astype(np.float32)


def resize_normalize(image: NDArray[np.uint8] | _Float32, height: int, width: int) -> _Float32:
    """Filter along y, then along x, then map [0, 255], or [0, 1], to [-1, 1]."""
    rows = np.tensordot(_triangle_weights(image.shape[0], height), image, axes=1)  # [height, W, 3]
    resized: _Float64 = _triangle_weights(image.shape[1], width) @ rows
    white = 255.0 if image.dtype == np.uint8 else 1.0
    return (resized / white * 2.0 - 1.0).astype(np.float32)


def _linear_weights(position: _Float64, size: int) -> _Float64:
    """[..., size]: the share of each cell in a linear sample; none at all of a sample outside or at NaN."""
    cell = np.arange(size) + 0.5
    weights: _Float64 = np.fmax(0.0, 1.0 - abs(position[..., None] - cell))
    return weights


def _triangle_weights(size: int, out_size: int) -> _Float64:
    """[out_size, size]: the share of each pixel in each output pixel; rows sum to 1."""
    scale = size / out_size
    pixel, out_pixel = np.arange(size) + 0.5, np.arange(out_size) + 0.5
    distance = abs(pixel - out_pixel[:, None] * scale)
    weights: _Float64 = np.fmax(0.0, 1.0 - distance / max(scale, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
