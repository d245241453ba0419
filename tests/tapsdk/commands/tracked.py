"""Videos and folders, as tests of `tapsdk track` write and read them."""

import numpy as np

from tapsdk.video import open_frames

FUSED = "onnxruntime:fused"
UNEVEN = [0, 0.04, 0.08, 3600, 7200, 7200.5]
"""Seconds at which the frames of `uneven` are shown."""


def video_of(path):
    with open_frames(path) as source:
        return np.stack(list(source)), source.fps


def files(folder):
    """Every name in a folder, temporary files included."""
    return sorted(path.name for path in folder.iterdir())
