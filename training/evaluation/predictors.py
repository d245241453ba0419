"""What gets evaluated: a model of tapsdk, or a baseline that anyone can run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import tapsdk
from training.evaluation.datasets import Sample

Prediction = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""xy [N, T, 2] in pixels and visible [N, T]."""
Predictor = Callable[[Sample], Prediction]

WINDOW = (21, 21)
LEVELS = 4
ROUND_TRIP = 1.0
"""Pixels by which a point that was tracked forwards and back may miss itself and still count as seen."""


def standing_still(sample: Sample) -> Prediction:
    """Every point stays at its query."""
    frames = len(sample.frames)
    return np.repeat(sample.queries[:, None, 1:], frames, 1), np.ones((len(sample.queries), frames), bool)


def lucas_kanade(sample: Sample) -> Prediction:
    """OpenCV's pyramidal Lucas-Kanade from frame to frame, both ways from the query, with a forward-backward check."""
    import cv2

    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in sample.frames]
    xy, visible = standing_still(sample)
    for point, (start, *_) in enumerate(sample.queries):
        for way in (range(int(start), len(grey) - 1), range(int(start), 0, -1)):
            step, seen = (1 if way.step > 0 else -1), True
            for t in way:
                before = (xy[point, t] - 0.5).reshape(1, 1, 2).astype(np.float32)
                pair = grey[t], grey[t + step]
                after, found, _ = cv2.calcOpticalFlowPyrLK(*pair, before, None, winSize=WINDOW, maxLevel=LEVELS)
                back, _, _ = cv2.calcOpticalFlowPyrLK(*pair[::-1], after, None, winSize=WINDOW, maxLevel=LEVELS)
                # Once lost it stays lost: the method cannot know a point again.
                seen = seen and bool(found[0, 0]) and float(np.linalg.norm(back - before)) < ROUND_TRIP
                xy[point, t + step], visible[point, t + step] = after.ravel() + 0.5, seen
    return xy, visible


BASELINES: dict[str, Predictor] = {"still": standing_still, "lucas-kanade": lucas_kanade}


def predictor(name: str, backend: str = "auto") -> Predictor:
    """A baseline by name, else a model of tapsdk by name or artifact directory."""
    if name in BASELINES:
        return BASELINES[name]

    def track(sample: Sample) -> Prediction:
        tracks = tapsdk.track(sample.frames, sample.queries, model=name, backend=backend)
        return tracks.xy, tracks.visible

    return track
