"""Tracks as everything here takes them: positions, and where they count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import PointsError


@dataclass(frozen=True, eq=False)
class Seen:
    """xy: [N, T, 2] float64, 0 where it does not count. which: [N, T] bool, where it does: seen, and a number."""

    xy: NDArray[np.float64]
    which: NDArray[np.bool_]


def check_tracks(xy: ArrayLike, visible: ArrayLike) -> Seen:
    """Raises PointsError for arrays that are not [N, T, 2] and [N, T]."""
    points, which = np.asarray(xy, np.float64), np.asarray(visible)
    if points.ndim != 3 or points.shape[2] != 2:
        raise PointsError(f"xy must have shape [N, T, 2] (x, y), got {list(points.shape)}")
    if which.shape != points.shape[:2]:
        raise PointsError(f"visible must have shape {list(points.shape[:2])} to fit xy, got {list(which.shape)}")
    which = which.astype(np.bool_) & np.isfinite(points).all(axis=2)
    return Seen(np.where(which[..., None], points, 0), which)
