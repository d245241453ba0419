"""Where a tracker may believe that its points were in the frame before: true positions, disturbed.

A model with a motion prior is told its own last estimate. In training all frames go through at once and there is no
such estimate, so it is told what one could have been: mostly close, seldom on another point altogether.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.002, 0.04
"""Typical errors, as shares of the frame's shorter side; a point's own is drawn log-uniformly between them."""
HIDDEN = 3.0
"""How much further off an estimate of a hidden point is."""
LOST = 0.15
"""The share of points that jump to another point at some frame, as if mistaken for it."""


def believed_positions(
    xy: NDArray[np.float32], visible: NDArray[np.bool_], side: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Positions [N, T, 2] in the frame before each frame; before the first, where the point is in it.

    Args:
        xy: [N, T, 2] float32, pixels, true positions. visible: [N, T] bool. side: pixels of the frame's shorter side.
    """
    points, frames = visible.shape
    before = np.maximum(np.arange(frames) - 1, 0)
    spread = side * LEAST * (MOST / LEAST) ** rng.random((points, 1, 1))
    spread = spread * np.where(visible[:, before, None], 1.0, HIDDEN)
    steady, jitter = rng.standard_normal((2, points, frames, 2))
    error = spread * (steady[:, :1] + jitter) / np.sqrt(2)
    error[:, 0] = 0
    believed = xy[:, before] + error
    lost_at = np.where(rng.random(points) < LOST, rng.integers(1, frames, points) if frames > 1 else frames, frames)
    is_lost = np.arange(frames) >= lost_at[:, None]
    other = believed[rng.permutation(points)]
    return np.where(is_lost[..., None], other, believed).astype(np.float32)
