"""Tracks with everything that is awkward, and what of them a reader should find."""

import numpy as np

from tapsdk import Tracks

SIZE = (150, 240)


def awkward():
    """Four points in six frames: one hidden in two; one without a position in one, and outside in another; one that is
    never visible and has no position at first; one with an id as large as they come."""
    xy = np.random.default_rng(3).uniform(0, (240, 150), (4, 6, 2)).astype(np.float32)
    visible = np.ones((4, 6), bool)
    visible[0, 2:4] = False
    visible[1, 2] = visible[1, 4] = False
    xy[1, 2] = np.nan
    xy[1, 4] = 5, 160.25
    visible[2] = False
    xy[2, 0] = np.nan, np.inf
    confidence = np.where(visible, 0.75, 0.25)
    confidence[0, 0] = np.nan
    return Tracks(xy, visible, confidence, fps=25, times=np.arange(6) / 25, ids=[0, 7, 12, 2**62 + 1])


def plain(points, frames):
    xy = np.full((points, frames, 2), (1.5, 2.25), np.float32)
    return Tracks(xy, np.ones((points, frames), bool), np.ones((points, frames)), fps=24)
