"""Points follow the picture from frame to frame, and the model pulls them to where it recognises them.

A model compares every frame with the query's: its estimates do not drift, but they waver, and fail where a point has
changed its looks. Lucas-Kanade compares a frame with the one before: precise for a step, but its errors add up, and
it goes with whatever covers a point. So a point takes the step that the picture takes, if the way back leads to where
it was; it is pulled to the model's estimate, slowly, as far as the model is sure; and is put there where there is no
way back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import tapkernels
from tapsdk.artifact.manifest import FlowFusion
from tapsdk.geometry import Size, scale_points

Floats = NDArray[np.float32]


def follow(fusion: FlowFusion, before: Floats, frame: Floats, xy: Floats, space: Size) -> tuple[Floats, Floats]:
    """Where points go from one frame to the next, as far as the picture tells.

    Args:
        before, frame: [H, W, 3] float32 in [-1, 1]. Between two sizes nothing can be followed.
        xy: [N, 2] float32 in a space of (height, width) `space`.
    Returns:
        positions [N, 2] in that space, and [N] pixels of the frame by which the way back missed.
    """
    if before.shape != frame.shape:
        return xy, np.full(len(xy), np.inf, np.float32)
    size = (frame.shape[0], frame.shape[1])
    start = np.ascontiguousarray(scale_points(xy, space, size))
    before, frame = np.ascontiguousarray(before), np.ascontiguousarray(frame)
    found = tapkernels.lucas_kanade(before, frame, start, fusion.radius, fusion.levels)
    return scale_points(found[:, :2], size, space), found[:, 2]


def fuse(fusion: FlowFusion, followed: Floats, missed: Floats, estimate: Floats, confidence: Floats) -> Floats:
    """Positions [N, 2] between those of the picture, with what the way back missed [N], and of the model.

    A point that has not moved yet is at `followed` with nothing missed.
    """
    trust = np.clip(2 - missed / fusion.slip, 0, 1)
    certainty = np.clip((confidence - fusion.doubtful) / (fusion.sure - fusion.doubtful), 0, 1)
    share = 1 - trust * (1 - fusion.pull * certainty)
    return np.asarray(followed + share[:, None] * (estimate - followed), np.float32)
