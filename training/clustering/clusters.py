"""`cluster`: what it takes, what it refuses, and what it gives."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.geometry import Size
from training.clustering.errors import ClusterError

if TYPE_CHECKING:
    from training.clustering.network import Evidence

FEWEST = 3
"""Groups that may be asked for: removing them goes by how the error grows without one of several."""
LEAST_SEEN = 0.1
"""Points that are seen in no larger share of the frames are thrown out."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """N points in K groups.

    labels: [N] int64, the group of each point, the largest group being 0; -1 for points that were thrown out.
    error: [N, K] float32, of each point and group: squared distances of the point from where the group would have it,
        in shares of the frame's longer side, summed over the frames in which it is seen; NaN for points thrown out.
    kept: [N] bool, points that are seen often enough.
    """

    labels: NDArray[np.int64]
    error: NDArray[np.float32]
    kept: NDArray[np.bool_]


def cluster(
    tracks: ArrayLike,
    visible: ArrayLike,
    size: Size,
    clusters: int = 7,
    most: int = 12,
    boundaries: ArrayLike | None = None,
    em: bool = False,
    six_dof: bool = False,
    seed: int = 0,
) -> Clusters:
    """Groups points by the rigid motion of what they lie on.

    tracks: [N, T, 2] (x, y) in pixels; what is not seen may be NaN. Of several demonstrations, in each of which the
        same points were tracked: their frames one after the other.
    visible: [N, T] bool. size: (height, width) of the frames.
    clusters: groups at the end, from 3. most: groups in between, before the least useful are removed again; no more
        than there are points.
    boundaries: the first frame of each demonstration and the one after its last, [[0, 24], [24, 40]]; one demonstration
        if left out.
    em: points may belong to several groups while the network is fitted, which passes over some local minima.
    six_dof: groups may turn in depth, and in the end slant as flat things do that turn. Without, they turn in the
        picture, move, and come closer, and different objects are less often explained as one that turns.
    seed: of all that is random; the same seed gives the same groups.
    Raises ClusterError.
    """
    positions, seen = _checked_tracks(tracks, visible)
    _check_size(size)
    demonstrations = _demonstrations(boundaries, seen.shape[1])
    clusters, most, seed = (_whole(*each) for each in (("clusters", clusters), ("most", most), ("seed", seed)))
    kept = seen.mean(axis=1) > LEAST_SEEN if seen.size else np.zeros(len(seen), np.bool_)
    _check_numbers(clusters, most, int(kept.sum()))

    from training.clustering.fit import Recipe, fit

    # The published code divides x by the width and y by the height, so that in wide frames a turn is none any more.
    shares = np.where(seen[..., None], positions, 0)[kept] / max(size)
    evidence = _evidence(shares, seen[kept], demonstrations)
    errors = fit(evidence, Recipe(clusters, min(most, int(kept.sum())), em, six_dof, seed)).numpy()
    return _result(errors, kept)


def _result(errors: NDArray[np.float32], kept: NDArray[np.bool_]) -> Clusters:
    """Of errors [K, points that were kept]; groups are sorted by size."""
    if not np.isfinite(errors).all():
        raise ClusterError("some positions are so far off that they cannot be computed with; mark them as not visible")
    sizes = np.bincount(errors.argmin(axis=0), minlength=len(errors))
    errors = errors[np.argsort(-sizes, kind="stable")]
    labels = np.full(len(kept), -1)
    labels[kept] = errors.argmin(axis=0)
    error = np.full((len(kept), len(errors)), np.nan, np.float32)
    error[kept] = errors.T
    return Clusters(labels, error, kept)


def _evidence(
    shares: NDArray[np.float64], seen: NDArray[np.bool_], demonstrations: tuple[tuple[int, int], ...]
) -> Evidence:
    import torch

    from training.clustering.network import Evidence

    return Evidence(torch.tensor(shares, dtype=torch.float32), torch.tensor(seen, dtype=torch.float32), demonstrations)


def _checked_tracks(tracks: ArrayLike, visible: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    try:
        positions, seen = np.asarray(tracks, np.float64), np.asarray(visible)
    except (TypeError, ValueError) as error:
        raise ClusterError(f"tracks must be numbers [N, T, 2]: {error}") from None
    if positions.ndim != 3 or positions.shape[2] != 2:
        raise ClusterError(f"tracks must have shape [N, T, 2] (x, y), got {list(positions.shape)}")
    if seen.shape != positions.shape[:2]:
        raise ClusterError(f"visible must have shape {list(positions.shape[:2])} to fit tracks, got {list(seen.shape)}")
    if not np.isin(seen, (0, 1)).all():
        raise ClusterError("visible must be true or false, or 1 or 0, everywhere")
    seen = seen.astype(np.bool_)
    wrong = seen & ~np.isfinite(positions).all(axis=2)
    if wrong.any():
        point, frame = np.argwhere(wrong)[0].tolist()
        raise ClusterError(
            f"tracks has no number for point {point} in frame {frame}, where visible says that it is seen; "
            "mark it as not visible"
        )
    return positions, seen


def _check_size(size: Any) -> None:
    if np.shape(size) != (2,) or not min(size) > 0:
        raise ClusterError(f"size must be (height, width) of the frames, both positive, got {size}")


def _check_numbers(clusters: int, most: int, points: int) -> None:
    if clusters < FEWEST:
        raise ClusterError(f"clusters is {clusters}; it must be at least {FEWEST}")
    if most < clusters:
        raise ClusterError(f"most is {most}; it must be at least clusters, which is {clusters}")
    if points < clusters:
        raise ClusterError(
            f"{clusters} clusters need as many points that are seen in more than {LEAST_SEEN:.0%} of the frames, got "
            f"{points}; track more points, or ask for fewer clusters"
        )


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ClusterError(f"{name} must be a whole number, got {value!r}") from None


def _demonstrations(boundaries: ArrayLike | None, frames: int) -> tuple[tuple[int, int], ...]:
    if boundaries is None:
        return ((0, frames),)
    wrong = ClusterError(
        f"boundaries must be the first frame of each demonstration and the one after its last, together all {frames} "
        f"frames in order, such as [[0, 24], [24, 40]]; got {boundaries}"
    )
    try:
        pairs = np.asarray(boundaries)
    except ValueError:
        raise wrong from None
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise wrong
    ends: Sequence[int] = [0, *pairs[:, 1].tolist()]
    if pairs[:, 0].tolist() != ends[:-1] or ends[-1] != frames or not (pairs[:, 1] > pairs[:, 0]).all():
        raise wrong
    return tuple((first, end) for first, end in pairs.tolist())
