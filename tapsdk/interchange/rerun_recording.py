"""Recordings for Rerun's viewer, and tracks as one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tapsdk.errors import SaveError
from tapsdk.interchange.scene import Scene, seen

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks

TRAIL = 30
"""Frames that a line reaches back."""
MOST_CLASSES = 1 << 16
"""Rerun tells so many classes apart, each in a colour of its own."""


def check_rerun() -> Any:
    """The package rerun. Raises SaveError where it is not installed."""
    try:
        return importlib.import_module("rerun")
    except ImportError as error:
        raise SaveError(".rrd files are written with Rerun: pip install 'tapsdk[rerun]'") from error


def write_recording(file: BinaryIO, log: Callable[[Any, Any], None]) -> None:
    """log: gets the package rerun and the recording to fill. Raises SaveError."""
    rerun = check_rerun()
    recording = rerun.RecordingStream("tapsdk")
    with TemporaryDirectory() as folder:  # it writes to paths alone
        path = Path(folder) / "tracks.rrd"
        recording.save(path)
        log(rerun, recording)
        recording.flush()
        recording.disconnect()
        file.write(path.read_bytes())


def set_frame(recording: Any, t: int, times: Any) -> None:
    """What is logged next is of this frame. times: [T] seconds, or None."""
    recording.set_time("frame", sequence=t)
    if times is not None:
        recording.set_time("time", duration=float(times[t]))


def write(tracks: Tracks, scene: Scene, file: BinaryIO) -> None:
    """Points in pixels, where they are visible, and the way that each came. Raises SaveError without Rerun."""
    shown = seen(tracks)

    def log(rerun: Any, recording: Any) -> None:
        for t in range(tracks.num_frames):
            set_frame(recording, t, tracks.times)
            here = np.flatnonzero(shown[:, t])
            classes = here % MOST_CLASSES
            recording.log("points", rerun.Points2D(tracks.xy[here, t], class_ids=classes))
            since = max(0, t - TRAIL)
            trails = [tracks.xy[n, since : t + 1][shown[n, since : t + 1]] for n in here]
            recording.log("trails", rerun.LineStrips2D(trails, class_ids=classes))

    write_recording(file, log)
