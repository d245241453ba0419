"""Which points of a video a tracker is asked for: TAP-Vid's two ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.clip import TrackedVideo
from training.evaluation.metrics import QUERY_MODES

STRIDE = 5
"""Frames between the queries of one track, where there are several."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A video to be tracked, and what is true of it."""

    name: str
    frames: NDArray[np.uint8]
    """[T, H, W, 3]"""
    queries: NDArray[np.float32]
    """[N, 3] (t, x, y) in pixels"""
    xy: NDArray[np.float32]
    """[N, T, 2] in pixels; anything where the point is hidden"""
    visible: NDArray[np.bool_]
    """[N, T]"""
    annotated: NDArray[np.bool_] | None = None
    """[T]: the frames on which anything is known; None where that is all of them"""


def sample_queries(video: TrackedVideo, mode: str) -> Sample:
    """The queries of a video, each with its track, in TAP-Vid's order.

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
    return Sample(video.name, video.frames, queries, video.xy[track], video.visible[track], video.annotated)
