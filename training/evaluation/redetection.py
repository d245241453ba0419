"""How well points are found again: AJ_RD, the re-detection metric of TAPNext++, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.metrics import THRESHOLDS, check_shapes
from training.evaluation.report import Metrics, mean_of_known

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
    seen, predicted_seen = (~np.asarray(occluded, bool) for occluded in (gt_occluded, pred_occluded))
    error = np.linalg.norm(np.asarray(pred_tracks, np.float64) - np.asarray(gt_tracks, np.float64), axis=-1)
    events = returns(seen)
    gone = np.array([duration for *_, duration in events])
    scores = np.array(
        [
            [_jaccard(seen[b, n, t:], predicted_seen[b, n, t:], error[b, n, t:] <= distance) for distance in distances]
            for b, n, t, _ in events
        ]
    ).reshape(len(events), len(distances))
    metrics: dict[str, float] = {}
    for duration in durations:
        means = [mean_of_known(scores[gone >= duration, i]) for i in range(len(distances))]
        metrics |= {f"AJ_RD_D{d:g}_dmin{duration}": value for d, value in zip(distances, means, strict=True)}
        metrics[f"AJ_RD_dmin{duration}"] = mean_of_known(means)
    metrics["AJ_RD"] = mean_of_known([metrics[f"AJ_RD_dmin{duration}"] for duration in durations])
    return metrics


def redetection(truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike]) -> Metrics:
    """Of one video: AJ_RD, AJ_RD_dmin{duration}, and returns_dmin{duration}, how many returns that is a mean of.

    truth, predicted: occluded [1, N, T], tracks [1, N, T, 2], as for `aj_rd`.
    """
    scores = aj_rd(*truth, *predicted)
    gone = [duration for *_, duration in returns(~np.asarray(truth[0], bool))]
    named = {name: scores[name] for name in ("AJ_RD", *map("AJ_RD_dmin{}".format, DURATIONS))}
    return named | {f"returns_dmin{d}": float(sum(each >= d for each in gone)) for d in DURATIONS}


def pool_redetection(rows: Sequence[Metrics]) -> Metrics:
    """What `aj_rd` says of all videos together, from what `redetection` says of each: returns count alike, wherever."""
    pooled: Metrics = {}
    for duration in DURATIONS:
        name, count = f"AJ_RD_dmin{duration}", f"returns_dmin{duration}"
        having = [row for row in rows if row[count]]
        counts = [row[count] for row in having]
        pooled[name] = float(np.average([row[name] for row in having], weights=counts)) if having else float("nan")
        pooled[count] = float(sum(counts))
    pooled["AJ_RD"] = mean_of_known([pooled[f"AJ_RD_dmin{duration}"] for duration in DURATIONS])
    return pooled


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


def _jaccard(seen: NDArray[np.bool_], predicted: NDArray[np.bool_], close: NDArray[np.bool_]) -> float:
    right = int((seen & predicted & close).sum())
    wrong = int((predicted & ~(seen & close)).sum())
    return right / (int(seen.sum()) + wrong)
