"""Videos and folders, as tests of `tapsdk track` write and read them."""

import av
import numpy as np

from tapsdk.video import open_frames

FUSED = "onnxruntime:fused"
UNEVEN = [0, 0.04, 0.08, 3600, 7200, 7200.5]
"""Seconds at which the frames of `uneven` are shown."""


def video_of(path):
    with open_frames(path) as source:
        return np.stack(list(source)), source.fps


def write_video(path, frames, codec, pix_fmt, **options):
    """By PyAV alone."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def files(folder):
    """Every name in a folder, temporary files included."""
    return sorted(path.name for path in folder.iterdir())
