"""Points follow the picture from frame to frame, and the model pulls them to where it recognises them.

A model compares every frame with the query's: its estimates do not drift, but they waver, and fail where a point has
changed its looks. Lucas-Kanade compares a frame with the one before: precise for a step, but its errors add up, and
it goes with whatever covers a point. So a point takes the step that the picture takes, if the way back leads to where
it was and the model does not say that it is hidden. It is pulled to the model's estimate, slowly, as far as the model
is sure; it is put there where there is no step to trust, and also where the model is sure of another place.

Certainty is that of the position that comes out: the model's, less what speaks against it. A position that is apart
from the model's estimate has little of it. On a bare surface, with nothing around to tell a place from its neighbours,
the model has to be very sure that it is near.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import tapkernels
from tapsdk.artifact.manifest import FlowFusion, Ramp, Visibility
from tapsdk.geometry import Size, scale_points
from tapsdk.runtime.stages import shares_of

Floats = NDArray[np.float32]

SMALLEST_SIDE = 16
"""Of a level of the pyramid in pixels; one with a shorter side is the last one, as in `tapkernels.lucas_kanade`."""


class Window(Protocol):
    """What `follow` compares around a point: see `FlowFusion`."""

    @property
    def radius(self) -> int: ...
    @property
    def levels(self) -> int: ...


@dataclass(frozen=True)
class Followed:
    """Where the picture took points.

    xy: [N, 2]. missed: [N] pixels of the frame by which the way back missed; 0 for a point that has not moved yet.
    texture: [N] of the picture around each point where it was asked for, see `texture_around`.
    """

    xy: Floats
    missed: Floats
    texture: Floats


@dataclass(frozen=True)
class Sighting:
    """Where a model sees points: xy [N, 2], the probability [N] that a point is seen, and near there if it is."""

    xy: Floats
    seen: Floats
    near: Floats


def sighting(xy: Floats, logits: Mapping[str, Floats], visibility: Visibility, fusion: FlowFusion) -> Sighting:
    """What a model's estimates [N, 2] and logits [N] say."""
    shares = shares_of(logits, visibility)
    seen = shares.pop(fusion.hidden)
    near = np.prod([np.ones_like(seen), *shares.values()], axis=0)
    return Sighting(xy, seen.astype(np.float32), np.asarray(near, np.float32))


def follow(
    window: Window, before: Floats, frame: Floats, xy: Floats, space: Size, threads: int | None = None
) -> tuple[Floats, Floats]:
    """Where points go from one frame to the next, as far as the picture tells.

    Args:
        before, frame: [H, W, 3] float32 in [-1, 1]. Between two sizes nothing can be followed.
        xy: [N, 2] float32 in a space of (height, width) `space`.
        threads: that may work on it; None: as many as the machine has.
    Returns:
        positions [N, 2] in that space, and [N] pixels of the frame by which the way back missed.
    """
    if before.shape != frame.shape:
        return xy, np.full(len(xy), np.inf, np.float32)
    size = (frame.shape[0], frame.shape[1])
    start = np.ascontiguousarray(scale_points(xy, space, size))
    before, frame = np.ascontiguousarray(before), np.ascontiguousarray(frame)
    found = tapkernels.lucas_kanade(before, frame, start, window.radius, window.levels, threads=threads)
    return scale_points(found[:, :2], size, space), found[:, 2]


def fuse(fusion: FlowFusion, followed: Followed, sighting: Sighting) -> tuple[Floats, Floats]:
    """Positions [N, 2] between those of the picture and those of the model, and how certain [N] they are.

    Where the model's is NaN or infinite, the position is that of the picture, with certainty 0.
    """
    sighting = _told(sighting, followed.xy)
    certainty = sighting.seen * sighting.near
    away = sighting.xy - followed.xy
    distance = np.linalg.norm(away, axis=-1)
    trust = (1 - ramp(followed.missed, fusion.slip)) * ramp(sighting.seen, fusion.shown)
    leap = ramp(distance, fusion.apart) * ramp(certainty, fusion.leap)
    share = 1 - trust * (1 - np.maximum(leap, fusion.pull * ramp(certainty, fusion.sure)))
    xy = followed.xy + share[:, None] * away
    bare, usual = fusion.doubt
    doubt = bare + (usual - bare) * ramp(followed.texture, fusion.texture)
    agreement = 1 - ramp((1 - share) * distance, fusion.apart)
    return xy.astype(np.float32), (sighting.seen * sighting.near**doubt * agreement).astype(np.float32)


def _told(sighting: Sighting, followed: Floats) -> Sighting:
    """The same; what is no number is unseen, and where the picture took it. A model may fail on NaN that it gets back.

    followed: [N, 2] where the picture took the points.
    """
    told = np.isfinite(sighting.xy).all(axis=-1) & np.isfinite(sighting.seen * sighting.near)
    seen, near = np.where(told, sighting.seen, 0), np.where(told, sighting.near, 0)
    return Sighting(np.where(told[:, None], sighting.xy, followed), seen, near)


def texture_around(fusion: FlowFusion, frame: Floats, xy: Floats, space: Size) -> Floats:
    """How well the picture around points tells their places from those beside them, [N]; 0 on an even surface.

    It is the smaller eigenvalue of the structure tensor: the mean square of luminance's slope, per pixel and along the
    direction in which it is the least, within the window that `tapkernels.lucas_kanade` follows. Of the levels of the
    pyramid the one counts that has most. (Shi and Tomasi 1994)

    frame: [H, W, 3] float32 in [-1, 1]. xy: [N, 2] in a space of (height, width) `space`.
    """
    at = scale_points(xy, space, (frame.shape[0], frame.shape[1])).astype(np.float64)
    level = frame @ np.array([0.299, 0.587, 0.114], np.float32)
    most = np.zeros(len(xy))
    for i in range(fusion.levels):
        if i:
            level = _halve(level)
        most = np.maximum(most, _least_structure(level, (at - 0.5) / 2**i + 0.5, fusion.radius))
        if min(level.shape) < SMALLEST_SIDE:
            break
    return most.astype(np.float32)


def ramp(values: Floats, ramp: Ramp) -> Floats:
    """From 0 to 1 between two values."""
    low, high = ramp
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)


def _least_structure(level: Floats, at: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """The smaller eigenvalue [N] of the structure tensor around points [N, 2] of a level [H, W]."""
    step = np.arange(-radius, radius + 1.0)
    bell = np.exp(-2 * (step / radius) ** 2)
    weights = np.outer(bell, bell) / bell.sum() ** 2
    around = _windows(level, at, radius + 1)
    slopes = [around[:, 1:-1, 2:] - around[:, 1:-1, :-2], around[:, 2:, 1:-1] - around[:, :-2, 1:-1]]
    x, y = (s / 2 - (s / 2 * weights).sum((1, 2), keepdims=True) for s in slopes)
    xx, yy, xy = ((a * b * weights).sum((1, 2)) for a, b in ((x, x), (y, y), (x, y)))
    return np.asarray((xx + yy - np.hypot(xx - yy, 2 * xy)) / 2)


def _windows(level: Floats, at: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Linear samples [N, 2 reach + 1, 2 reach + 1] around points [N, 2]; a level goes on beyond its edges."""
    height, width = level.shape
    corner = np.nan_to_num(at, nan=0.0) - 0.5 - reach
    first = np.floor(np.clip(corner, -width - height, width + height)).astype(np.int64)
    right, below = np.moveaxis(np.clip(corner - first, 0, 1), -1, 0)[..., None, None]
    step = np.arange(2 * reach + 2)
    rows = np.clip(first[:, 1:] + step, 0, height - 1)[:, :, None]
    columns = np.clip(first[:, :1] + step, 0, width - 1)[:, None, :]
    cells = level[rows, columns].astype(np.float64)
    across = cells[:, :, :-1] * (1 - right) + cells[:, :, 1:] * right
    return np.asarray(across[:, :-1] * (1 - below) + across[:, 1:] * below)


def _halve(level: Floats) -> Floats:
    """Every second cell, the first of them included, of a binomial filter."""
    height, width = level.shape
    padded, kernel = np.pad(level, 2, mode="edge"), np.array([1, 4, 6, 4, 1], np.float32) / 16
    rows = np.add.reduce([share * padded[k : k + height] for k, share in enumerate(kernel)])[::2]
    return np.asarray(np.add.reduce([share * rows[:, k : k + width] for k, share in enumerate(kernel)])[:, ::2])
