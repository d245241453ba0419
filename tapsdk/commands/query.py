"""The points that `tapsdk track` was asked for, however they were given."""

from __future__ import annotations

import argparse
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError, PointsError
from tapsdk.geometry import Size
from tapsdk.points import (
    QueryPoints,
    grid_points,
    in_mask,
    is_points_file,
    parse_query_points,
    random_points,
    read_points_file,
)
from tapsdk.points_text import points_of_text
from tapsdk.video.images import read_image


class Frames(Protocol):
    """What points are asked for in, such as a FrameSource."""

    @property
    def size(self) -> Size: ...

    @property
    def known_frames(self) -> int | None: ...


def read_query(args: argparse.Namespace, source: Frames) -> QueryPoints:
    """Raises PointsError."""
    at = args.at or 0
    points: Any
    if args.grid is not None:
        points = grid_points(args.grid, source.size, at)
    elif args.random is not None:
        points = random_points(args.random, source.size, at, args.seed)
    else:
        file = args.points_file or (args.points if is_points_file(args.points) else None)
        points = read_points_file(file) if file else points_of_text(args.points, at, "--points")
        if args.at is not None and file:
            raise PointsError(f"--at says in which frame points are that have no t; those of {file} say so themselves")
    query = parse_query_points(points, num_frames=source.known_frames, frame_size=source.size)
    if args.mask is None:
        return query
    kept = in_mask(query.xy, _mask(args.mask, source))
    if not kept.any():
        raise PointsError(f"none of the {len(query)} points is inside {args.mask}: give a finer grid, or other points")
    return QueryPoints(query.t[kept], query.xy[kept])


def _mask(path: str, source: Frames) -> NDArray[np.bool_]:
    """[H, W], what is not black. Raises PointsError for a picture of another size, or none."""
    try:
        mask = np.asarray(read_image(path).any(axis=2))
    except FramesError as error:
        raise PointsError(f"--mask: {error}") from error
    if mask.shape != source.size:
        have, want = (f"{width} x {height}" for height, width in (mask.shape, source.size))
        raise PointsError(f"--mask {path} has {have} pixels, and the video {want}: resize it, by nearest pixels")
    return mask
