"""Tracks of bodies that move rigidly in the picture's plane, from a seed.

The numbers are part of a golden: a change here makes it meaningless.
"""

from __future__ import annotations

import numpy as np


def rigid_tracks(
    groups: int, per_group: int, frames: int, seed: int, size: tuple[int, int] = (256, 256), hidden: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracks [N, T, 2] float32 (x, y) in pixels, visible [N, T] and the body of each point [N], which is i % groups.

    Each body turns about a centre of its own, which drifts, and grows and shrinks.
    """
    rs = np.random.RandomState(4000 + seed)
    points = groups * per_group
    body = np.arange(points) % groups
    t = np.arange(frames) / max(frames - 1, 1)
    u = rs.uniform(0, 1, (groups, 8))[:, :, None]
    x, y = rs.uniform(-0.12, 0.12, (points, 2)).T[:, :, None]
    angle = 2 * np.pi * u[:, 0] + (u[:, 1] - 0.5) * 2.5 * t
    zoom = 1 + 0.25 * np.sin(2 * np.pi * (u[:, 2] + t))
    speed = 0.5 + u[:, 7]
    centre_x = 0.3 + 0.4 * u[:, 3] + 0.25 * np.sin(2 * np.pi * (u[:, 4] + speed * t))
    centre_y = 0.3 + 0.4 * u[:, 5] + 0.25 * np.cos(2 * np.pi * (u[:, 6] + speed * t))
    c, s, z = np.cos(angle)[body], np.sin(angle)[body], zoom[body]
    xy = np.stack(
        [size[1] * (centre_x[body] + z * (c * x - s * y)), size[0] * (centre_y[body] + z * (s * x + c * y))], -1
    )
    return xy.astype(np.float32), rs.uniform(0, 1, (points, frames)) >= hidden, body
