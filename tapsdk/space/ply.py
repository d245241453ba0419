"""Tracks as a PLY file: the visible points of all frames, coloured, and an edge from each to the next of its track."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

_VERTEX = np.dtype(
    [
        *((axis, "<f4") for axis in "xyz"),
        *((colour, "u1") for colour in ("red", "green", "blue")),
        ("confidence", "<f4"),
        ("point", "<i4"),
        ("frame", "<i4"),
    ]
)
_EDGE = np.dtype([("vertex1", "<i4"), ("vertex2", "<i4"), *((colour, "u1") for colour in ("red", "green", "blue"))])
_NAMES = {"<f4": "float", "|u1": "uchar", "<i4": "int"}


def write_ply(tracks: Mapping[str, Any], file: BinaryIO) -> None:
    """tracks: as in `tapsdk.space.tracks3d_files`."""
    shown = tracks["visible"] & np.isfinite(tracks["xyz"]).all(axis=2)
    point, frame = np.nonzero(shown)  # track by track
    colour = tracks["colors"][point]
    vertices = np.zeros(len(point), _VERTEX)
    for axis, name in enumerate("xyz"):
        vertices[name] = tracks["xyz"][point, frame, axis]
    vertices["confidence"], vertices["point"], vertices["frame"] = tracks["confidence"][shown], point, frame
    # Lines break where a point is hidden.
    first = np.flatnonzero((np.diff(point) == 0) & (np.diff(frame) == 1))
    edges = np.zeros(len(first), _EDGE)
    edges["vertex1"], edges["vertex2"] = first, first + 1
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name], edges[name] = colour[:, channel], colour[first, channel]
    head = ["ply", "format binary_little_endian 1.0", f"comment metres, in the frame of the {tracks['frame']}"]
    for name, rows in (("vertex", vertices), ("edge", edges)):
        head.append(f"element {name} {len(rows)}")
        kinds = [(field, rows.dtype[field]) for field in rows.dtype.names or ()]
        head += [f"property {_NAMES[kind.str]} {field}" for field, kind in kinds]
    file.write(("\n".join([*head, "end_header"]) + "\n").encode("ascii"))
    file.write(vertices.tobytes() + edges.tobytes())
