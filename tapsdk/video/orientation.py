"""Which way up a picture is stored: the eight orientations of EXIF, and the display matrices of videos."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

import numpy as np

from tapsdk.video.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    import av
    from av.buffer import Buffer

UPRIGHT = 1
"""Of the numbers of EXIF: 1 upright, 2 mirrored, 3 turned by 180 degrees, ... 8."""

QUARTER_TURNED = (5, 6, 7, 8)
"""Those whose rows are stored as columns."""

# Signs of (a, b, c, d) in a display matrix, x' = a x + c y and y' = b x + d y, for each number of EXIF.
_MATRICES = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
_ORIENTATION_TAG = 274
# More entries than a directory of a camera has, and more segments than stand before a picture.
_MOST_STEPS = 4096


def turned_upright(stored: Frame, orientation: int) -> Frame:
    """A stored picture [H, W, 3] as it is displayed, C-contiguous. orientation: EXIF's number, 1 to 8."""
    if orientation in QUARTER_TURNED:
        stored = stored.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


def frame_orientation(frame: av.VideoFrame) -> int | None:
    """EXIF's number for the display matrix of a frame; None if PyAV cannot show the matrix."""
    try:
        matrix = cast("Mapping[str, Buffer]", frame.side_data)["DISPLAYMATRIX"]
    except ValueError:  # side data of a kind that PyAV has no name for hides all of it
        return None
    except KeyError:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _MATRICES.get((_sign(a), 0, 0, _sign(d)), UPRIGHT)
    return _MATRICES.get((0, _sign(b), _sign(c), 0), UPRIGHT)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def exif_orientation(data: bytes) -> int | None:
    """The orientation that the file of a JPEG, PNG, WebP or TIFF image tells, 1 to 8; None if it tells none."""
    try:
        if data[:2] == b"\xff\xd8":
            return _of_jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _of_chunks(data, 8, ">I4s", b"eXIf", padded=False)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _of_chunks(data, 12, "<4sI", b"EXIF", padded=True)
        return _of_tiff(data)
    except (struct.error, IndexError):  # it ends early
        return None


def _of_jpeg(data: bytes) -> int | None:
    position = 2
    for _ in range(_MOST_STEPS):
        marker, size = struct.unpack_from(">HH", data, position)
        if marker == 0xFFE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            return _of_tiff(data[position + 10 : position + 2 + size])
        if marker >> 8 != 0xFF or marker == 0xFFDA:  # the picture itself
            return None
        position += 2 + size
    return None


def _of_chunks(data: bytes, position: int, form: str, wanted: bytes, *, padded: bool) -> int | None:
    """Of a file in chunks, each with a name and a size in front; in a PNG, a checksum of 4 bytes follows."""
    for _ in range(_MOST_STEPS):
        first, second = struct.unpack_from(form, data, position)
        name, size = (first, second) if isinstance(first, bytes) else (second, first)
        if name == wanted:
            content = data[position + 8 : position + 8 + size]
            return _of_tiff(content.removeprefix(b"Exif\0\0"))
        position += 8 + size + (size % 2 if padded else 4)
    return None


def _of_tiff(data: bytes) -> int | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    for entry in range(min(entries, _MOST_STEPS)):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, directory + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG and kind == 3:
            return value if 1 <= value <= 8 else None
    return None
