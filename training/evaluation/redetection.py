"""How well points are found again: AJ_RD, the re-detection metric of TAPNext++, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.metrics import THRESHOLDS, check_shapes
from training.evaluation.report import Metrics, mean_of_known, weighted_mean

Event: TypeAlias = tuple[int, int, int, int]
"""Video, point, the frame in which it is seen again, and for how many frames it was not."""

DURATIONS = (1, 4, 16, 64, 256)
"""Frames for which a point was gone at least."""


def aj_rd(
    gt_occluded: ArrayLike,
    gt_tracks: ArrayLike,
    pred_occluded: ArrayLike,
    pred_tracks: ArrayLike,
    *,
    distances: Sequence[float] = THRESHOLDS,
    durations: Sequence[int] = DURATIONS,
) -> dict[str, float]:
    """Scores what predicted tracks do from the moment on in which a point is seen again, to the end of the video.

        aj_rd(occluded, tracks, predicted_occluded, predicted_tracks)["AJ_RD"]

    A point that starts hidden is seen again with its first appearance. Of one point only returns after a longer
    absence than all of its earlier ones count.

    Args:
        gt_occluded, pred_occluded: [B, N, T] bool.
        gt_tracks, pred_tracks: [B, N, T, 2] (x, y) in pixels at 256x256.
        distances: pixels within which, borders included, a position counts as right.
        durations: frames; returns after a shorter absence are left out.
    Returns:
        AJ_RD_D{distance}_dmin{duration}: the mean Jaccard of these returns, in all videos together;
        AJ_RD_dmin{duration} and AJ_RD: means over distances, then over durations. NaN without returns; means leave NaN
        out.
    Raises:
        TracksError for shapes that do not fit together.
    """
    check_shapes(gt_occluded, gt_tracks, pred_occluded, pred_tracks)
    gone, scores = _scored((gt_occluded, gt_tracks), (pred_occluded, pred_tracks), distances)
    metrics: dict[str, float] = {}
    for duration in durations:
        means = [mean_of_known(scores[gone >= duration, i]) for i in range(len(distances))]
        metrics |= {f"AJ_RD_D{d:g}_dmin{duration}": value for d, value in zip(distances, means, strict=True)}
        metrics[f"AJ_RD_dmin{duration}"] = mean_of_known(means)
    return metrics | _over_durations(metrics, durations)


def redetection(truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike]) -> Metrics:
    """Of one video: AJ_RD, AJ_RD_dmin{duration}, and returns_dmin{duration}, how many returns that is a mean of.

    truth, predicted: occluded [1, N, T], tracks [1, N, T, 2], as for `aj_rd`.
    """
    check_shapes(*truth, *predicted)
    gone, scores = _scored(truth, predicted, THRESHOLDS)
    metrics: Metrics = {}
    for duration in DURATIONS:
        metrics[f"AJ_RD_dmin{duration}"] = mean_of_known(scores[gone >= duration].ravel())
        metrics[f"returns_dmin{duration}"] = float((gone >= duration).sum())
    return metrics | _over_durations(metrics)


def pool_redetection(rows: Sequence[Metrics]) -> Metrics:
    """What `aj_rd` says of all videos together, from what `redetection` says of each: returns count alike, wherever."""
    pooled: Metrics = {}
    for duration in DURATIONS:
        name, count = f"AJ_RD_dmin{duration}", f"returns_dmin{duration}"
        pooled |= {name: weighted_mean(rows, name, count), count: sum(row[count] for row in rows)}
    return pooled | _over_durations(pooled)


def returns(seen: NDArray[np.bool_]) -> list[Event]:
    """When points [B, N, T] are seen again after a longer absence than ever before."""
    events = []
    for b, n in np.ndindex(*seen.shape[:2]):
        gone = longest = 0
        for t, is_seen in enumerate(seen[b, n]):
            if is_seen and gone > longest:
                events.append((b, n, t, gone))
                longest = gone
            gone = 0 if is_seen else gone + 1
    return events


def _over_durations(metrics: Metrics, durations: Sequence[int] = DURATIONS) -> Metrics:
    return {"AJ_RD": mean_of_known(metrics[f"AJ_RD_dmin{duration}"] for duration in durations)}


def _scored(
    truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike], distances: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For how many frames each point that is seen again was gone [E], and its Jaccard from then on [E, distances]."""
    seen, predicted_seen = (~np.asarray(occluded, bool) for occluded, _ in (truth, predicted))
    error = np.linalg.norm(np.asarray(predicted[1], np.float64) - np.asarray(truth[1], np.float64), axis=-1)
    events = returns(seen)
    scores = [
        [_jaccard(seen[b, n, t:], predicted_seen[b, n, t:], error[b, n, t:] <= distance) for distance in distances]
        for b, n, t, _ in events
    ]
    gone = np.array([duration for *_, duration in events], np.int64)
    return gone, np.array(scores, np.float64).reshape(len(events), len(distances))


def _jaccard(seen: NDArray[np.bool_], predicted: NDArray[np.bool_], close: NDArray[np.bool_]) -> float:
    right = int((seen & predicted & close).sum())
    wrong = int((predicted & ~(seen & close)).sum())
    return right / (int(seen.sum()) + wrong)
