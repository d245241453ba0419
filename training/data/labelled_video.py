"""Videos with true point tracks, as generators, readers and augmentations hand them on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size


@dataclass(frozen=True, eq=False)
class LabelledVideo:
    """A video and the true tracks of N points in it, to train on or to evaluate on.

    frames: [T, H, W, 3] uint8 RGB
    xy: [N, T, 2] float32, pixels of these frames, (0, 0) = outer corner of the top-left pixel; where a point is hidden
        its true position, too, if it was generated, else whatever the dataset has there, NaN included
    visible: [N, T] bool: inside the frame and covered by nothing
    queries: [N, 3] float32 (t, x, y), the point that each track is asked for; None where that is open
    annotated: [T] bool, the frames on which anything is known; None where that is all of them
    name: of the video in its dataset
    original_size: (height, width) before it was resized, where a benchmark measures in those pixels; else None
    """

    frames: NDArray[np.uint8]
    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    queries: NDArray[np.float32] | None = None
    annotated: NDArray[np.bool_] | None = None
    name: str = ""
    original_size: Size | None = None
