"""The pages of a TIFF file, each as a small TIFF file of its own.

FFmpeg reads the first page of a classic TIFF. Stacks of microscopes have many, and large ones are BigTIFF.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from tapsdk.errors import FramesError

# Bytes of one value of each type; 16 and 17 are those of BigTIFF.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
# What a decoder has to know of a page; the rest is about the microscope.
_KEPT = frozenset(
    (256, 257, 258, 259, 262, 266, 274, 277, 278, 284, 292, 293, 317, 320, 322, 323, 338, 339, 347, 529, 530, 531, 532)
)
_SUBFILE, _DESCRIPTION = 254, 270
_PLACES, _SIZES = (273, 324), (279, 325)  # of strips, of tiles
_REDUCED_OR_MASK = 0b101  # in the subfile type
_LONG = 4
MOST_PAGES = 1_000_000
_MOST_ENTRIES = 4096
_MOST_BYTES = 1 << 31


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    data: bytes


class TiffStack:
    """A TIFF file that lies open. pages: of pictures, without thumbnails and masks.

    Raises FramesError for a file that is no TIFF, or damaged.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self._bytes = file.seek(0, os.SEEK_END)
        self._damage: FramesError | None = None
        self._order = {b"II": "<", b"MM": ">"}.get(self._at(0, 2), "")
        version = self._number("H", 2) if self._order else 0
        if version not in (42, 43):
            raise FramesError(f"{name}: not a TIFF image, or damaged")
        self._big = version == 43
        self._pages = self._walk(self._number("Q", 8) if self._big else self._number("I", 4))
        self.pages = len(self._pages)
        if not self.pages:
            raise FramesError(f"{name}: the TIFF file has no pages")

    def __iter__(self) -> Iterator[bytes]:
        """Each page as a file of its own. Raises FramesError where the file is damaged."""
        for directory in self._pages:
            yield self._page(directory)
        if self._damage is not None:
            raise self._damage

    def _walk(self, directory: int) -> list[int]:
        """Where the directories of the pages lie; of a damaged file, of those in front of the damage."""
        seen: dict[int, bool] = {}
        try:
            while directory:
                if directory in seen or len(seen) == MOST_PAGES:
                    raise FramesError(f"{self._name}: the pages of the TIFF file follow one another without end")
                entries, following = self._entries(directory)
                kind = self._numbers(entries.get(_SUBFILE))
                seen[directory] = not (kind and kind[0] & _REDUCED_OR_MASK)
                directory = following
        except FramesError as error:
            if not any(seen.values()):
                raise
            self._damage = error
        if len(seen) == 1:
            self._refuse_hidden_stack(self._entries(next(iter(seen)))[0])
        return [place for place, is_picture in seen.items() if is_picture]

    def _refuse_hidden_stack(self, entries: dict[int, tuple[int, int, int]]) -> None:
        """ImageJ writes stacks beyond 4 GB as one page, with the number of images in the description."""
        if _DESCRIPTION not in entries:
            return
        text = self._read_entry(entries[_DESCRIPTION]).data[:4096]
        if text.startswith(b"ImageJ=") and b"images=" in text and b"images=1\n" not in text:
            raise FramesError(
                f"{self._name}: ImageJ wrote these images as one page, which is not read here; save them as an image "
                "sequence, and give its folder"
            )

    def _entries(self, directory: int) -> tuple[dict[int, tuple[int, int, int]], int]:
        """(type, count, where the value stands) of each tag, and where the next directory lies."""
        count = self._number("Q" if self._big else "H", directory)
        head, size, form = (8, 20, "HHQ") if self._big else (2, 12, "HHI")
        if count > _MOST_ENTRIES:
            raise FramesError(f"{self._name}: the TIFF file is damaged (a directory of {count} entries)")
        table = self._at(directory + head, count * size)
        found = {}
        for i in range(count):
            tag, kind, values = struct.unpack_from(self._order + form, table, i * size)
            found[tag] = kind, values, directory + head + i * size + (12 if self._big else 8)
        return found, self._number("Q" if self._big else "I", directory + head + count * size)

    def _read_entry(self, entry: tuple[int, int, int]) -> _Entry:
        kind, count, place = entry
        size = _TYPE_BYTES.get(kind, 1) * count
        if size > (8 if self._big else 4):
            place = self._number("Q" if self._big else "I", place)
        return _Entry(kind, count, self._at(place, size))

    def _numbers(self, entry: tuple[int, int, int] | None) -> tuple[int, ...]:
        if entry is None or entry[0] not in _UNSIGNED:
            return ()
        read = self._read_entry(entry)
        return struct.unpack(f"{self._order}{read.count}{_UNSIGNED[read.kind]}", read.data)

    def _page(self, directory: int) -> bytes:
        entries, _ = self._entries(directory)
        kept = {tag: self._read_entry(entry) for tag, entry in entries.items() if tag in _KEPT and entry[0] < 16}
        for places, sizes in zip(_PLACES, _SIZES, strict=True):
            if places in entries:
                offsets, lengths = self._numbers(entries[places]), self._numbers(entries.get(sizes))
                parts = list(zip(offsets, lengths, strict=False))
                if parts:
                    return self._assembled(kept, (places, sizes), parts)
        raise FramesError(f"{self._name}: a page of the TIFF file holds no picture")

    def _assembled(self, kept: dict[int, _Entry], tags: tuple[int, int], parts: list[tuple[int, int]]) -> bytes:
        """A classic TIFF file of one page. parts: (place, size) of its strips or tiles."""
        if sum(size for _, size in parts) > _MOST_BYTES:
            raise FramesError(f"{self._name}: a page of the TIFF file is too large")
        body = bytearray()
        starts = []
        for place, size in parts:
            starts.append(8 + len(body))
            body += self._at(place, size)
        numbers = f"{self._order}{len(parts)}I"
        kept[tags[0]] = _Entry(_LONG, len(parts), struct.pack(numbers, *starts))
        kept[tags[1]] = _Entry(_LONG, len(parts), struct.pack(numbers, *(size for _, size in parts)))
        table = bytearray(struct.pack(f"{self._order}H", len(kept)))
        for tag, entry in sorted(kept.items()):
            value = entry.data.ljust(4, b"\0")
            if len(value) > 4:
                body += bytes(len(body) % 2)
                value = struct.pack(f"{self._order}I", 8 + len(body))
                body += entry.data
            table += struct.pack(f"{self._order}HHI", tag, entry.kind, entry.count) + value
        body += bytes(len(body) % 2)
        head = struct.pack(f"{self._order}2sHI", b"II" if self._order == "<" else b"MM", 42, 8 + len(body))
        return bytes(head + body + table + bytes(4))

    def _number(self, form: str, place: int) -> int:
        return int(struct.unpack(self._order + form, self._at(place, struct.calcsize(f"={form}")))[0])

    def _at(self, place: int, size: int) -> bytes:
        if place + size > self._bytes:
            raise FramesError(f"{self._name}: the TIFF file is damaged, or ends early")
        self._file.seek(place)
        return self._file.read(size)
