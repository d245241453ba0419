"""Points that move together as a rigid body, found one group after the other. For simple cases.

Before a camera that is far enough away, the track of any point of a flat rigid body is a mixture of three of its other
tracks, the same in all frames, and its shares add up to 1. So three tracks are drawn that may belong together, and
everything that is such a mixture of them is a group, if nothing else draws a larger one.
(Tomasi and Kanade 1992; J.-P. Costeira and T. Kanade 1998)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import PointsError
from tapsdk.motion.seen import Seen, check_tracks

Floats = NDArray[np.float64]

SAMPLES = 400
"""Of three tracks, that are tried for each group."""
NEIGHBOURS = 8
"""Tracks that go most nearly alongside the first of a sample, of which the other two are drawn."""
FEWEST_FRAMES = 4
"""In which four tracks must be seen for one of them to be told from a mixture of the others."""
REFITS = 3
SINGULAR = 1e-9


def rigid_groups(
    xy: ArrayLike,
    visible: ArrayLike,
    *,
    threshold: float = 1.5,
    least: int = 5,
    most: int | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """[N] the number of each point's group, the largest group being 0; -1 for points of none.

        labels = tapsdk.motion.rigid_groups(tracks.xy, tracks.visible, threshold=2)

    It tells apart bodies that move differently and for long enough to show it. Bodies that stand still, or that a
    moving camera passes, are one group with the background if that is flat. `training.clustering` does better where
    bodies are solid, turn in depth or are often hidden.

    xy: [N, T, 2] pixels. visible: [N, T] bool. threshold: pixels, root mean square, that a point may be off its group.
    least: points of a group. most: groups. seed: of the samples that are tried. Raises PointsError.
    """
    seen = check_tracks(xy, visible)
    if not threshold > 0:
        raise PointsError(f"threshold must be a positive number of pixels, got {threshold}")
    if least < 4:
        raise PointsError(f"least must be 4 or more, as any three points are a group, got {least}")
    rng = np.random.default_rng(seed)
    labels = np.full(len(seen.xy), -1)
    groups = len(seen.xy) if most is None else most
    for group in range(groups):
        free = np.flatnonzero(labels < 0)
        members = _largest_group(Seen(seen.xy[free], seen.which[free]), threshold, rng)
        if members.sum() < least:
            break
        labels[free[members]] = group
    return _by_size(labels)


def _largest_group(seen: Seen, threshold: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[N] whether each point belongs to the largest group that was drawn."""
    if len(seen.xy) < 4:
        return np.zeros(len(seen.xy), np.bool_)
    members = _off_mixture(seen, _samples(seen, rng)) < threshold
    best: NDArray[np.bool_] = members[members.sum(axis=1).argmax()]
    for _ in range(REFITS if best.sum() >= 3 else 0):
        larger = _off_mixture(seen, _draw(np.flatnonzero(best), rng)) < threshold
        candidate = larger[larger.sum(axis=1).argmax()]
        if candidate.sum() <= best.sum():
            break
        best = candidate
    return best


def _samples(seen: Seen, rng: np.random.Generator) -> NDArray[np.int64]:
    """[S, 3] points that may belong together: one, and two of those that keep their distance from it best."""
    first = rng.integers(len(seen.xy), size=SAMPLES)
    spread = _spread(seen, first)
    spread[np.arange(SAMPLES), first] = np.inf
    near = spread.argsort(axis=1, kind="stable")[:, : min(NEIGHBOURS, len(seen.xy) - 1)]
    chosen = rng.random(near.shape).argsort(axis=1)[:, :2]
    return np.concatenate([first[:, None], np.take_along_axis(near, chosen, axis=1)], axis=1)


def _spread(seen: Seen, points: NDArray[np.int64]) -> Floats:
    """[S, N] how much the way from each of some points [S] to each point changes: its variance; infinite where the two
    are hardly seen together."""
    one, other = seen.which[points].astype(np.float64), seen.which.astype(np.float64)
    count = one @ other.T
    square = np.zeros_like(count)
    for axis in (0, 1):
        x = seen.xy[..., axis]  # 0 where it does not count
        squares = (x[points] ** 2) @ other.T - 2 * x[points] @ x.T + one @ (x**2).T
        means = (x[points] @ other.T - one @ x.T) / np.maximum(count, 1)
        square += squares - count * means**2
    return np.where(count >= FEWEST_FRAMES, square / np.maximum(count, 1), np.inf)


def _draw(points: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """[S, 3] of these points, no two alike."""
    drawn: NDArray[np.int64] = points[rng.random((SAMPLES, len(points))).argpartition(2, axis=1)[:, :3]]
    return drawn


def _off_mixture(seen: Seen, samples: NDArray[np.int64]) -> Floats:
    """[S, N] pixels, root mean square, by which each track is off the best mixture of three samples [S, 3].

    Least squares over the frames in which all four are seen, by sums of products, for all samples and points at a time;
    infinite where those are too few, or the sample lies on a line.
    """
    points = len(seen.xy)
    base, *others = (seen.xy[samples[:, i]] for i in range(3))
    together = np.asarray(seen.which[samples].all(axis=1))
    sides = [((other - base) * together[..., None]).reshape(len(samples), -1) for other in others]
    base = (base * together[..., None]).reshape(len(samples), -1)
    track = seen.xy.reshape(points, -1)
    seen2 = np.repeat(seen.which, 2, axis=1).astype(np.float64)
    both2 = np.repeat(together, 2, axis=1).astype(np.float64)
    a, b, c = ((one * other) @ seen2.T for one, other in ((sides[0], sides[0]), (sides[0], sides[1]), (sides[1],) * 2))
    right = [side @ track.T - (side * base) @ seen2.T for side in sides]
    square = both2 @ (track**2).T - 2 * base @ track.T + (base**2) @ seen2.T
    determinant = a * c - b * b
    frames = (both2 @ seen2.T) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (c * right[0] - b * right[1]) / determinant
        second = (a * right[1] - b * right[0]) / determinant
        rest = np.maximum(square - first * right[0] - second * right[1], 0) / frames
    sound = (determinant > SINGULAR * a * c) & (frames >= FEWEST_FRAMES)
    return np.sqrt(np.where(sound, rest, np.inf))


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same groups, numbered from the largest."""
    sizes = np.bincount(labels[labels >= 0])
    rank = np.empty(len(sizes) + 1, np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    rank[-1] = -1
    return rank[labels]
