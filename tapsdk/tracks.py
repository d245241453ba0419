"""The result of tracking."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import TracksError
from tapsdk.system.reading import reading
from tapsdk.tracks_files import NO_TRACKS, read_tracks, write_tracks


@dataclass(frozen=True)
class RunReport:
    """What ran to make the tracks, and what did not and why."""

    model: str = ""
    backend: str = ""
    path: str = ""
    precision: str = ""
    frames_per_second: float | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """Per frame, of each backend:plan that was measured to choose between them."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Backends and backend:plans that could not run, with the reason."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Where N points are in each of T frames.

    xy: [N, T, 2] float32, pixels, (0, 0) = outer corner of the top-left pixel.
    visible: [N, T] bool. confidence: [N, T] float32 in [0, 1], that the point is there and seen.
    queries: [N, 3] float32 (t, x, y), what was asked for. fps: frames per second of the video; None where that is not
        known, and for what is no rate, such as infinity.
    times: [T] float64, seconds at which each frame is shown, where the video says so.
    """

    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    queries: NDArray[np.float32] | None = None
    fps: float | None = None
    times: NDArray[np.float64] | None = None
    report: RunReport | None = None

    def __post_init__(self) -> None:
        xy = np.asarray(self.xy, dtype=np.float32)
        if xy.ndim != 3 or xy.shape[2] != 2:
            raise TracksError(f"xy must have shape [N, T, 2], got {list(xy.shape)}")
        checked = {
            "xy": xy,
            "visible": as_shape("visible", self.visible, np.bool_, xy.shape[:2]),
            "confidence": as_shape("confidence", self.confidence, np.float32, xy.shape[:2]),
        }
        if self.queries is not None:
            checked["queries"] = as_shape("queries", self.queries, np.float32, (len(xy), 3))
        if self.times is not None:
            checked["times"] = as_shape("times", self.times, np.float64, xy.shape[1:2])
        for name, value in {**checked, "fps": as_rate(self.fps)}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def num_frames(self) -> int:
        return int(self.xy.shape[1])

    def save(self, path: str | os.PathLike[str], *, outdates: str | os.PathLike[str] | None = None) -> None:
        """Write a .npz, .csv or .json file; `load` gives back the same xy, visible and confidence.

        npz and json also hold queries, fps, times and report; csv is one row per point and frame, with its time where
        times are known, and holds nothing else, not even T where N = 0. JSON has neither NaN nor infinity: both become
        null, which loads as NaN.
        A device or a pipe without one of the suffixes gets JSON. The file appears whole or not at all, with the
        permissions of the one that it replaces.

        outdates: a file that is of no worth beside these tracks, such as a video that older ones are drawn into. It is
            removed right before they take their name.
        Raises SaveError.
        """
        stored = {f.name: getattr(self, f.name) for f in fields(self)}
        table = {**stored, "report": None if self.report is None else asdict(self.report)}
        write_tracks(path, table, outdates)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tracks:
        """Read a file that `save` wrote; raises TracksError if it is missing, damaged or of another kind."""
        with reading(path, NO_TRACKS, TracksError):
            stored = read_tracks(path)
            return Tracks(**{**stored, "report": _report_from(stored.get("report"))})


def _report_from(values: dict[str, Any] | None) -> RunReport | None:
    """The fields that this version knows; a later one may have more. Raises ValueError for one of another type."""
    if values is None:
        return None
    known = {field.name for field in fields(RunReport)}
    report = RunReport(**{name: value for name, value in values.items() if name in known})
    texts = [report.model, report.backend, report.path, report.precision, *report.refused.values()]
    speeds = [report.frames_per_second, *report.milliseconds.values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("its report has something else where a text should be")
    if not all(speed is None or type(speed) in (int, float) for speed in speeds):
        raise ValueError("its report has something else where a number should be")
    return report


def as_rate(fps: Any) -> float | None:
    """Frames per second, None for what is no rate. Raises TracksError for what is no number."""
    if fps is not None and (isinstance(fps, (bool, str)) or not isinstance(fps, SupportsFloat)):
        raise TracksError(f"fps must be a number or None, got {fps!r}")
    try:
        rate = 0.0 if fps is None else float(fps)
    except OverflowError:
        return None
    return rate if 0 < rate < math.inf else None


def as_shape(name: str, value: Any, dtype: type[np.generic], shape: tuple[int, ...], fits: str = "xy") -> NDArray[Any]:
    """`value` as an array of this shape. Raises TracksError that names the array which it should fit."""
    array = np.asarray(value, dtype=dtype)
    if array.shape != shape:
        raise TracksError(f"{name} must have shape {list(shape)} to fit {fits}, got {list(array.shape)}")
    return array
