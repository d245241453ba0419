"""Colours for points: vivid, of even lightness to the eye, and far apart where neighbours must differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.geometry import Size

# A turn by the golden ratio spreads any number of hues and puts successive ones far apart.
_GOLDEN = 0.6180339887498949
_LIGHTNESS = 0.74
_MAX_CHROMA = 0.19
# Oklab to linear sRGB (B. Ottosson, 2020).
_LMS_FROM_LAB = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def distinct_colors(n: int) -> NDArray[np.uint8]:
    """[n, 3] uint8 RGB; any two points close in number differ clearly in hue."""
    hue = (0.05 + _GOLDEN * np.arange(n)) % 1.0
    # Three steps of lightness part the hues that come round again.
    return _oklch_to_rgb(_LIGHTNESS + 0.06 * (np.arange(n) % 3 - 1), hue)


def position_colors(xy: ArrayLike, frame_size: Size) -> NDArray[np.uint8]:
    """[N, 3] uint8 RGB by where points xy [N, 2] start: hue runs along x, lightness along y.

    For grids and other dense sets: neighbours look alike, so that motion reads as a bending rainbow.
    """
    unit = np.clip(np.asarray(xy, dtype=np.float64).reshape(-1, 2) / (frame_size[1], frame_size[0]), 0, 1)
    # Not the whole circle, or the left and the right border would share a hue.
    return _oklch_to_rgb(0.62 + 0.24 * unit[:, 1], 0.08 + 0.78 * unit[:, 0])


def spread_colors(xy: ArrayLike) -> NDArray[np.uint8]:
    """[N, 3] uint8 RGB as `position_colors`, but the points xy [N, 2] together take up all hues, however small the part
    of the frame is that they lie in. NaN counts as 0."""
    places = np.nan_to_num(np.asarray(xy, dtype=np.float64).reshape(-1, 2))
    low = places.min(axis=0, initial=np.inf)
    width, height = np.maximum(places.max(axis=0, initial=-np.inf) - low, 1).tolist()
    return position_colors(places - low, (height, width))


def _oklch_to_rgb(lightness: NDArray[Any], hue: NDArray[Any]) -> NDArray[np.uint8]:
    """The most vivid sRGB colour of each lightness [N] and hue [N] (turns), capped to keep them even."""
    direction = np.stack([np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)], axis=-1)
    # Bisection for the largest chroma inside the gamut.
    low, high = np.zeros(len(hue)), np.full(len(hue), _MAX_CHROMA)
    for _ in range(12):
        middle = (low + high) / 2
        linear = _oklab_to_linear(lightness, middle[:, None] * direction)
        inside = ((linear >= 0) & (linear <= 1)).all(axis=-1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    linear = _oklab_to_linear(lightness, low[:, None] * direction)
    encoded: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def _oklab_to_linear(lightness: NDArray[Any], ab: NDArray[Any]) -> NDArray[np.float64]:
    """Oklab, lightness [N] and ab [N, 2], as linear sRGB [N, 3]; outside [0, 1] where no screen shows it."""
    lab = np.concatenate([lightness[:, None], ab], axis=-1)
    return np.asarray((lab @ _LMS_FROM_LAB.T) ** 3 @ _RGB_FROM_LMS.T, dtype=np.float64)
