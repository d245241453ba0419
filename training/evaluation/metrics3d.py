"""TAPVid-3D's metrics (Koppula et al. 2024, arXiv:2407.05921), in numpy, equal to the published definition.

Where the published code fails on input that it documents, the intended value is computed: "median" and "mean" scale
each video of a batch by itself, "per_trajectory" takes queries without a batch axis, and "local_neighborhood" gives
metrics of whole videos, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import TracksError
from training.evaluation.metrics import THRESHOLDS, check_shapes

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

FIXED_METRES = (0.01, 0.04, 0.16, 0.64, 2.56)
"""What stands for `THRESHOLDS` if these are not to grow with depth."""
SCALINGS = (
    "median",
    "mean",
    "none",
    "per_trajectory",
    "reproduce_2d",
    "median_on_queries",
    "local_neighborhood",
)
ON_QUERIES = ("per_trajectory", "median_on_queries", "local_neighborhood")
"""Scalings that look at the frames in which points are asked for."""
ORDERS = ("nt", "tn", "bnt", "btn")
LEAST = 1e-12
"""Of depths, and of squared distances from the camera, by which is divided."""


@dataclass(frozen=True, eq=False)
class _Video:
    """Truth and prediction: seen [N, T], xyz [N, T, 3] in metres, and thresholds [5, N, T], squared."""

    seen: Flags
    xyz: Numbers
    predicted_seen: Flags
    predicted: Numbers
    thresholds: Numbers


def tapvid3d_metrics(
    gt_occluded: ArrayLike,
    gt_tracks: ArrayLike,
    pred_occluded: ArrayLike,
    pred_tracks: ArrayLike,
    intrinsics: ArrayLike,
    *,
    scaling: str = "median",
    query_points: ArrayLike | None = None,
    fixed_thresholds: bool = False,
    per_track: bool = False,
    neighborhood: float = 0.05,
    order: str = "nt",
) -> dict[str, NDArray[Any]]:
    """Scores predicted tracks in metres, per video or per track. All frames count, those of the queries too.

        tapvid3d_metrics(occluded, xyz, predicted_occluded, predicted_xyz, (fx, fy, cx, cy))["average_jaccard"]

    Args:
        gt_occluded, pred_occluded: [N, T] bool, or with other axes, see `order`.
        gt_tracks, pred_tracks: [N, T, 3] (x, y, z) in metres, in the camera of each frame, z forward.
        intrinsics: [4] or [B, 4] (fx, fy, cx, cy) of the size at which distances are measured; the benchmark's is
            256 for the shorter side, and `training.evaluation.evaluate3d` scales to it.
        scaling: by what predictions are multiplied before they are compared. "median" and "mean": one number for each
            video, the ratio of the median or mean distances from the camera, of what both call visible; "none":
            nothing; "per_trajectory": so that a track has the true depth in its query's frame; "reproduce_2d": so that
            every point has its true depth; "median_on_queries": "median" in the queries' frames alone;
            "local_neighborhood": "per_trajectory", and each track scores all points that are near its own in the same
            frame.
        query_points: [N, 3] or [B, N, 3] (t, y, x), of which t is used, by the scalings of `ON_QUERIES`.
        fixed_thresholds: distances are `FIXED_METRES`, not pixels at the true depth.
        per_track: a value for each track.
        neighborhood: metres, of "local_neighborhood".
        order: of the axes, one of `ORDERS`; b are videos, n points, t frames.
    Returns:
        occlusion_accuracy; pts_within_D and jaccard_D for D in 1, 2, 4, 8, 16 pixels; their means
        average_pts_within_thresh and average_jaccard. [B] each, or [B, N] per track; without a batch B is 1, but
        "local_neighborhood" gives a number, or [N], then. NaN where there is nothing to score.
    Raises:
        ValueError for another scaling or order, TracksError for arrays that do not fit together.
    """
    order = order.replace(" ", "")
    if scaling not in SCALINGS:
        raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}, got {scaling!r}")
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    check_shapes(gt_occluded, gt_tracks, pred_occluded, pred_tracks, order, coordinates=3)
    seen, predicted_seen = (~_batched(flags, order).astype(bool) for flags in (gt_occluded, pred_occluded))
    xyz, predicted = (_batched(tracks, order).astype(np.float64) for tracks in (gt_tracks, pred_tracks))
    if not len(seen):
        raise TracksError(f"gt_occluded has no videos: its shape is {list(np.shape(gt_occluded))}")
    focal = _focal_lengths(intrinsics, len(seen))
    queries = _query_frames(query_points, seen.shape) if scaling in ON_QUERIES else [None] * len(seen)
    found = []
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for b, frames in enumerate(queries):
            thresholds = _thresholds(xyz[b], focal[b], fixed_thresholds)
            video = _Video(seen[b], xyz[b], predicted_seen[b], predicted[b], thresholds)
            near = neighborhood if scaling == "local_neighborhood" else None
            sums = _sums(video, _scale(video, scaling, frames), near)
            found.append(_metrics(sums if per_track else sums.sum(axis=-1)))
    metrics = {name: np.stack([of_video[name] for of_video in found]) for name in found[0]}
    if scaling == "local_neighborhood" and "b" not in order:
        return {name: values[0] for name, values in metrics.items()}
    return metrics


def _batched(array: ArrayLike, order: str) -> NDArray[Any]:
    """[B, N, T, ...]"""
    array = np.asarray(array)
    if "b" not in order:
        array = array[None]
    return array.swapaxes(1, 2) if order.endswith("tn") else array


def _focal_lengths(intrinsics: ArrayLike, videos: int) -> Numbers:
    """[B], the mean of fx and fy in the sense of logarithms."""
    table = np.asarray(intrinsics, np.float64)
    if table.shape not in ((4,), (videos, 4)):
        raise TracksError(f"intrinsics must have shape [4] or [{videos}, 4], got {list(table.shape)}")
    if not (np.isfinite(table).all() and (table[..., :2] > 0).all()):
        raise TracksError("intrinsics must be finite (fx, fy, cx, cy) with positive focal lengths, in pixels")
    return np.broadcast_to(np.sqrt(table[..., 0] * table[..., 1]), (videos,))


def _query_frames(query_points: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """[B, N]"""
    if query_points is None:
        raise TracksError("this scaling needs query_points, [N, 3] (t, y, x)")
    videos, points, frames = shape
    points_tyx = np.asarray(query_points, np.float64)
    if points_tyx.shape == (points, 3) and videos == 1:
        points_tyx = points_tyx[None]
    if points_tyx.shape != (videos, points, 3):
        raise TracksError(f"query_points must have shape [{videos}, {points}, 3], got {list(points_tyx.shape)}")
    t = np.round(points_tyx[..., 0])
    if not ((t >= 0) & (t < frames)).all():
        raise TracksError(f"query_points must be (t, y, x) with t from 0 to {frames - 1}, the last frame")
    return t.astype(np.int64)


def _thresholds(xyz: Numbers, focal: np.float64, fixed: bool) -> Numbers:
    if fixed:
        return np.broadcast_to(np.square(FIXED_METRES)[:, None, None], (len(FIXED_METRES), *xyz.shape[:2]))
    return np.square(np.array(THRESHOLDS, np.float64)[:, None, None] * xyz[..., 2] / focal)


def _scale(video: _Video, scaling: str, frames: NDArray[np.int64] | None) -> Numbers:
    """What predictions are to be multiplied by, [N, T, 1] or with axes of 1."""
    depth, predicted_depth = video.xyz[..., 2:], video.predicted[..., 2:]
    if scaling == "none":
        return np.ones((1, 1, 1))
    if scaling == "reproduce_2d":
        return depth / predicted_depth
    rows = np.arange(len(depth))
    if scaling in ("per_trajectory", "local_neighborhood"):
        at_query, predicted_there = (np.maximum(z[rows, frames], LEAST)[:, None] for z in (depth, predicted_depth))
        return at_query / predicted_there
    both = video.seen & video.predicted_seen
    distance, predicted = (
        np.sqrt(np.maximum(LEAST, np.square(points).sum(axis=-1))) for points in (video.xyz, video.predicted)
    )
    if scaling == "median_on_queries":
        both, distance, predicted = (array[rows, frames] for array in (both, distance, predicted))
    average: Callable[[Numbers], np.float64] = np.mean if scaling == "mean" else np.median
    ratio = _of_known(average, distance[both]) / _of_known(average, predicted[both])
    return np.full((1, 1, 1), ratio)


def _of_known(average: Callable[[Numbers], np.float64], values: Numbers) -> np.float64:
    known = values[~np.isnan(values)]
    return average(known) if known.size else np.float64(np.nan)


def _sums(video: _Video, scale: Numbers, near: float | None) -> Numbers:
    """[18, N], of each track: frames, those in which visibility is right, and those in which the point is visible; then
    for every threshold the true positives, the false ones, and the visible points within.

    near: metres; a track is then made of all points so close to its own, in the same frame, weighted so that it counts
    for as many visible frames as before.
    """
    if near is None:
        return _counts(video, scale).sum(axis=-1)
    rows = np.zeros((3 + 3 * len(THRESHOLDS), len(video.seen)))
    for row, xyz in enumerate(video.xyz):
        close = np.square(video.xyz - xyz).sum(axis=-1) < near**2
        parts = (video.seen, video.xyz, video.predicted_seen, video.predicted)
        gathered = _Video(*(part[close] for part in parts), video.thresholds[:, close])
        weight = video.seen[row].sum() / max(1, gathered.seen.sum())
        rows[:, row] = weight * _counts(gathered, scale[row]).sum(axis=-1)
    return rows


def _counts(video: _Video, scale: Numbers) -> Numbers:
    """[18, ...] of the points of a video, what `_sums` is the sum of."""
    within = np.square(video.predicted * scale - video.xyz).sum(axis=-1) < video.thresholds
    close, called = within & video.seen, video.predicted_seen
    plain = np.stack([np.ones_like(called), called == video.seen, video.seen])
    return np.concatenate([plain, close & called, called & ~close, close]).astype(np.float64)


def _metrics(sums: Numbers) -> dict[str, NDArray[Any]]:
    frames, agree, visible = sums[:3]
    hits, false, close = np.split(sums[3:], 3)
    jaccard, within = hits / (visible + false), close / visible
    metrics = {"occlusion_accuracy": agree / frames}
    for i, d in enumerate(THRESHOLDS):
        metrics |= {f"pts_within_{d}": within[i], f"jaccard_{d}": jaccard[i]}
    return metrics | {"average_jaccard": jaccard.mean(axis=0), "average_pts_within_thresh": within.mean(axis=0)}
