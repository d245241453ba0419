"""Depth maps in image files: 16-bit PNG, and EXR of one channel, both decoded by FFmpeg."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import DepthError
from tapsdk.system.npz import read_npy
from tapsdk.system.reading import printable, reading
from tapsdk.video.containers import open_container
from tapsdk.video.images import MAX_PIXELS, NO_PROTOCOL

if TYPE_CHECKING:
    import av

SUFFIXES = (".png", ".exr", ".npy")
_CHANNELS = b"channels\0chlist\0"
_COLOURS = ("R", "G", "B")
_GREY = "Y"
"""The one channel that FFmpeg takes for a picture by itself."""


def read_depth_image(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The numbers [H, W] in a file, as they are stored: unsigned integers of a PNG, floats of an EXR, either of a .npy.

    Raises DepthError.
    """
    suffix = Path(path).suffix.lower()
    with reading(path, "is no depth map", DepthError):
        if suffix == ".npy":
            with open(path, "rb") as file:
                return read_npy(file)
        data = Path(path).read_bytes()
        return _pixels(_decoded(_with_grey_channel(data) if suffix == ".exr" else data))


def _decoded(data: bytes) -> av.VideoFrame:
    options = {"max_pixels": str(MAX_PIXELS)}
    safe = options | {"protocol_whitelist": NO_PROTOCOL}
    with open_container(io.BytesIO(data), options=safe) as container:
        stream = container.streams.best("video")
        stream.codec_context.options = options
        frame: av.VideoFrame = next(container.decode(stream))
        return frame


def _pixels(frame: av.VideoFrame) -> NDArray[Any]:
    """[H, W] of a grey picture, or of one whose three colours are the same."""
    kind = frame.format.name
    if kind == "gray16be":
        return np.asarray(frame.to_ndarray(format="gray16le"))
    if kind.startswith(("grayf", "gbrpf", "gbrapf")):
        planes = [_plane(frame, index) for index in range(1 if kind.startswith("gray") else len(_COLOURS))]
        if not all(np.array_equal(planes[0], plane, equal_nan=True) for plane in planes):
            raise ValueError("its three channels differ, as those of a picture in colour do")
        return planes[0]
    if kind in ("gray", "pal8", "monob", "monow"):
        raise ValueError("it has 8 bits, too few for millimetres; depth is a PNG of 16 bits")
    raise ValueError(f"it is a picture in colour ({kind}); depth is a grey PNG of 16 bits, or an EXR")


def _plane(frame: av.VideoFrame, index: int) -> NDArray[Any]:
    plane = frame.planes[index]
    dtype = np.dtype("<f2" if "f16" in frame.format.name else "<f4")
    rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
    return np.ascontiguousarray(rows[:, : frame.width * dtype.itemsize]).view(dtype)


def _with_grey_channel(data: bytes) -> bytes:
    """An EXR file whose one channel has the name that FFmpeg reads: renderers call depth Z or V.

    Raises ValueError for a file of several channels that are no picture.
    """
    names = dict(_channels(data))
    if len(names) > 1 and not set(_COLOURS) <= set(names):
        raise ValueError(f"it has the channels {printable(', '.join(names))}; write depth as a file of one, such as Z")
    for name, start in names.items():
        if len(names) == 1 and len(name) == 1:
            return data[:start] + _GREY.encode() + data[start + 1 :]
        if len(names) == 1:
            raise ValueError(f"its channel is called {printable(name)}; give it a name of one letter, such as Z")
    return data


def _channels(data: bytes) -> list[tuple[str, int]]:
    """Names of an EXR file's channels, and where in the file each stands."""
    place = data.find(_CHANNELS)
    if place < 0:
        raise ValueError("it is no EXR file")
    place += len(_CHANNELS)
    end = place + 4 + struct.unpack_from("<i", data, place)[0]
    place += 4
    found = []
    while place < end and data[place]:
        stop = data.index(b"\0", place)
        found.append((data[place:stop].decode("latin-1"), place))
        place = stop + 1 + 16
    return found
