"""Query points: which points are tracked, from which frame on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import PointsError
from tapsdk.geometry import MAX_SIDE, Size

# Columns of (t, x, y) in each layout that is common among point trackers.
QUERY_FORMATS = {"txy": (0, 1, 2), "tyx": (0, 2, 1), "xyt": (2, 0, 1)}

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
        t a whole number in [0, num_frames - 1].
    num_frames: None where it is not known yet; `check_query_frames` then checks t later.
    frame_size: None where it is not known yet; x and y are then only bounded by what no frame exceeds.

    Raises PointsError that names the first row at fault.
    """
    if query_format not in QUERY_FORMATS:
        raise PointsError(f"unknown query_format {query_format!r}; use one of {', '.join(QUERY_FORMATS)}")
    rows = as_rows(points)
    order = QUERY_FORMATS[query_format]
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
    return QueryPoints(t=t.astype(np.int64), xy=np.stack([x, y], axis=1).astype(np.float32))


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


def grid_points(n: int, frame_size: Size, t: int = 0) -> NDArray[np.float32]:
    """An n x n grid of query points [n * n, 3] (t, x, y), row by row, at the centres of n x n equal cells."""
    if n < 1:
        raise PointsError(f"a grid needs at least 1 point a side, got {n}")
    height, width = frame_size
    centres = (np.arange(n) + 0.5) / n
    y, x = np.meshgrid(centres * height, centres * width, indexing="ij")
    return np.stack([np.full(n * n, t), x.ravel(), y.ravel()], axis=1).astype(np.float32)


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
