"""Videos with true point tracks, as generators, readers and augmentations hand them on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clip:
    """A video and the true tracks of N points in it, to train on.

    frames: [T, H, W, 3] uint8 RGB
    xy: [N, T, 2] float32, pixels, (0, 0) = outer corner of the top-left pixel; also where the point is hidden
    visible: [N, T] bool: inside the frame and covered by nothing
    queries: [N, 3] float32 (t, x, y); the point is visible there and (x, y) is its xy
    """

    frames: NDArray[np.uint8]
    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    queries: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """A video with the true tracks of N points, to evaluate on; which of them are asked for, and when, is open.

    frames: [T, H, W, 3] uint8 RGB
    xy: [N, T, 2] float32, pixels of these frames, (0, 0) = outer corner of the top-left pixel; where the point is
        hidden, whatever the dataset has there, NaN included
    visible: [N, T] bool
    annotated: [T] bool, the frames on which anything is known; None where that is all of them
    """

    name: str
    frames: NDArray[np.uint8]
    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    annotated: NDArray[np.bool_] | None = None
