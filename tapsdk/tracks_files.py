"""The file formats of tracks: .npz, .csv and .json, as plain arrays by the names of `Tracks`' fields."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError, TracksError
from tapsdk.system.files import STDOUT, AtomicFile, is_special_file
from tapsdk.system.json_text import as_json, parse_json
from tapsdk.system.npz import read_npz, write_npz
from tapsdk.system.places import local_copy
from tapsdk.system.reading import MOST_DATA_BYTES, reading
from tapsdk.tracks_csv import read_csv, short_floats, write_csv

FORMAT = "tapsdk.tracks"
VERSION = 1
NO_TRACKS = "is not a tracks file"
AXES = ("x", "y")
MOST_FRAMES = 1 << 40
"""A video of a thousand years; tracks of no points may say that they have any number."""

Fields = Mapping[str, Any]
"""xy [N, T, 2], visible [N, T], confidence [N, T], ids [N]; queries [N, 3], times [T], fps and report (a
table), or None."""


def write_tracks(path: str | os.PathLike[str], tracks: Fields, outdates: str | os.PathLike[str] | None = None) -> None:
    """Raises SaveError. The file appears whole or not at all. outdates: as in `AtomicFile`."""
    write, _ = _FORMATS[_save_suffix(path)]
    with AtomicFile(path, outdates) as file:
        write(tracks, file)


def read_tracks(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Raises TracksError for a file that is missing, damaged or of another kind."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise TracksError(f"{path} cannot be read as tracks: the suffix must be one of {', '.join(_FORMATS)}")
    _, read = _FORMATS[suffix]
    copied = local_copy(path, TracksError, MOST_DATA_BYTES)
    with reading(path, NO_TRACKS, TracksError), copied as copy, open(copy, "rb") as file:
        return read(file)


def check_save_path(path: str | os.PathLike[str]) -> None:
    """Raise SaveError if `Tracks.save` cannot write there, before the work is done. Leaves nothing behind."""
    _save_suffix(path)
    if not is_special_file(path):
        AtomicFile(path).discard()


def _save_suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if os.fspath(path) == STDOUT:
        return ".csv"  # which other programs read line by line
    if suffix not in _FORMATS and is_special_file(path):
        return ".json"
    if suffix not in _FORMATS:
        raise SaveError(f"could not write {path}: the suffix must be one of {', '.join(_FORMATS)}")
    return suffix


def _check_tag(kind: Any, version: Any) -> None:
    if kind != FORMAT:
        raise ValueError(f"the format is {kind!r}, not {FORMAT!r}")
    if version != VERSION:
        raise ValueError(f"the format has version {version!r}; this tapsdk reads version {VERSION}")


def _write_npz(tracks: Fields, file: BinaryIO) -> None:
    arrays = {name: value for name, value in tracks.items() if value is not None}
    if "fps" in arrays:
        arrays["fps"] = np.float64(arrays["fps"])
    if "report" in arrays:
        arrays["report"] = np.str_(json.dumps(arrays["report"]))
    arrays = {"format": np.str_(FORMAT), "version": np.int64(VERSION), **arrays}
    write_npz(file, arrays)


def _read_npz(file: BinaryIO) -> dict[str, Any]:
    needed, others = ("format", "version", "xy", "visible", "confidence"), ("queries", "times", "fps", "report", "ids")
    stored = read_npz(file, {*needed, *others})
    _check_tag(str(stored["format"]), int(stored["version"]))
    return {
        **{name: stored[name] for name in ("xy", "visible", "confidence")},
        **{name: stored.get(name) for name in ("queries", "times", "ids")},
        "fps": float(stored["fps"]) if "fps" in stored else None,
        "report": parse_json(str(stored["report"])) if "report" in stored else None,
    }


def _write_csv(tracks: Fields, file: BinaryIO) -> None:
    write_csv(file, AXES, tracks["xy"], tracks)


def _read_csv(file: BinaryIO) -> dict[str, Any]:
    _, xy, others = read_csv(file, [AXES])
    return {"xy": xy, **others}


def _to_json(array: NDArray[np.float32]) -> Any:
    """Nested lists whose numbers print as short as float32 allows; null for what JSON lacks."""
    flat = [float(text) for text in short_floats(array)]
    values = np.array([value if np.isfinite(value) else None for value in flat], dtype=object)
    return values.reshape(array.shape).tolist()


def _from_json(values: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.array(values, dtype=np.float32)
    return array.reshape(shape) if array.size == 0 else array


def _flags(values: Any) -> NDArray[np.bool_]:
    array = np.array(values, dtype=None if values else np.bool_)
    if array.size and not np.isin(array, (0, 1)).all():
        raise ValueError("visible must be true or false")
    return array.astype(np.bool_)


def _write_json(tracks: Fields, file: BinaryIO) -> None:
    about = {
        "format": FORMAT,
        "version": VERSION,
        "num_frames": tracks["xy"].shape[1],
        "fps": tracks["fps"],
        "times": None if tracks["times"] is None else tracks["times"].tolist(),
        "report": tracks["report"],
        "queries": None if tracks["queries"] is None else _to_json(tracks["queries"]),
    }
    # Point by point: as Python's numbers, all of them would take ten times the memory of the tracks.
    file.write((json.dumps(as_json(about), allow_nan=False)[:-1] + ', "tracks": [').encode("ascii"))
    for point in range(len(tracks["xy"])):
        track = {
            "id": int(tracks["ids"][point]),
            "xy": _to_json(tracks["xy"][point]),
            "visible": tracks["visible"][point].tolist(),
            "confidence": _to_json(tracks["confidence"][point]),
        }
        file.write(((", " if point else "") + json.dumps(track, allow_nan=False)).encode("ascii"))
    file.write(b"]}\n")


def _read_json(file: BinaryIO) -> dict[str, Any]:
    document = parse_json(file.read())
    if not isinstance(document, dict):
        raise ValueError("the document is not a JSON object")
    _check_tag(document.get("format"), document.get("version"))
    tracks, frames = document["tracks"], document["num_frames"]
    if type(frames) is not int or not 0 <= frames <= MOST_FRAMES:
        raise ValueError(f"num_frames is {frames!r}, not a number of frames")
    queries = document.get("queries")
    return {
        "xy": _from_json([track["xy"] for track in tracks], (len(tracks), frames, 2)),
        "visible": _flags([track["visible"] for track in tracks]).reshape(len(tracks), frames),
        "confidence": _from_json([track["confidence"] for track in tracks], (len(tracks), frames)),
        "queries": None if queries is None else _from_json(queries, (len(tracks), 3)),
        "ids": [track.get("id", row) for row, track in enumerate(tracks)],
        **{name: document.get(name) for name in ("times", "fps", "report")},
    }


_FORMATS: dict[str, tuple[Callable[[Fields, BinaryIO], None], Callable[[BinaryIO], dict[str, Any]]]] = {
    ".npz": (_write_npz, _read_npz),
    ".csv": (_write_csv, _read_csv),
    ".json": (_write_json, _read_json),
}
SUFFIXES = tuple(_FORMATS)
