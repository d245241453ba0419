"""What formats say of a video beside its tracks, and how they write numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks

DIGITS = 4
"""Decimals of a pixel."""


@dataclass(frozen=True)
class Scene:
    """A video: size (height, width) in pixels, frames per second, and a name for each frame's picture.

    size and fps are 0 where a format does not need them and nobody gave them.
    """

    size: tuple[int, int]
    fps: float
    images: tuple[str, ...]


def seen(tracks: Tracks) -> NDArray[np.bool_]:
    """Where points are visible, and have a position: [N, T]."""
    return tracks.visible & placed(tracks)


def placed(tracks: Tracks) -> NDArray[np.bool_]:
    """Where points have a position, guessed ones included: [N, T]."""
    return np.isfinite(tracks.xy[..., 0]) & np.isfinite(tracks.xy[..., 1])


def inside(tracks: Tracks, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where points have a position within the frame, its edges included: [N, T]. size: (height, width)."""
    x, y = tracks.xy[..., 0], tracks.xy[..., 1]  # no comparison holds for NaN
    return (x >= 0) & (x <= size[1]) & (y >= 0) & (y <= size[0])


def shares(confidence: NDArray[np.float32]) -> NDArray[np.float64]:
    """Confidence as numbers from 0 to 1, whatever it holds."""
    return np.clip(np.nan_to_num(confidence.astype(np.float64)), 0, 1)


def decimal(value: float) -> str:
    """To 1e-4, without an exponent and without zeros that say nothing."""
    return np.format_float_positional(round(float(value), DIGITS) + 0.0, trim="-")
