"""Which surface a point is on in each frame, if any: what a tracker says, checked against depth.

A tracker that believes that it sees a point where something else has come before it gives the depth of that. So a
point is followed in depth, from its query forwards and backwards: wherever it is seen, its surface must be about where
its own motion, and the camera's, would have put it. Where it is not, but another surface within a pixel is,
as at the edge of an object, that one is the point's. Where none is, the point is not seen. What is nearer than the
point by less than the tolerance cannot be told from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapsdk.space.camera import Floats, inverse

Flags = NDArray[np.bool_]

WINDOW = 9
"""Frames whose median says how fast a point comes nearer; an occluder's coming and going are two steps among them."""
FEWEST_STEPS, MOST_STEPS, STEADY = 3, 0.7, 0.05
"""How many steps must be known, and which share of them must be alike, to so much of the depth."""
FADE = 0.9
"""A frame, of what a point that is not seen has gone beside what most points go."""
GROWTH, MOST_GROWN = 0.1, 2.0
"""How much more tolerance there is for every frame in which a point was not seen, and at most."""
PIXELS_OFF = 1.5
"""That a tracker may be wrong by, which matters on steep surfaces."""
NOISES, MOST_NOISE = 3.0, 0.3
"""How many standard deviations a surface may be off, and at most."""
NORMAL = 1.4826
"""Standard deviations in a median deviation."""
SIDEWAYS = 0.5
"""What a frame counts, in which the point is on the surface beside its pixel's."""
CLEARLY = 1.2
"""Times as much must speak for the surface beside the query's pixel as for that of the pixel."""


@dataclass(frozen=True, eq=False)
class Sightings:
    """What was found at N tracks in T frames, each [N, T].

    near, other, slope, clean: of `tapsdk.space.surfaces.Surfaces`. ahead: [N, T, 3], points of depth 1, see
    `tapsdk.space.camera.rays`. seen: the tracker sees the point. trust: its confidence. poses: [T, 4, 4].
    """

    near: Floats
    other: Floats
    slope: Floats
    clean: Flags
    ahead: Floats
    seen: Flags
    trust: Floats
    poses: Floats


@dataclass(frozen=True, eq=False)
class Verdict:
    """depth: [N, T] of the points, NaN where not even a guess is to be had. beside: [N, T], it is that of a surface
    beside the pixel's own. visible: [N, T]."""

    depth: Floats
    beside: Flags
    visible: Flags


def judge(found: Sightings, start: NDArray[np.intp], tolerance: float) -> Verdict:
    """What each point is on. start: [N], the frame that each is asked for in, where its surface is what is seen.

    tolerance: share of its depth by which a point's surface may be off in the next frame; more where depth is noisy.
    """
    first = _first_known(found, start)
    paces, noise = _paces(found)
    tolerance = max(tolerance, min(NOISES * noise, MOST_NOISE))
    one = _Chain(found, paces, tolerance).run(first, found.near)
    two = _Chain(found, paces, tolerance).run(first, found.other)
    swap = _support(found, two) > CLEARLY * _support(found, one)
    parts = [
        np.where(swap[:, None], b, a)
        for a, b in ((one.depth, two.depth), (one.beside, two.beside), (one.visible, two.visible))
    ]
    return Verdict(*parts)


def _support(found: Sightings, verdict: Verdict) -> Floats:
    """[N] of the frames that agree, each as far as the tracker is sure."""
    weight = np.where(verdict.beside, SIDEWAYS, 1.0) * found.trust
    return np.asarray((weight * verdict.visible).sum(axis=1))


def _first_known(found: Sightings, start: NDArray[np.intp]) -> NDArray[np.intp]:
    """[N] frames, the nearest to `start` in which the point is seen and has depth; -1 for none."""
    good = found.seen & np.isfinite(found.near)
    away = np.where(good, abs(np.arange(good.shape[1]) - start[:, None]), np.inf)
    return np.where(good.any(axis=1), away.argmin(axis=1) if good.shape[1] else 0, -1)


class _Chain:
    """Follows all points from one surface of their first frame."""

    def __init__(self, found: Sightings, paces: Floats, tolerance: float) -> None:
        self._found, self._tolerance = found, tolerance
        self._to_camera = inverse(found.poses)
        known = [pace[np.isfinite(pace)] for pace in paces.T]
        # What the camera's own motion looks like, where its poses do not say.
        self._common = np.array([np.median(pace) if len(pace) else 0.0 for pace in known])
        self._own = paces - self._common
        points, frames = found.near.shape
        self._depth = np.full((points, frames), np.nan)
        self._beside = np.zeros((points, frames), bool)
        self._visible = np.zeros((points, frames), bool)

    def run(self, first: NDArray[np.intp], surface: Floats) -> Verdict:
        """first: [N] frames to begin in. surface: [N, T], the depth that points have there; NaN where they do not."""
        frames = self._found.near.shape[1]
        self._follow(range(frames), 1, first, surface)
        self._follow(range(frames - 1, -1, -1), -1, first, surface)
        return Verdict(self._depth, self._beside, self._visible)

    def _follow(self, order: range, direction: int, first: NDArray[np.intp], surface: Floats) -> None:
        found = self._found
        points = len(found.near)
        # Where each point was last seen, how many frames ago, and how far it has gone in depth by itself since.
        place, ago, drift = np.full((points, 3), np.nan), np.zeros(points), np.zeros(points)
        own, begun = np.zeros(points), np.zeros(points, bool)
        for t in order:
            ago += 1
            step = t if direction > 0 else min(t + 1, order.start)
            own = np.where(np.isnan(self._own[:, step]), FADE * own, self._own[:, step])
            drift += direction * (self._common[step] + own)
            begins = first == t
            expected = np.where(begins, surface[:, t], _depth_from(self._to_camera[t], place) + drift)
            usual = self._tolerance * np.minimum(1 + GROWTH * (ago - 1), MOST_GROWN) + PIXELS_OFF * found.slope[:, t]
            slack = np.log1p(np.where(begins, 0, usual)) + 1e-9
            fits, beside = self._choose(t, expected, slack)
            begun |= begins & fits
            fits &= begun
            depth = np.where(beside, found.other[:, t], found.near[:, t])
            self._depth[fits, t], self._beside[fits, t] = depth[fits], beside[fits]
            sure = fits & found.seen[:, t]
            self._visible[sure, t] = True
            place[sure] = _places(found, t, depth)[sure]
            ago[sure], drift[sure] = 0, 0

    def _choose(self, t: int, expected: Floats, slack: Floats) -> tuple[Flags, Flags]:
        """[N] whether a surface is where the point is expected, and whether that is the one beside the pixel's."""
        with np.errstate(invalid="ignore", divide="ignore"):
            off = [
                abs(np.log(depth[:, t] / np.maximum(expected, 1e-9))) for depth in (self._found.near, self._found.other)
            ]
        near, other = off[0] <= slack, off[1] <= slack
        beside = other & ~near
        return near | other, beside


def _places(found: Sightings, t: int, depth: Floats) -> Floats:
    """[N, 3] in the world of points at depth [N] in a frame."""
    pose = found.poses[t]
    return np.asarray((found.ahead[:, t] * depth[:, None]) @ pose[:3, :3].T + pose[:3, 3])


def _depth_from(to_camera: Floats, place: Floats) -> Floats:
    """Depth [N] of points [N, 3] of the world from a camera; NaN behind it."""
    depth = place @ to_camera[2, :3] + to_camera[2, 3]
    return np.where(depth > 0, depth, np.nan)


def _paces(found: Sightings) -> tuple[Floats, float]:
    """[N, T] how far a point goes in depth to each frame from the one before, metres, beside what the poses of the
    camera explain: the median over neighbouring steps, NaN where these are too few or too different.

    And the noise of depth, of which that of a step is made: a standard deviation as a share of depth.
    """
    to_camera = inverse(found.poses)
    paces, steps, off = (np.full(found.near.shape, np.nan) for _ in range(3))
    both = found.seen[:, 1:] & found.seen[:, :-1]
    for t in range(1, found.near.shape[1]):
        step = found.near[:, t] - _depth_from(to_camera[t], _places(found, t - 1, found.near[:, t - 1]))
        steps[:, t] = np.where(both[:, t - 1], step, np.nan)
    padded = np.pad(steps, ((0, 0), (WINDOW // 2, WINDOW // 2)), constant_values=np.nan)
    for t in range(found.near.shape[1]):
        window = np.sort(padded[:, t : t + WINDOW], axis=1)  # NaN last
        count = np.isfinite(window).sum(axis=1)
        middle = window[np.arange(len(window)), np.maximum(count - 1, 0) // 2]
        off[:, t] = abs(steps[:, t] - middle) / found.near[:, t]
        alike = (abs(window - middle[:, None]) <= STEADY * found.near[:, t, None]).sum(axis=1)
        steady = (count >= FEWEST_STEPS) & (alike >= MOST_STEPS * count)
        paces[:, t] = np.where(steady, middle, np.nan)
    known = off[np.isfinite(off)]
    return paces, NORMAL * float(np.median(known)) if len(known) >= WINDOW else 0.0
