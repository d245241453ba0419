"""Query points: which points are tracked, from which frame on; and files of them."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import PointsError
from tapsdk.geometry import MAX_SIDE, Size
from tapsdk.system.npz import read_npy
from tapsdk.system.places import local_copy
from tapsdk.system.reading import MOST_DATA_BYTES, printable, read_json, reading

logger = logging.getLogger(__name__)

# Columns of (t, x, y) in each layout that is common among point trackers.
QUERY_FORMATS = {"txy": (0, 1, 2), "tyx": (0, 2, 1), "xyt": (2, 0, 1)}

# What others call the frames of points; such a table does not mean that all are in the first one.
FRAME_COLUMNS = ("frame", "frames", "frame_index", "frame_idx", "frame_id", "frame_number", "time", "timestamp", "t")

# Above this, float64 no longer holds every whole number, so that t could change on its way in.
MAX_FRAME_INDEX = 2**53


@dataclass(frozen=True, eq=False)
class QueryPoints:
    """Checked query points: t [N] int64, frame indices; xy [N, 2] float32, pixels."""

    t: NDArray[np.int64]
    xy: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.t)

    def as_txy(self) -> NDArray[np.float32]:
        """The points as one array [N, 3] float32 of (t, x, y)."""
        return np.concatenate([self.t[:, None].astype(np.float32), self.xy], axis=1)


def parse_query_points(
    points: ArrayLike, *, query_format: str = "txy", num_frames: int | None = None, frame_size: Size | None
) -> QueryPoints:
    """Check query points and bring them into one form.

    points: [N, 3] in the layout of `query_format` ("txy", "tyx" or "xyt"), or [N, 2] (x, y), and then t = 0.
        Ints or floats, array or nested list. N may be 0. x in [0, width] and y in [0, height], pixels;
        t a whole number in [0, num_frames - 1]. A table with named columns, x, y and maybe t, goes by the names: a
        DataFrame, a dict of columns, or a structured array.
    num_frames: None where it is not certain yet; `check_query_frames` then checks t later.
    frame_size: None where it is not known yet; x and y are then only bounded by what no frame exceeds.

    Raises PointsError that names the first row at fault.
    """
    if query_format not in QUERY_FORMATS:
        raise PointsError(f"unknown query_format {query_format!r}; use one of {', '.join(QUERY_FORMATS)}")
    table = named_columns(points)
    rows = as_rows(points if table is None else table)
    order = QUERY_FORMATS["txy" if table is not None else query_format]
    t, x, y = (rows[:, column] for column in order) if rows.shape[1] == 3 else (np.zeros(len(rows)), *rows.T)
    height, width = frame_size or (MAX_SIDE, MAX_SIDE)
    frame = f": the frame is {width} x {height} pixels" if frame_size else ""
    last, last_rule = _last_frame(num_frames)
    # NaN fails none of the comparisons below, so that it is named as what it is.
    with np.errstate(invalid="ignore"):
        rules = [
            ("t", t, ~np.isfinite(t), "NaN and infinity are not allowed"),
            ("x", x, ~np.isfinite(x), "NaN and infinity are not allowed"),
            ("y", y, ~np.isfinite(y), "NaN and infinity are not allowed"),
            ("t", t, t % 1 > 0, "t is the index of a frame and must be a whole number"),
            ("t", t, t < 0, "t must be 0 (the first frame) or more"),
            ("t", t, t > last, last_rule),
            ("x", x, (x < 0) | (x > width), f"x must be in [0, {width}]{frame}"),
            ("y", y, (y < 0) | (y > height), f"y must be in [0, {height}]{frame}"),
        ]
    broken = np.stack([bad for _, _, bad, _ in rules])
    if broken.any():
        row = int(np.argmax(broken.any(axis=0)))
        name, value, _, rule = rules[int(np.argmax(broken[:, row]))]
        found = repr(float(value[row])).removesuffix(".0")
        raise PointsError(f"points[{row}]: {name} = {found}, but {rule}")
    _warn_of_unit_square(np.stack([x, y], axis=1), (height, width))
    return QueryPoints(t=t.astype(np.int64), xy=np.stack([x, y], axis=1).astype(np.float32))


def _warn_of_unit_square(xy: NDArray[np.float64], frame_size: Size) -> None:
    """Points within the first pixel are seldom meant, unless it is one at a corner."""
    if min(frame_size) < 8 or not len(xy) or xy.max() > 1:
        return
    if (xy % 1 == 0).all() and (xy == xy[0]).all():
        return
    logger.warning(
        "%s in [0, 1], inside the first pixel: if %s normalised, multiply by (width, height)",
        *(("all points lie", "they are") if len(xy) > 1 else ("the point lies", "it is")),
    )


def check_query_frames(t: NDArray[np.int64], num_frames: int) -> None:
    """Raise PointsError if a frame index t [N] lies beyond a video of `num_frames` frames."""
    last, rule = _last_frame(num_frames)
    beyond = np.flatnonzero(t > last)
    if len(beyond):
        row = int(beyond[0])
        raise PointsError(f"points[{row}]: t = {t[row]}, but {rule}")


def _last_frame(num_frames: int | None) -> tuple[int, str]:
    """The largest t that a query may have, and the rule in words."""
    if num_frames is None:
        return MAX_FRAME_INDEX, f"t must be at most {MAX_FRAME_INDEX}"
    frames = "1 frame" if num_frames == 1 else f"{num_frames} frames"
    return num_frames - 1, f"t must be in [0, {num_frames - 1}]: the video has {frames}"


def grid_points(n: int | tuple[int, int], frame_size: Size, t: int = 0) -> NDArray[np.float32]:
    """A grid of query points [N, 3] (t, x, y), row by row, at the centres of equal cells.

    n: points a side, or (columns, rows). frame_size: (height, width), pixels.
    """
    columns, rows = (n, n) if isinstance(n, (int, np.integer)) else n
    if min(columns, rows) < 1:
        got = columns if columns == rows else f"{columns} x {rows}"
        raise PointsError(f"a grid needs at least 1 point a side, got {got}")
    height, width = frame_size
    centres_y, centres_x = ((np.arange(count) + 0.5) / count for count in (rows, columns))
    y, x = np.meshgrid(centres_y * height, centres_x * width, indexing="ij")
    return np.stack([np.full(y.size, t), x.ravel(), y.ravel()], axis=1).astype(np.float32)


def in_mask(xy: ArrayLike, mask: ArrayLike) -> NDArray[np.bool_]:
    """[N], which points lie on a pixel of a mask [H, W]; on the outer border, on its last pixel.

        points = tapsdk.grid_points(40, mask.shape)
        points = points[tapsdk.in_mask(points[:, 1:], mask)]

    xy: [N, 2] pixels, (0, 0) = outer corner of the top-left pixel. Raises PointsError.
    """
    inside, places = np.asarray(mask), as_rows(xy)
    if inside.ndim != 2 or 0 in inside.shape:
        raise PointsError(f"a mask must have shape [H, W], got {list(inside.shape)}")
    if len(places) and places.shape[1] != 2:
        raise PointsError(f"xy must have shape [N, 2], got {list(places.shape)}")
    size = np.array(inside.shape[::-1])
    on_frame = np.asarray(((places >= 0) & (places <= size)).all(axis=1))
    column, row = np.minimum(np.where(on_frame[:, None], places, 0).astype(np.int64), size - 1).T
    return np.asarray(on_frame & inside[row, column].astype(np.bool_))


def random_points(n: int, frame_size: Size, t: int = 0, seed: int = 0) -> NDArray[np.float32]:
    """n query points [n, 3] (t, x, y) anywhere in a frame; the same ones for the same seed."""
    if n < 1:
        raise PointsError(f"give at least 1 random point, got {n}")
    if seed < 0:
        raise PointsError(f"a seed must be 0 or more, got {seed}")
    xy = np.random.default_rng(seed).uniform(0, (frame_size[1], frame_size[0]), (n, 2))
    return np.column_stack([np.full(n, t), xy]).astype(np.float32)


def as_rows(points: ArrayLike) -> NDArray[np.float64]:
    """`points` as [N, 2] or [N, 3] float64. Raises PointsError."""
    try:
        array = np.asarray(points)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PointsError(f"points must be an array of numbers [N, 3] or [N, 2]: {error}") from error
    if array.shape == (0,):
        array = np.zeros((0, 3))
    if array.dtype.kind not in "iuf":
        raise PointsError(f"points must be ints or floats, got dtype {array.dtype}")
    if array.ndim == 1 and len(array) in (2, 3):
        raise PointsError(
            f"points must have shape [N, 3] or [N, 2], got [{len(array)}]; write a single point as [[x, y]]"
        )
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise PointsError(f"points must have shape [N, 3] or [N, 2] (x, y), got {list(array.shape)}")
    return array.astype(np.float64)


def named_columns(points: Any) -> NDArray[Any] | None:
    """Points [N, 3] (t, x, y) or [N, 2] (x, y) of a table with columns of these names; None if it has no names.

    Raises PointsError for a table without x and y, and for one that calls its frames something else than t.
    """
    names = _column_names(points)
    if names is None:
        return None
    _check_names(names)
    wanted = ("t", "x", "y") if "t" in names else ("x", "y")
    try:
        columns = [np.asarray(points[name]) for name in wanted]
        return np.stack(columns, axis=1)
    except (TypeError, ValueError) as error:
        raise PointsError(f"columns {', '.join(wanted)} do not fit together: {error}") from error


def _check_names(names: list[str]) -> None:
    """Raises PointsError for names of columns that leave open where points are, or in which frame."""
    if not {"x", "y"} <= set(names):
        raise PointsError(
            f"a table of points needs columns x and y, and t if need be; this one has {printable(', '.join(names))}"
        )
    frames = next((name for name in names if name.strip().lower() in FRAME_COLUMNS), None)
    if "t" not in names and frames is not None:
        raise PointsError(
            f"a table of points names its frames t, and this one has {frames}: call that column t if it holds the "
            "indices of frames, from 0; else leave it out, and all points are in the first frame"
        )


def _column_names(points: Any) -> list[str] | None:
    fields = getattr(getattr(points, "dtype", None), "names", None)
    if fields:
        return list(fields)
    if isinstance(points, Mapping):
        return [str(name) for name in points]
    columns = getattr(points, "columns", None)  # a DataFrame, of whatever library
    if columns is None or all(isinstance(name, Integral) for name in columns):  # numbers are no names
        return None
    return [str(name) for name in columns]


def is_points_file(path: str | os.PathLike[str]) -> bool:
    """By its suffix."""
    return Path(path).suffix.lower() in _READERS


def read_points_file(path: str | os.PathLike[str]) -> Any:
    """Points of a file, as `parse_query_points` takes them.

    .csv: lines of t,x,y or x,y; with a header, its names say which column is which, and others are passed over.
    .json: rows [t, x, y] or [x, y], or objects with x, y and maybe t. .npy: one array [N, 3] or [N, 2].

    Raises PointsError.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise PointsError(f"{path} cannot be read as points: the suffix must be one of {', '.join(_READERS)}")
    with reading(path, "holds no points", PointsError), local_copy(path, PointsError, MOST_DATA_BYTES) as copy:
        return _READERS[suffix](copy)


def _read_csv(path: Path) -> Any:
    rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    if not rows:
        raise PointsError(f"{path} holds no points; write x,y or t,x,y, a point a line")
    try:
        return [[float(cell) for cell in row] for row in rows]
    except ValueError:
        names = [name.strip().lower() for name in rows[0]]
    if any(len(row) != len(names) for row in rows):
        raise PointsError(f"{path}: every line must have {len(names)} columns, as the header has")
    _check_names(names)
    return {name: [float(row[i]) for row in rows[1:]] for i, name in enumerate(names) if name in ("t", "x", "y")}


def _read_json(path: Path) -> Any:
    rows = read_json(path, MOST_DATA_BYTES)
    if isinstance(rows, Mapping):
        return rows
    if rows and all(isinstance(row, Mapping) for row in rows):
        _check_names(list(dict.fromkeys(name for row in rows for name in row)))
        if 0 < sum("t" in row for row in rows) < len(rows):
            raise PointsError(f"{path}: some points have a t and some have none; give all of them one")
        names = ("t", "x", "y") if "t" in rows[0] else ("x", "y")
        return {name: [float(row[name]) for row in rows] for name in names}
    return rows


def _read_npy(path: Path) -> Any:
    with open(path, "rb") as file:
        return read_npy(file)


_READERS: dict[str, Callable[[Path], Any]] = {".csv": _read_csv, ".json": _read_json, ".npy": _read_npy}
