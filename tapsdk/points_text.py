"""Query points as people write them: "x,y;x,y", and grids as "10x6"."""

from __future__ import annotations

from tapsdk.errors import PointsError


def points_of_text(text: str, at: int = 0, name: str = "points") -> list[list[float]]:
    """Rows [x, y] or [t, x, y] of "x,y;x,y" or "t,x,y;t,x,y". Raises PointsError.

    at: the frame in which points x,y are; then rows are [t, x, y]. name: what the text is called, for errors.
    """
    try:
        points = [[float(number) for number in point.split(",")] for point in text.split(";") if point.strip()]
    except ValueError:
        raise PointsError(f"{name} {text!r} cannot be read; write x,y or t,x,y, separated by semicolons") from None
    if len({len(p) for p in points}) > 1:
        raise PointsError(f"{name} {text!r} mixes x,y and t,x,y; give all points the same form")
    if not points:
        raise PointsError(f"{name} holds no points; write x,y or t,x,y, separated by semicolons")
    if at and len(points[0]) == 3:
        raise PointsError("--at says in which frame points x,y are; points t,x,y say so themselves")
    return [[at, *point] for point in points] if at and len(points[0]) == 2 else points


def grid_of_text(text: str) -> tuple[int, int]:
    """(columns, rows) of "N" or "COLUMNSxROWS". Raises ValueError."""
    parts = text.lower().split("x")
    try:
        columns, rows = map(int, parts * 2 if len(parts) == 1 else parts)
    except ValueError:
        raise ValueError(f"{text!r} is neither N nor COLUMNSxROWS, such as 10x6") from None
    return columns, rows
