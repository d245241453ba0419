"""Tracks in space as a recording for Rerun's viewer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from tapsdk.interchange.rerun_recording import MOST_CLASSES, TRAIL, set_frame, write_recording


def write_rerun(tracks: Mapping[str, Any], file: BinaryIO) -> None:
    """tracks: as in `tapsdk.space.tracks3d_files`."""
    write_recording(file, partial(_log, tracks))


def _log(tracks: Mapping[str, Any], rerun: Any, recording: Any) -> None:
    xyz, colors, poses = tracks["xyz"], tracks["colors"], tracks["camera_to_world"]
    shown = tracks["visible"] & np.isfinite(xyz).all(axis=2)
    recording.log("/", rerun.ViewCoordinates.RDF, static=True)
    for t in range(xyz.shape[1]):
        set_frame(recording, t, tracks["times"])
        here = shown[:, t]
        classes = np.flatnonzero(here) % MOST_CLASSES
        recording.log("points", rerun.Points3D(xyz[here, t], colors=colors[here], class_ids=classes))
        since = max(0, t - TRAIL)
        trails = [xyz[n, since : t + 1][shown[n, since : t + 1]] for n in np.flatnonzero(here)]
        recording.log("trails", rerun.LineStrips3D(trails, colors=colors[here]))
        if poses is not None:
            recording.log("camera", rerun.Transform3D(translation=poses[t, :3, 3], mat3x3=poses[t, :3, :3]))
