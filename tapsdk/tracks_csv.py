"""Tracks as CSV: a line for every point and frame, in pixels or in metres."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

POINT, OTHERS = ("point", "frame"), ("visible", "confidence")
"""Columns before and after those of the position."""
TIME = "time"
"""A column more, seconds, where the times of frames are known."""

Axes = Sequence[str]
"""Names of the columns of a position."""


def short_floats(array: NDArray[np.float32]) -> list[str]:
    """Each value, in order, as the shortest decimal that reads back as the same float32."""
    return [str(value) for value in array.ravel()]


def write_csv(file: BinaryIO, axes: Axes, positions: NDArray[np.float32], others: Mapping[str, Any]) -> None:
    """positions: [N, T, len(axes)]. others: visible, confidence [N, T]; times [T] or None; ids [N], 0 to N - 1 if they
    are left out."""
    times = others["times"]
    header = [*POINT, *axes, *OTHERS, *([] if times is None else [TIME])]
    file.write((",".join(header) + "\n").encode("ascii"))
    shown = [] if times is None else [list(map(repr, times.tolist()))]
    ids = others.get("ids", np.arange(len(positions))).tolist()
    for point, id in enumerate(ids):
        columns = zip(
            *(short_floats(positions[point, :, axis]) for axis in range(len(axes))),
            others["visible"][point].astype(int).tolist(),
            short_floats(others["confidence"][point]),
            *shown,
            strict=True,
        )
        lines = [f"{id},{frame},{','.join(map(str, values))}\n" for frame, values in enumerate(columns)]
        file.write("".join(lines).encode("ascii"))


def read_csv(file: BinaryIO, allowed: Sequence[Axes]) -> tuple[Axes, NDArray[np.float32], dict[str, Any]]:
    """Which of the allowed axes the file has, its positions, and the rest, see `write_csv`. Raises ValueError."""
    reader = csv.reader(file.read().decode("ascii").splitlines())
    header = next(reader, [])
    untimed = header[:-1] if header[-1:] == [TIME] else header
    axes = next((each for each in allowed if untimed == [*POINT, *each, *OTHERS]), None)
    if axes is None:
        wanted = " or ".join(",".join([*POINT, *each, *OTHERS]) for each in allowed)
        raise ValueError(f"the first line must be {wanted}, or that and {TIME}")
    rows = [row for row in reader if row]
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"every line must have {len(header)} columns")
    ids, cells, shape = _cells(rows)
    end = len(POINT) + len(axes)
    if any(row[end] not in ("0", "1") for row in rows):
        raise ValueError("visible must be 0 or 1")
    positions = np.zeros((*shape, len(axes)), dtype=np.float32)
    visible = np.zeros(shape, dtype=np.bool_)
    confidence = np.zeros(shape, dtype=np.float32)
    positions[cells] = np.array([[float(cell) for cell in row[len(POINT) : end]] for row in rows]).reshape(
        -1, len(axes)
    )
    visible[cells] = [row[end] == "1" for row in rows]
    confidence[cells] = [float(row[end + 1]) for row in rows]
    times = _times_of(cells[1], [float(row[-1]) for row in rows]) if header[-1] == TIME and rows else None
    return axes, positions, {"visible": visible, "confidence": confidence, "times": times, "ids": ids}


_Numbers = NDArray[np.int64]


def _cells(rows: list[list[str]]) -> tuple[_Numbers, tuple[_Numbers, _Numbers], tuple[int, int]]:
    """The ids of the points, the point and the frame of every line, and how many of each there are."""
    id = np.array([int(row[0]) for row in rows], dtype=np.int64)
    frame = np.array([int(row[1]) for row in rows], dtype=np.int64)
    ids, point = _rows_of(id, frame)
    shape = (len(ids), int(frame.max(initial=-1)) + 1)
    cells = set(zip(point.tolist(), frame.tolist(), strict=True))
    negative = min(id.min(initial=0), frame.min(initial=0)) < 0
    if negative or len(cells) != len(rows) or shape[0] * shape[1] != len(rows):
        raise ValueError("every point must have one line for every frame")
    return ids, (point, frame), shape


def _rows_of(id: _Numbers, frame: _Numbers) -> tuple[_Numbers, _Numbers]:
    """The ids [N], and the row of each line: in the order in which they were written, or by number if lines moved."""
    ids, first, point = np.unique(id, return_index=True, return_inverse=True)
    as_written = np.array_equal(frame, np.arange(len(frame)) % (frame.max(initial=0) + 1))
    order = np.argsort(first) if as_written else np.arange(len(ids))
    return ids[order], np.argsort(order)[point.reshape(-1)]


def _times_of(frame: NDArray[np.int64], seconds: list[float]) -> NDArray[np.float64]:
    """[T] of the times in lines of any order."""
    given = np.array(seconds)
    times = np.zeros(frame.max() + 1)
    times[frame] = given
    if not np.array_equal(times[frame], given, equal_nan=True):
        raise ValueError("a frame must have the same time for every point")
    return times
