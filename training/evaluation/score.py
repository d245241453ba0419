"""How well tracks fit the truth: TAP-Vid's metrics, AJ_RD and survival of one video."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import scale_points
from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import METRIC_SIZE, tapvid_metrics
from training.evaluation.redetection import redetection
from training.evaluation.report import Metrics
from training.evaluation.survival import survival

ASTRAY = 8.0
"""Pixels at 256x256 from which on a position is no help to anybody."""


def score(video: LabelledVideo, xy: NDArray[np.float32], visible: NDArray[np.bool_], mode: str = "first") -> Metrics:
    """TAP-Vid's metrics of tracks in a video of any size, `redetection`, `survival`, and "misleading": the share of
    frames after the query in which a point is called visible, and is hidden or more than `ASTRAY` pixels off. NaN where
    nothing is to score.

    Args:
        video: with a query for each track. Frames of which nothing is known are left out: there, a point that is not
            marked visible may well be.
        xy: [N, T, 2] in pixels of the video. visible: [N, T].
        mode: "first" or "strided", in which way the queries were chosen; see `tapvid_metrics`.
    """
    size = video.frames.shape[1:3]
    found, true = (scale_points(p, size, METRIC_SIZE) for p in (xy, video.xy))
    known = np.ones(len(video.frames), bool) if video.annotated is None else video.annotated
    t = np.cumsum(known)[video.queries[:, 0].astype(int)] - 1
    tyx = np.stack([t, video.queries[:, 2], video.queries[:, 1]], axis=-1)
    truth = ~video.visible[None, :, known], true[None, :, known]
    predicted = ~visible[None, :, known], found[None, :, known]
    metrics = tapvid_metrics(tyx[None], *truth, *predicted, mode)
    there = video.visible[:, known] & (np.linalg.norm(found - true, axis=-1)[:, known] <= ASTRAY)
    later = np.arange(known.sum()) > t[:, None]
    misleading = float((visible[:, known] & ~there)[later].mean()) if later.any() else np.nan
    return {
        **{name: float(value[0]) for name, value in metrics.items()},
        **redetection(truth, predicted),
        "misleading": misleading,
        **survival(video, xy),
    }
