"""Depth at positions between pixels, without bleeding from one surface to another.

The rule. A position belongs to the surface of the nearest pixel that has depth, which must be one of the nine around
it. That pixel and its neighbours give the surface's plane; the inverse of depth, which is linear over the picture of a
plane, is compared with it. Where all four pixels around the position lie on that surface, their inverse depths are
interpolated bilinearly; elsewhere the plane is taken. Both are exact for planes, however steep. A pixel of the nine
that does not lie on the surface belongs to another one, which is told, too, where it is close.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size, pixels_of

Floats = NDArray[np.float64]

SAME = 0.02
"""Of its inverse depth, by which a pixel may be off its surface: more than the noise of sensors at a few metres."""
REACH = 1.0
"""Pixels that a tracker is easily wrong by."""
_AROUND = np.array(list(product((-1, 0, 1), repeat=2)))
_FIRST = 1e-9 * (_AROUND == 0).all(axis=1)
"""Of pixels that are equally near, that which the position lies in comes first."""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """What N positions of a frame lie on; all [N].

    depth: of the surface, metres; NaN where there is none, or the position is outside of the frame.
    other: of another surface whose pixel is within REACH; NaN where there is none.
    slope: by how much of itself the inverse depth changes from pixel to pixel.
    clean: the pixel of the position itself has depth, and none of those around it lies on another surface.
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
    away = np.linalg.norm(_AROUND - offset[:, None], axis=2) - _FIRST
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
    other = np.where(foreign.min(axis=1) <= REACH, around[np.arange(len(xy)), foreign.argmin(axis=1)], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Surfaces(
            depth=np.where(known, 1 / value, np.nan),
            other=np.where(known, 1 / other, np.nan),
            slope=np.where(known, abs(gradient).max(axis=1) / level, 0.0),
            clean=known & (nearest == len(_AROUND) // 2) & np.isinf(foreign).all(axis=1),
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
        """[N, 2] of pixels [N, 2]: along x and along y, the smaller of the two differences that can be believed, as a
        surface has it at its edge; 0 where there is none.

        A difference is believed where it is small, the same on the other side, or the same one pixel further.
        """
        found = np.zeros(pixel.shape)
        slack = SAME * level
        for axis, step in enumerate(np.eye(2, dtype=np.intp)):
            row = [self.at(pixel + k * step) for k in range(-2, 3)]
            farther, before, after, beyond = (right - left for left, right in pairwise(row))
            with np.errstate(invalid="ignore"):  # NaN where a pixel has no depth
                even = abs(before - after) <= slack
                sides = [
                    np.where((abs(one) <= slack) | even | (abs(one - next_) <= slack), one, np.inf)
                    for one, next_ in ((before, farther), (after, beyond))
                ]
            smaller = np.where(abs(sides[0]) < abs(sides[1]), *sides)
            found[:, axis] = np.where(np.isinf(smaller), 0.0, smaller)
        return found
