"""A frame on its way to a page: JPEG, no larger than a screen wants, with what there is to say of it."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from typing import Any

import numpy as np

from tapsdk.live.session import Moment
from tapsdk.system.json_text import as_json
from tapsdk.tracks import Tracks
from tapsdk.video.frames import Frame

MOST_SIDE = 1280
"""Pixels of a side that is sent; points stay in pixels of the frame."""
QUALITY = "3"
"""FFmpeg's scale for JPEG, from 2, the best, to 31."""
_LENGTH = struct.Struct("<I")


def jpeg(picture: Frame) -> bytes:
    """The file of a frame [H, W, 3] uint8 RGB."""
    import av

    height, width = picture.shape[:2]
    scale = min(1.0, MOST_SIDE / max(height, width))
    height, width = (max(1, round(side * scale)) for side in (height, width))
    # The JPEG file format has the colours of BT.601 in full range.
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame = frame.reformat(width=width, height=height, format="yuvj420p")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 30)  # of no meaning for one picture, and asked for
    encoder.options = {"qmin": QUALITY, "qmax": QUALITY}
    frame.pts = None
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def points_of(tracks: Tracks) -> dict[str, Any]:
    """Tracks with T = 1 as JSON has them: positions to a hundredth of a pixel."""
    xy = np.round(tracks.xy[:, 0].astype(np.float64), 2)
    return {
        "ids": tracks.ids.tolist(),
        "xy": xy.tolist(),
        "visible": tracks.visible[:, 0].tolist(),
        "confidence": np.round(tracks.confidence[:, 0].astype(np.float64), 3).tolist(),
    }


def header(moment: Moment) -> str:
    """What a page is told of a moment, as JSON."""
    told = {"frame": moment.number, "time": round(moment.time, 4), **points_of(moment.tracks), "status": moment.status}
    return json.dumps(as_json(told), separators=(",", ":"), allow_nan=False)


def message(moment: Moment, picture: bytes) -> bytes:
    """A moment with its picture: the length of the header (4 bytes, little-endian), the header, and a JPEG file."""
    told = header(moment).encode()
    return _LENGTH.pack(len(told)) + told + picture
