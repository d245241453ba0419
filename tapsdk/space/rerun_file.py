"""Tracks as a recording for Rerun's viewer."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np

from tapsdk.errors import SaveError

TRAIL = 30
"""Frames that a line reaches back."""


def check_rerun() -> Any:
    """The package rerun. Raises SaveError where it is not installed."""
    try:
        return importlib.import_module("rerun")
    except ImportError as error:
        raise SaveError(".rrd files are written with Rerun: pip install 'tapsdk[rerun]'") from error


def write_rerun(tracks: Mapping[str, Any], file: BinaryIO) -> None:
    """tracks: as in `tapsdk.space.tracks3d_files`."""
    rerun = check_rerun()
    recording = rerun.RecordingStream("tapsdk")
    with TemporaryDirectory() as folder:  # it writes to paths alone
        path = Path(folder) / "tracks.rrd"
        recording.save(path)
        _log(rerun, recording, tracks)
        recording.flush()
        recording.disconnect()
        file.write(path.read_bytes())


def _log(rerun: Any, recording: Any, tracks: Mapping[str, Any]) -> None:
    xyz, colors, poses = tracks["xyz"], tracks["colors"], tracks["camera_to_world"]
    shown = tracks["visible"] & np.isfinite(xyz).all(axis=2)
    recording.log("/", rerun.ViewCoordinates.RDF, static=True)
    for t in range(xyz.shape[1]):
        recording.set_time("frame", sequence=t)
        if tracks["times"] is not None:
            recording.set_time("time", duration=float(tracks["times"][t]))
        here = shown[:, t]
        recording.log(
            "points", rerun.Points3D(xyz[here, t], colors=colors[here], class_ids=np.flatnonzero(here) % (1 << 16))
        )
        since = max(0, t - TRAIL)
        trails = [xyz[n, since : t + 1][shown[n, since : t + 1]] for n in np.flatnonzero(here)]
        recording.log("trails", rerun.LineStrips3D(trails, colors=colors[here]))
        if poses is not None:
            recording.log("camera", rerun.Transform3D(translation=poses[t, :3, 3], mat3x3=poses[t, :3, :3]))
