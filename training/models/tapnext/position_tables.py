"""Constants of position embeddings, in numpy, for torch and JAX alike."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

CUBIC_SHARPNESS = -0.75
"""The free parameter of the cubic kernel; the published models were made with this value."""


@lru_cache(maxsize=8)
def sincos_table(size: int, width: int) -> np.ndarray:
    """Sines, then cosines, of the positions 0 .. size - 1 at width / 2 wavelengths: float32 [size, width]."""
    wavelengths = width // 2
    frequency = 10_000.0 ** -(np.arange(wavelengths) / (wavelengths - 1))
    angle = np.arange(size)[:, None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], 1).astype(np.float32)


@lru_cache(maxsize=8)
def cubic_matrix(size: int, to: int) -> np.ndarray:
    """Bicubic resizing along one axis, as a matrix: float32 [to, size]. Cells beyond the border repeat it."""
    position = (np.arange(to) + 0.5) * size / to - 0.5
    matrix = np.zeros((to, size))
    for tap in range(-1, 3):
        cell = np.floor(position) + tap
        weight = _cubic(np.abs(position - cell))
        np.add.at(matrix, (np.arange(to), cell.clip(0, size - 1).astype(int)), weight)
    return matrix.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    a, d = CUBIC_SHARPNESS, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
