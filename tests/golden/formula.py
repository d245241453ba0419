"""Weights, videos and query points from a seed, so that a golden needs to store none of them.

The numbers are part of the goldens: a change here makes every one of them meaningless.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np


def weight(name: str, shape: Sequence[int], layout: str, seed: int) -> np.ndarray:
    """An official parameter, float32, from its official name.

    Kernels get variance 1 / inputs, and inputs come first (layout "jax") or last ("torch"); scales lie around
    one, everything else around zero.
    """
    noise = np.random.RandomState((zlib.crc32(name.encode()) ^ seed) & 0xFFFFFFFF).standard_normal(tuple(shape))
    if len(shape) >= 2:
        inputs = shape[:-1] if layout == "jax" else shape[1:]
        return (noise / np.sqrt(max(math.prod(inputs), 1))).astype(np.float32)
    if name.endswith(("scale", "weight")):
        return np.asarray(1 + 0.1 * noise, np.float32)
    return np.asarray(0.05 * noise, np.float32)


def state(name: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """What a batch normalisation of Haiku remembers, float32, from the name of its average: variances lie around one,
    means around zero."""
    noise = np.random.RandomState((zlib.crc32(name.encode()) ^ seed) & 0xFFFFFFFF).standard_normal(tuple(shape))
    return np.asarray(np.exp(0.2 * noise) if "/var_ema/" in name else 0.1 * noise, np.float32)


def video(frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """[frames, height, width, 3] uint8: two gratings that drift over one another."""
    t, y, x, c = np.ogrid[:frames, :height, :width, :3]
    coarse = np.sin(0.11 * x + 0.07 * y * (c + 1) + 0.30 * t + c + seed)
    coarse = coarse * np.cos(0.05 * y - 0.02 * x * (c + 1) + 0.13 * t)
    fine = 0.5 * np.sin(0.31 * (x - 1.5 * t) + 0.2 * seed) * np.sin(0.27 * (y + 0.7 * t) + c)
    return np.clip(np.round(127.5 + 85 * (coarse + fine)), 0, 255).astype(np.uint8)


def queries(points: int, frames: int, height: int, width: int, seed: int, first: bool = False) -> np.ndarray:
    """[points, 3] float32 (t, y, x) at least 4 px off the border; all on frame 0 if `first`."""
    share = np.random.RandomState(1000 + seed).uniform(0, 1, (points, 3))
    t = np.zeros(points) if first else np.floor(share[:, 0] * frames)
    y, x = 4 + share[:, 1] * (height - 8), 4 + share[:, 2] * (width - 8)
    return np.stack([t, y, x], -1).astype(np.float32)


def smooth_tracks(points: int, frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tracks [points, frames, 2] float32 (x, y), mostly in [0, 1], that drift and sway, and whether they are visible,
    [points, frames] bool, for some frames at a time.

    Every fifth is hidden in the last third; the first, of more than four, always.
    """
    share = np.random.RandomState(2000 + seed).uniform(0, 1, (points, 12))[..., None]
    time = np.arange(frames)[None] / max(frames - 1, 1)

    def sway(start: np.ndarray, drift: np.ndarray, slow: np.ndarray, pace: np.ndarray, fast: np.ndarray) -> np.ndarray:
        along = 0.1 + 0.8 * start + 0.3 * (drift - 0.5) * time
        along = along + 0.06 * np.sin(2 * np.pi * (slow + time * (1 + 2 * pace)))
        return along + 0.02 * np.sin(2 * np.pi * (fast + 5 * time))

    columns = [share[:, i] for i in range(12)]
    xy = np.stack([sway(*columns[:5]), sway(*columns[5:10])], -1)
    visible = np.sin(2 * np.pi * (columns[10] + time * (1 + 3 * columns[11]))) > -0.6
    visible[::5, frames - frames // 3 :] = False
    if points > 4:
        visible[0] = False
    return xy.astype(np.float32), visible


def track_queries(points: int, frames: int, seed: int) -> np.ndarray:
    """[points, 3] float32 (t, x, y): frames below `frames`, x and y in [0.02, 0.98]."""
    share = np.random.RandomState(3000 + seed).uniform(0, 1, (points, 3))
    columns = (np.floor(share[:, 0] * frames), 0.02 + 0.96 * share[:, 1], 0.02 + 0.96 * share[:, 2])
    return np.stack(columns, -1).astype(np.float32)
