"""What was tracked since a session began: kept on disk, since nobody knows how long it will go on."""

from __future__ import annotations

import struct
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.tracks import RunReport, Tracks

MEMORY_BYTES = 32 << 20
"""Of rows that stay in memory; beyond, all of them go to a file."""
MOST_CELLS = 1 << 26
"""Points times frames of one `Tracks`: under a gigabyte."""
_HEAD = struct.Struct("<qq")
"""Of a record: its row, and how many points it holds."""
_Record = tuple[int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Its row, and of N points: ids [N], xy [N, 2], visible [N], confidence [N]."""


@dataclass(frozen=True)
class Query:
    """A point as it was asked for: in which row of the history, and where in that frame, (x, y) pixels."""

    row: int
    xy: tuple[float, float]


class History:
    """Rows, one a frame that was tracked, each with any points; what is known late of an earlier row is added to it.

    Raises OSError where there is no room on the disk; what came before can still be read.
    """

    def __init__(self, fps: float | None, report: RunReport | None) -> None:
        self._fps, self._report = fps, report
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115
        self._end = 0
        self._places = array("q")
        """Of a record in the file, and its row, in turn."""
        self._times = array("d")
        self._queries: dict[int, Query] = {}

    def __len__(self) -> int:
        """Rows."""
        return len(self._times)

    @property
    def points(self) -> int:
        """That were ever tracked."""
        return len(self._queries)

    def begin(self, time: float) -> int:
        """A new row, of a frame shown at that second; returns its number."""
        self._times.append(time)
        return len(self._times) - 1

    def ask(self, ids: list[int], row: int, xy: NDArray[np.float32]) -> None:
        """Points of these ids were asked for in that row, at xy [N, 2] pixels."""
        self._queries |= {id: Query(row, (float(x), float(y))) for id, (x, y) in zip(ids, xy, strict=True)}

    def add(self, row: int, tracks: Tracks) -> None:
        """Where points are in a row: Tracks with T = 1."""
        if not len(tracks):
            return
        parts = (tracks.ids, tracks.xy[:, 0], tracks.visible[:, 0], tracks.confidence[:, 0])
        record = _HEAD.pack(row, len(tracks)) + b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        self._file.seek(self._end)
        self._file.write(record)
        self._places.extend((self._end, row))
        self._end += len(record)

    def tracks(self, start: int = 0, stop: int | None = None) -> Iterator[Tracks]:
        """The rows from `start` to before `stop` as Tracks, frame by frame, of all points that are in them.

        Where a point was not tracked it is NaN, not visible, and its confidence 0. What is more than `MOST_CELLS` comes
        in parts, one after the other in time; a point has the same id in each.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        rows = max(1, stop - start)
        count = max(1, len(self._queries))
        step = max(1, min(rows, MOST_CELLS // count))
        for first in range(start, max(stop, start + 1), step):
            yield self._part(first, min(first + step, stop))

    def close(self) -> None:
        self._file.close()

    def _part(self, start: int, stop: int) -> Tracks:
        records = list(self._records(start, stop))
        ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(ids for _, ids, *_ in records)]))
        shape = (len(ids), max(0, stop - start))
        xy = np.full((*shape, 2), np.nan, np.float32)
        visible, confidence = np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
        for row, found, at, seen, sure in records:
            where = np.searchsorted(ids, found)
            xy[where, row - start], visible[where, row - start], confidence[where, row - start] = at, seen, sure
        asked = [self._queries[int(id)] for id in ids]
        queries = np.array([(query.row - start, *query.xy) for query in asked], np.float32).reshape(-1, 3)
        # Of a point that was asked for before: where these rows first know it.
        older = np.flatnonzero(queries[:, 0] < 0)
        first = np.isfinite(xy[older, :, 0]).argmax(axis=1) if len(older) else older
        queries[older] = np.column_stack([first, xy[older, first]])
        times = np.array(self._times[start:stop], np.float64)
        rate = self._fps or _mean_rate(times)
        return Tracks(xy, visible, confidence, queries, rate, times, self._report, ids)

    def _records(self, start: int, stop: int) -> Iterator[_Record]:
        """Those of the rows from `start` to before `stop`."""
        for place, row in zip(self._places[::2], self._places[1::2], strict=True):
            if start <= row < stop:
                self._file.seek(place)
                _, count = _HEAD.unpack(self._file.read(_HEAD.size))
                ids, xy = self._read("<i8", count), self._read("<f4", 2 * count).reshape(-1, 2)
                yield row, ids, xy, self._read("?", count), self._read("<f4", count)

    def _read(self, kind: str, count: int) -> NDArray[Any]:
        dtype = np.dtype(kind)
        return np.frombuffer(self._file.read(dtype.itemsize * count), dtype)


def _mean_rate(times: NDArray[np.float64]) -> float | None:
    return (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else None
