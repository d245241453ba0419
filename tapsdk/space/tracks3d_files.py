"""The file formats of tracks in space: .npz and .csv, which are read again, and .ply and .rrd for other programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tapsdk.errors import SaveError, TracksError
from tapsdk.interchange.rerun_recording import check_rerun
from tapsdk.space.ply import write_ply
from tapsdk.space.rerun_file import write_rerun
from tapsdk.system.files import AtomicFile, is_special_file
from tapsdk.system.npz import read_npz, write_npz
from tapsdk.system.places import local_copy
from tapsdk.system.reading import MOST_DATA_BYTES
from tapsdk.tracks_csv import read_csv, write_csv

FORMAT = "tapsdk.tracks3d"
VERSION = 1
NO_TRACKS = "is not a file of tracks in space"
SPACES = ("camera", "world")
_AXES = {space: tuple(f"{axis}_{space}" for axis in "xyz") for space in SPACES}
_NEEDED = ("format", "version", "frame", "xyz", "visible", "confidence")
_OTHERS = ("queries", "times", "fps", "camera_to_world")

Fields = Mapping[str, Any]
"""The fields of `Tracks3D` by name, and colors [N, 3] uint8."""


def write_tracks3d(
    path: str | os.PathLike[str], tracks: Fields, outdates: str | os.PathLike[str] | None = None
) -> None:
    """Raises SaveError. The file appears whole or not at all. outdates: as in `AtomicFile`."""
    write = _writer(path)
    with AtomicFile(path, outdates) as file:
        write(tracks, file)


def check_save_path3d(path: str | os.PathLike[str]) -> None:
    """Raise SaveError if `Tracks3D.save` cannot write there, before the work is done. Leaves nothing behind."""
    if _writer(path) is write_rerun:
        check_rerun()
    if not is_special_file(path):
        AtomicFile(path).discard()


def _writer(path: str | os.PathLike[str]) -> Callable[[Fields, BinaryIO], None]:
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise SaveError(f"could not write {path}: the suffix must be one of {', '.join(_WRITERS)}")
    return _WRITERS[suffix]


def read_tracks3d(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of `Tracks3D`; call it within `reading`. Raises TracksError for another suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise TracksError(f"{path} cannot be read as tracks in space: the suffix must be one of {', '.join(_READERS)}")
    with local_copy(path, TracksError, MOST_DATA_BYTES) as copy, open(copy, "rb") as file:
        return _READERS[suffix](file)


def _write_npz(tracks: Fields, file: BinaryIO) -> None:
    arrays = {name: tracks[name] for name in (*_NEEDED[3:], *_OTHERS) if tracks[name] is not None}
    head = {"format": np.str_(FORMAT), "version": np.int64(VERSION), "frame": np.str_(tracks["frame"])}
    write_npz(file, {**head, **arrays})


def _read_npz(file: BinaryIO) -> dict[str, Any]:
    stored = read_npz(file, {*_NEEDED, *_OTHERS})
    if str(stored["format"]) != FORMAT:
        raise ValueError(f"the format is {str(stored['format'])!r}, not {FORMAT!r}")
    if int(stored["version"]) != VERSION:
        raise ValueError(f"the format has version {int(stored['version'])}; this tapsdk reads version {VERSION}")
    return {
        **{name: stored[name] for name in _NEEDED[3:]},
        **{name: stored.get(name) for name in _OTHERS if name != "fps"},
        "fps": float(stored["fps"]) if "fps" in stored else None,
        "frame": str(stored["frame"]),
    }


def _write_csv(tracks: Fields, file: BinaryIO) -> None:
    write_csv(file, _AXES[tracks["frame"]], tracks["xyz"], tracks)


def _read_csv(file: BinaryIO) -> dict[str, Any]:
    axes, xyz, others = read_csv(file, list(_AXES.values()))
    del others["ids"]
    return {"xyz": xyz, "frame": next(space for space, names in _AXES.items() if names == axes), **others}


_READERS: dict[str, Callable[[BinaryIO], dict[str, Any]]] = {".npz": _read_npz, ".csv": _read_csv}
_WRITERS: dict[str, Callable[[Fields, BinaryIO], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".ply": write_ply,
    ".rrd": write_rerun,
}
