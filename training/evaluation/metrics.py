"""TAP-Vid's metrics (Doersch et al. 2022, arXiv:2211.03726), in numpy, equal to the published definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tapsdk.errors import TracksError

METRIC_SIZE = (256, 256)
"""(height, width) in whose pixels the benchmark measures distances."""
THRESHOLDS = (1, 2, 4, 8, 16)
"""Pixels, there."""
QUERY_MODES = ("first", "strided")


def tapvid_metrics(
    query_points: ArrayLike,
    gt_occluded: ArrayLike,
    gt_tracks: ArrayLike,
    pred_occluded: ArrayLike,
    pred_tracks: ArrayLike,
    query_mode: str,
) -> dict[str, np.ndarray]:
    """Scores predicted tracks, per video.

    Args:
        query_points: [B, N, 3] (t, y, x); only t is used.
        gt_occluded, pred_occluded: [B, N, T] bool.
        gt_tracks, pred_tracks: [B, N, T, 2] (x, y) in pixels at 256x256.
        query_mode: "first" scores the frames after the query, "strided" every frame but the query's.
    Returns:
        [B] each: occlusion_accuracy; pts_within_D and jaccard_D for D in 1, 2, 4, 8, 16 pixels; their means
        average_pts_within_thresh and average_jaccard. NaN where a video has nothing to score.
    Raises:
        ValueError for another mode, TracksError for shapes that do not fit together.
    """
    if query_mode not in QUERY_MODES:
        raise ValueError(f"query_mode must be one of {', '.join(QUERY_MODES)}, got {query_mode!r}")
    check_shapes(gt_occluded, gt_tracks, pred_occluded, pred_tracks)
    if np.shape(query_points) != (*np.shape(gt_occluded)[:2], 3):
        shape = [*np.shape(gt_occluded)[:2], 3]
        raise TracksError(
            f"query_points must have shape {shape} to fit gt_occluded, got {list(np.shape(query_points))}"
        )
    gt_visible = ~np.asarray(gt_occluded, bool)
    pred_visible = ~np.asarray(pred_occluded, bool)
    scored = _scored_frames(np.asarray(query_points), gt_visible.shape[-1], query_mode)
    squared = np.square(np.asarray(pred_tracks) - np.asarray(gt_tracks)).sum(-1)

    def count(which: np.ndarray) -> np.ndarray:
        return (which & scored).sum((1, 2))

    with np.errstate(invalid="ignore", divide="ignore"):
        metrics = {"occlusion_accuracy": count(pred_visible == gt_visible) / count(np.ones_like(gt_visible))}
        for threshold in THRESHOLDS:
            close = squared < threshold**2
            metrics[f"pts_within_{threshold}"] = count(close & gt_visible) / count(gt_visible)
            true_positives = count(close & gt_visible & pred_visible)
            false_positives = count(pred_visible & (~gt_visible | ~close))
            metrics[f"jaccard_{threshold}"] = true_positives / (count(gt_visible) + false_positives)
    for name, part in (("average_jaccard", "jaccard"), ("average_pts_within_thresh", "pts_within")):
        metrics[name] = np.mean([metrics[f"{part}_{d}"] for d in THRESHOLDS], axis=0)
    return metrics


def check_shapes(
    gt_occluded: ArrayLike,
    gt_tracks: ArrayLike,
    pred_occluded: ArrayLike,
    pred_tracks: ArrayLike,
    order: str = "bnt",
    coordinates: int = 2,
) -> None:
    """Raises TracksError unless flags have the axes of `order`, and tracks one more with that many coordinates; the
    same sizes in all."""
    shape = np.shape(gt_occluded)
    if len(shape) != len(order):
        raise TracksError(f"gt_occluded must have shape [{', '.join(order.upper())}], got {list(shape)}")
    for name, array, expected in (
        ("gt_tracks", gt_tracks, (*shape, coordinates)),
        ("pred_occluded", pred_occluded, shape),
        ("pred_tracks", pred_tracks, (*shape, coordinates)),
    ):
        if np.shape(array) != expected:
            found = list(np.shape(array))
            raise TracksError(f"{name} must have shape {list(expected)} to fit gt_occluded, got {found}")


def _scored_frames(query_points: np.ndarray, num_frames: int, query_mode: str) -> np.ndarray:
    frame = np.arange(num_frames)
    query_frame = np.round(query_points[..., :1]).astype(int)
    return frame > query_frame if query_mode == "first" else frame != query_frame
