"""How long points are followed before they are lost: survival, as PointOdyssey has it (arXiv:2307.15055)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import scale_points
from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import METRIC_SIZE
from training.evaluation.report import Metrics

LOST = 50.0
"""Pixels, there, from which on a point is lost for good."""
AFTER = tuple(2**i for i in range(11))
"""Frames after the query."""


def survival(video: LabelledVideo, xy: NDArray[np.float32]) -> Metrics:
    """The share of points that have not been lost yet, of tracks [N, T, 2] in pixels of the video.

    video: with a query for each track. A point is lost where it can be seen and is `LOST` pixels or more from there.
    Returns "survival", the mean over all frames after the queries of all points; NaN if there are none. And
    "survival_after_K" for K of `AFTER`, of the points that have so many frames, as far as there are any.
    """
    size, frames = video.frames.shape[1:3], len(video.frames)
    error = np.linalg.norm(scale_points(xy, size, METRIC_SIZE) - scale_points(video.xy, size, METRIC_SIZE), axis=-1)
    since = np.arange(frames) - video.queries[:, :1].astype(int)
    # A position that is no number is far from everywhere.
    lost = video.visible & ~(error < LOST) & (since > 0)
    alive = ~np.logical_or.accumulate(lost, axis=1)
    later = since > 0
    after = {f"survival_after_{k}": alive[since == k] for k in AFTER}
    return {
        "survival": float(alive[later].mean()) if later.any() else float("nan"),
        **{name: float(flags.mean()) for name, flags in after.items() if len(flags)},
    }
