"""The result of tracking."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, SupportsFloat, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import TracksError
from tapsdk.system.reading import reading
from tapsdk.tracks_files import NO_TRACKS, read_tracks, write_tracks

if TYPE_CHECKING:
    import pandas


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
    pace: int | str = 1
    """The model looked at every so many frames, or as seldom as "real-time" took."""

    def __str__(self) -> str:
        """Three lines for people: what ran, how fast, and what else there was."""
        return "\n".join([self.headline, f"  {self._speed()}", f"  {self._others()}"])

    @property
    def headline(self) -> str:
        """What ran, in one line."""
        precision = f" ({self.precision})" if self.precision else ""
        path = f", {self.path} plan" if self.path else ""
        pace = "" if self.pace == 1 else f", pace {self.pace}"
        return f"{self.model or 'unknown model'}{precision} on {self.backend or 'an unknown backend'}{path}{pace}"

    def _speed(self) -> str:
        measured = ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.milliseconds.items())
        whole = f"{self.frames_per_second:.1f} frames per second" if self.frames_per_second else "speed not measured"
        return f"{whole}; a frame by {measured}" if measured else whole

    def _others(self) -> str:
        if not self.refused:
            return "nothing was refused"
        first, *rest = self.refused.items()
        others = f", and {len(rest)} more" if rest else ""
        return f"refused: {first[0]}, because {' '.join(first[1].split())}{others}"


@dataclass(frozen=True, eq=False)
class Track:
    """One point in T frames: a row of `Tracks`.

    xy: [T, 2] float32, pixels. visible: [T] bool. confidence: [T] float32. query: [3] float32 (t, x, y), or None.
    """

    id: int
    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    query: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.xy)

    def __repr__(self) -> str:
        return f"Track {self.id}: {len(self)} frames, visible in {int(self.visible.sum())}"


@dataclass(frozen=True, eq=False)
class Tracks:
    """Where N points are in each of T frames.

        tracks[0].xy                    # one point: [T, 2]
        tracks[tracks.ids == 7]         # some of them, as Tracks: by a slice, a mask, or a list of rows
        for track in tracks: ...        # point by point

    xy: [N, T, 2] float32, pixels, (0, 0) = outer corner of the top-left pixel.
    visible: [N, T] bool. confidence: [N, T] float32 in [0, 1], that the point is there and seen.
    queries: [N, 3] float32 (t, x, y), what was asked for. fps: frames per second of the video; None where that is not
        known, and for what is no rate, such as infinity.
    times: [T] float64, seconds at which each frame is shown, where the video says so.
    ids: [N] int64, names of the points, all different; 0 to N - 1 if left out.
    """

    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    queries: NDArray[np.float32] | None = None
    fps: float | None = None
    times: NDArray[np.float64] | None = None
    report: RunReport | None = None
    ids: NDArray[np.int64] = None  # type: ignore[assignment]  # never None once it is made

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
        checked["ids"] = np.arange(len(xy)) if self.ids is None else _as_ids(self.ids, len(xy))
        for name, value in {**checked, "fps": as_rate(self.fps)}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def num_frames(self) -> int:
        return int(self.xy.shape[1])

    def __repr__(self) -> str:
        """Three lines at most, however many points there are."""
        rate = f", {self.fps:g} frames per second" if self.fps else ""
        lines = [f"Tracks: {len(self)} points, {self.num_frames} frames{rate}"]
        if self.visible.size:
            share, sure = self.visible.mean(), np.median(self.confidence)
            lines.append(f"  visible {100 * share:.0f} %, median confidence {sure:.2f}")
        return "\n".join(lines + ([f"  {self.report.headline}"] if self.report else []))

    def __iter__(self) -> Iterator[Track]:
        return (self[row] for row in range(len(self)))

    @overload
    def __getitem__(self, rows: int) -> Track: ...
    @overload
    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.generic]) -> Tracks: ...
    def __getitem__(self, rows: int | slice | Sequence[int] | NDArray[np.generic]) -> Track | Tracks:
        """One point by its row, or the Tracks of several by a slice, a mask [N] or a list of rows.

        Raises IndexError for rows that there are not.
        """
        if isinstance(rows, slice):
            return self._rows(np.arange(len(self))[rows])
        which = np.asarray(rows)
        if which.ndim == 0 and np.issubdtype(which.dtype, np.integer):
            row = int(which)
            query = None if self.queries is None else self.queries[row]
            return Track(int(self.ids[row]), self.xy[row], self.visible[row], self.confidence[row], query)
        if which.ndim != 1 or (which.size and which.dtype.kind not in "biu"):
            raise IndexError(f"points are picked by a number, a slice, a mask or a list of rows, not by {rows!r}")
        return self._rows(np.arange(len(self))[which if which.size else which.astype(np.int64)])

    def _rows(self, rows: NDArray[np.int64]) -> Tracks:
        queries = None if self.queries is None else self.queries[rows]
        picked = {name: getattr(self, name)[rows] for name in ("xy", "visible", "confidence", "ids")}
        return replace(self, queries=queries, **picked)

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Columns with a row per point and frame: point (its id), frame, x, y, visible, confidence; time if known.

        polars.DataFrame(tracks.to_dict())
        """
        count, frames = self.xy.shape[:2]
        columns: dict[str, NDArray[Any]] = {
            "point": np.repeat(self.ids, frames),
            "frame": np.tile(np.arange(frames), count),
            "x": self.xy[..., 0].ravel(),
            "y": self.xy[..., 1].ravel(),
            "visible": self.visible.ravel(),
            "confidence": self.confidence.ravel(),
        }
        return columns if self.times is None else {**columns, "time": np.tile(self.times, count)}

    def to_dataframe(self) -> pandas.DataFrame:
        """The columns of `to_dict` as a pandas DataFrame. Raises TracksError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise TracksError("a DataFrame needs pandas: pip install pandas; to_dict gives the same columns") from None
        return pandas.DataFrame(self.to_dict())

    def draw(self, video: Any, path: str | os.PathLike[str], **style: Any) -> None:
        """Writes the video with the tracks painted over it, as `tapsdk.draw` does; `style` is that of `tapsdk.draw`.

            tapsdk.track("in.mp4", points).draw("in.mp4", "out.mp4", trail=32, lost="hidden")

        video: what was tracked: a path, an array [T, H, W, 3], an iterable of frames. path: .mp4 and others, see
            `tapsdk.VideoWriter`; it must not be the video itself.
        Raises FramesError, SaveError, PointsError.
        """
        from tapsdk.video.painted import write_painted

        write_painted(video, self, path, **style)

    def plot(self, frame: ArrayLike | None = None) -> NDArray[np.uint8]:
        """A picture of all ways at once, [H, W, 3] uint8 RGB: over a frame of the video, or on a dark ground.

        PIL.Image.fromarray(tracks.plot(frame))
        """
        from tapsdk.video.painted import plot_ways

        return plot_ways(self, frame)

    def save(self, path: str | os.PathLike[str], *, outdates: str | os.PathLike[str] | None = None) -> None:
        """Write a .npz, .csv or .json file; `load` gives back the same xy, visible and confidence.

        npz and json also hold queries, fps, times, ids and report; csv is one row per point, by its id, and frame, with
        its time where times are known, and holds nothing else, not even T where N = 0. JSON has neither NaN nor
        infinity: both become null, which loads as NaN.
        "-" is standard output, which gets csv; a device or a pipe without one of the suffixes gets JSON. The file
        appears whole or not at all, with the permissions of the one that it replaces.

        outdates: a file that is of no worth beside these tracks, such as a video that older ones are drawn into. It is
            removed right before they take their name.
        Raises SaveError.
        """
        stored = {f.name: getattr(self, f.name) for f in fields(self)}
        table = {**stored, "report": None if self.report is None else asdict(self.report)}
        write_tracks(path, table, outdates)

    def export(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        images: Sequence[str] | None = None,
    ) -> None:
        """Write a file for another program; docs/results.md says what each format holds and where it is read.

            tracks.export("tracks.nk", size=(1080, 1920))
            tracks.export("keypoints.json", "coco", size=(1080, 1920), images=names)

        format: parquet, nuke, after-effects, colmap, coco, cvat or rerun; left out where the suffix says it: .parquet,
            .nk, .db, .rrd. size: (height, width) of the frames. fps: those of the tracks if left out. images: a name
            for each frame's picture, for coco and colmap; frame_000000.png and so on if left out.
        Raises SaveError. The file appears whole or not at all.
        """
        from tapsdk.interchange.export import write_export

        write_export(path, format, self, size=size, fps=fps, images=images)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tracks:
        """Read a file that `save` wrote; raises TracksError if it is missing, damaged or of another kind."""
        with reading(path, NO_TRACKS, TracksError):
            stored = read_tracks(path)
            return Tracks(**{**stored, "report": report_from(stored.get("report"))})


def report_from(values: dict[str, Any] | None) -> RunReport | None:
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


def _as_ids(value: Any, count: int) -> NDArray[np.int64]:
    ids = np.asarray(value)
    if ids.shape != (count,) or (count and ids.dtype.kind not in "iu") or len(np.unique(ids)) < count:
        raise TracksError(f"ids must be {count} different whole numbers, got {value!r}")
    return ids.astype(np.int64)


def as_shape(name: str, value: Any, dtype: type[np.generic], shape: tuple[int, ...], fits: str = "xy") -> NDArray[Any]:
    """`value` as an array of this shape. Raises TracksError that names the array which it should fit."""
    array = np.asarray(value, dtype=dtype)
    if array.shape != shape:
        raise TracksError(f"{name} must have shape {list(shape)} to fit {fits}, got {list(array.shape)}")
    return array
