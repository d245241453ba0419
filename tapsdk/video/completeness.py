"""Whether a video file was cut off: by the size that its own headers tell."""

from __future__ import annotations

import os
from typing import IO

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # of an AVI that was not finished
_MOST_BOXES = 100_000


def missing_bytes(origin: str | IO[bytes]) -> str:
    """What a file lacks, in words; "" if it is complete, or if that cannot be told. origin: "file:..." or other."""
    if not isinstance(origin, str) or not origin.startswith("file:"):
        return ""
    try:
        with open(origin.removeprefix("file:"), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            end = _declared_end(file, size)
    except OSError:
        return ""
    return f"the file is cut off: it holds {size} of {end} bytes" if end > size else ""


def _declared_end(file: IO[bytes], size: int) -> int:
    """Where the headers say that the file ends; 0 if they do not."""
    head = file.read(4096)
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return 0 if length in _UNKNOWN_SIZES else 8 + length
    if head[:4] == _EBML:
        return _end_of_segment(head)
    if head[4:8] == b"ftyp":
        return _end_of_boxes(file, size)
    return 0


def _end_of_segment(head: bytes) -> int:
    """Of Matroska and WebM: a header, then one segment that holds all."""
    header, start = _ebml_size(head, 4)
    place = start + header
    if head[place : place + 4] != _SEGMENT:
        return 0
    length, start = _ebml_size(head, place + 4)
    return start + length if length else 0


def _ebml_size(head: bytes, place: int) -> tuple[int, int]:
    """A size, 0 if it is left open, and where what has it begins."""
    first = head[place] if place < len(head) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return 0, place
    value = int.from_bytes(head[place : place + width], "big") & ((1 << 7 * width) - 1)
    return (0 if value == (1 << 7 * width) - 1 else value), place + width


def _end_of_boxes(file: IO[bytes], size: int) -> int:
    """Of MP4 and MOV: boxes one after the other."""
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(16)
        if place >= size or len(head) < 8:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file
            return 0
        place += length
    return place
