"""Tracks as a Tracker4 node, which Nuke's scripts hold as lists in braces.

A row of the node has 31 columns, which the node names first; a curve is `{curve x5 10 11 x9 12}`: values at frames 5, 6
and 9. `K` holds a value until the next one. Not tried in Nuke itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.interchange.scene import Scene, decimal, seen, shares

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks

FIRST = 1
"""The number of the first frame."""
_CURVES = (("track_x", 58), ("track_y", 58), ("offset_x", 63), ("offset_y", 63))
_SWITCHES = (("T", 27), ("R", 27), ("S", 27))
_NUMBERS = ("error_min", "error_max", *(f"{box}_{side}" for box in ("pattern", "search") for side in "xyrt"))
_KEYS = ("key_track", *(f"key_{box}_{side}" for box in ("search", "track") for side in "xyrt"))
_KEYS += ("key_centre_offset_x", "key_centre_offset_y")
COLUMNS = (
    "5 1 20 enable e 1",
    "3 1 75 name name 1",
    *(f"2 1 {width} {name} {name} 1" for name, width in _CURVES),
    *(f"4 1 {width} {name} {name} 1" for name, width in _SWITCHES),
    "2 0 45 error error 1",
    *(f"1 1 0 {name} {name} 1" for name in _NUMBERS),
    *(f"2 1 0 {name} {name} 1" for name in _KEYS),
)
"""Type, two numbers of the panel, the name, its heading, and whether it is shown."""
_BOXES = "-32 -32 32 32 -22 -22 22 22"
"""Nuke's own pattern and search areas about a point."""


def write(tracks: Tracks, scene: Scene, file: BinaryIO) -> None:
    """A track for each point that is visible at all, named by its id."""
    keys = seen(tracks)
    rows = np.flatnonzero(keys.any(axis=1))
    head = f"Tracker4 {{\n inputs 0\n tracks {{ {{ 1 {len(COLUMNS)} {len(rows)} }}\n{{ "
    file.write((head + "\n".join(f"{{ {column} }}" for column in COLUMNS) + " }\n{\n").encode("ascii"))
    for row in rows:
        file.write(_track(tracks, int(row), keys[row], scene.size[0]).encode("ascii"))
    file.write(f"}}\n}}\n reference_frame {FIRST}\n name Tracker1\n}}\n".encode("ascii"))


def _track(tracks: Tracks, row: int, keys: NDArray[np.bool_], height: int) -> str:
    x, y = tracks.xy[row].astype(np.float64).T
    frames = np.flatnonzero(keys)
    changes = np.flatnonzero(np.diff(keys, prepend=not keys[0]))
    cells = (
        f"{{curve K {_values(changes, keys.astype(np.float64))}}}",
        f'"point {tracks.ids[row]}"',
        f"{{curve {_values(frames, x)}}}",
        f"{{curve {_values(frames, height - y)}}}",
        f"{{curve K x{FIRST} 0}} {{curve K x{FIRST} 0}}",
        "1 0 0",
        f"{{curve {_values(frames, 1 - shares(tracks.confidence[row]))}}}",
        "1 0",
        _BOXES,
        " ".join(["{}"] * len(_KEYS)),
    )
    return f" {{ {' '.join(cells)} }}\n"


def _values(frames: NDArray[np.intp], values: NDArray[np.float64]) -> str:
    """A curve's keys at these frames: `x` and a frame's number where they do not follow on the one before."""
    starts = np.diff(frames, prepend=-2) != 1
    return " ".join(
        f"x{t + FIRST} {decimal(values[t])}" if start else decimal(values[t])
        for t, start in zip(frames.tolist(), starts.tolist(), strict=True)
    )
