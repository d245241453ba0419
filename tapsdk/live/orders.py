"""What pages ask of a session, as JSON: read from whoever holds the socket, so looked at closely."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import PointsError
from tapsdk.points import as_rows
from tapsdk.system.json_text import parse_json

SIMPLE = ("undo", "clear", "play", "pause", "step", "record", "stop")
"""Orders without anything more to say."""


def _none() -> NDArray[np.float32]:
    return np.zeros((0, 2), np.float32)


@dataclass(frozen=True, eq=False)
class Order:
    """do: "add", "remove", or one of `SIMPLE`. xy: [N, 2] pixels of the frame of that number, points to add, to be
    checked by who adds them. ids: of points to remove."""

    do: str
    xy: NDArray[np.float32] = field(default_factory=_none)
    frame: int | None = None
    ids: list[int] = field(default_factory=list)


def read_order(text: str) -> Order:
    """{"do": "add", "points": [[x, y], ...], "frame": 17}, {"do": "remove", "ids": [3]}, {"do": "undo"} and so on.

    Raises ValueError, which PointsError is, too.
    """
    told = parse_json(text)
    do = told.get("do") if isinstance(told, dict) else None
    if do in SIMPLE:
        return Order(do)
    if do == "add":
        frame = told.get("frame")
        if not (frame is None or type(frame) is int):
            raise ValueError(f"frame is {frame!r}, not the number of a frame")
        return Order(do, as_rows(told.get("points", [])).astype(np.float32), frame)
    if do == "remove":
        ids = told.get("ids")
        if not isinstance(ids, list) or not all(type(id) is int for id in ids):
            raise PointsError("ids are a list of whole numbers")
        return Order(do, ids=ids)
    raise ValueError(f"an order does one of add, remove, {', '.join(SIMPLE)}; got {do!r}")
