"""Depth at positions between pixels, without bleeding from one surface to another.

The rule. A position belongs to the surface of the nearest pixel that has depth, which must be one of the nine around
it. That pixel and its neighbours give the surface's plane; the inverse of depth, which is linear over the picture of a
plane, is compared with it. Where all four pixels around the position lie on that surface, their inverse depths are
interpolated bilinearly; elsewhere the plane is taken. Both are exact for planes, however steep. A pixel of the nine
that does not lie on the surface belongs to another one, and the nearest such is told, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size, pixels_of

Floats = NDArray[np.float64]

SAME = 0.02
"""Of its inverse depth, by which a pixel may be off its surface: more than the noise of sensors at a few metres."""
_AROUND = np.array(list(product((-1, 0, 1), repeat=2)))


@dataclass(frozen=True, eq=False)
class Surfaces:
    """What N positions of a frame lie on; all [N].

    depth: of the surface, metres; NaN where there is none, or the position is outside of the frame.
    other: of another surface within a pixel and a half; NaN where there is none.
    slope: by how much of itself the inverse depth changes from pixel to pixel.
    clean: the pixel of the position itself has depth, and no other surface is near.
    """

    depth: Floats
    other: Floats
    slope: Floats
    clean: NDArray[np.bool_]


def surfaces_at(depth: NDArray[np.floating], xy: NDArray[np.floating]) -> Surfaces:
    """Surfaces at positions xy [N, 2] of a depth map [H, W] in metres, which is NaN where nothing is known."""
    size: Size = (depth.shape[0], depth.shape[1])
    xy = np.asarray(xy, np.float64)
    inside = ((xy >= 0) & (xy <= (size[1], size[0]))).all(axis=1)
    pixel, offset = pixels_of(xy, size)
    near = _Inverse(depth)
    # [N, 9] of the pixels around: inverse depth, and how far away they are.
    around = near.at(pixel[:, None] + _AROUND)
    away = np.linalg.norm(_AROUND - offset[:, None], axis=2)
    reach = np.where(np.isfinite(around), away, np.inf)
    nearest = reach.argmin(axis=1)
    known = inside & np.isfinite(reach.min(axis=1))
    anchor = pixel + _AROUND[nearest]
    level = near.at(anchor)
    gradient = near.gradient(anchor, level)
    # The plane through the nearest pixel, at the nine and at the position.
    plane = level[:, None] + ((_AROUND - _AROUND[nearest][:, None]) * gradient[:, None]).sum(axis=2)
    slack = SAME * level[:, None]
    same = (abs(around - level[:, None]) <= slack) | (abs(around - plane) <= slack)
    value = level + ((offset - _AROUND[nearest]) * gradient).sum(axis=1)
    value = np.where(value > 0.5 * level, value, level)
    weight = np.maximum(1 - abs(_AROUND - offset[:, None]), 0).prod(axis=2)
    smooth = (same | (weight == 0)).all(axis=1)
    value = np.where(smooth, (weight * np.where(same, around, 0)).sum(axis=1), value)
    foreign = np.where(same, np.inf, reach)
    other = np.where(np.isfinite(foreign.min(axis=1)), around[np.arange(len(xy)), foreign.argmin(axis=1)], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Surfaces(
            depth=np.where(known, 1 / value, np.nan),
            other=np.where(known, 1 / other, np.nan),
            slope=np.where(known, abs(gradient).max(axis=1) / level, 0.0),
            clean=known & (nearest == len(_AROUND) // 2) & np.isnan(other),
        )


class _Inverse:
    """The inverse of a depth map [H, W]; NaN outside of it."""

    def __init__(self, depth: NDArray[np.floating]) -> None:
        self._depth = depth

    def at(self, pixel: NDArray[np.intp]) -> Floats:
        """[...] of pixels [..., 2] (column, row)."""
        height, width = self._depth.shape
        inside = ((pixel >= 0) & (pixel < (width, height))).all(axis=-1)
        column, row = np.moveaxis(np.clip(pixel, 0, (width - 1, height - 1)), -1, 0)
        return np.where(inside, 1 / self._depth[row, column].astype(np.float64), np.nan)

    def gradient(self, pixel: NDArray[np.intp], level: Floats) -> Floats:
        """[N, 2] of pixels [N, 2]: the smaller of the two differences along x, and along y, as a surface has it at its
        edge; 0 where neither can be believed."""
        found = np.zeros(pixel.shape)
        for axis, step in enumerate(np.eye(2, dtype=np.intp)):
            before, after = level - self.at(pixel - step), self.at(pixel + step) - level
            # A side without depth says nothing.
            before, after = (np.where(np.isnan(one), np.inf, one) for one in (before, after))
            smaller = np.where(abs(before) < abs(after), before, after)
            with np.errstate(invalid="ignore"):
                even = abs(before - after) <= SAME * level
            found[:, axis] = np.where(even | (abs(smaller) <= SAME * level), smaller, 0.0)
        return found
