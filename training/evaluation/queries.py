"""Which points of a video a tracker is asked for: TAP-Vid's two ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import QUERY_MODES

STRIDE = 5
"""Frames between the queries of one track, where there are several."""


def sample_queries(video: LabelledVideo, mode: str) -> LabelledVideo:
    """The video with queries, a track for each, in TAP-Vid's order.

    mode: "first" asks for each track once, where it is first visible; "strided" on every fifth frame where it is
        visible, so that a track comes several times: frame 0 of all tracks first, then frame 5 of all, and so on.
    A track that is never visible is not asked for.
    """
    if mode not in QUERY_MODES:
        raise ValueError(f"mode must be one of {', '.join(QUERY_MODES)}, got {mode!r}")
    if mode == "first":
        track = np.flatnonzero(video.visible.any(axis=1))
        frame = video.visible[track].argmax(axis=1)
    else:
        strided, track = np.nonzero(video.visible[:, ::STRIDE].T)
        frame = strided * STRIDE
    queries = np.concatenate([frame[:, None], video.xy[track, frame]], axis=1).astype(np.float32)
    return replace(video, xy=video.xy[track], visible=video.visible[track], queries=queries)
