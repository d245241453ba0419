"""Tracking frame by frame: points come and go while the video runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.api import loaded
from tapsdk.errors import ArtifactError, FramesError, PointsError
from tapsdk.geometry import MAX_SIDE, Size
from tapsdk.points import as_rows, parse_query_points
from tapsdk.runtime.features import PointFeatures
from tapsdk.runtime.model import Model
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.pace import Pace, check_pace
from tapsdk.system.files import AtomicFile
from tapsdk.system.npz import headed, read_headed
from tapsdk.system.places import local_copy
from tapsdk.system.reading import MOST_DATA_BYTES, reading
from tapsdk.tracks import RunReport, Tracks
from tapsdk.video.arrays import as_array, to_rgb_uint8

SAVE_FORMAT = "tapsdk.tracker"
SAVE_VERSION = 2
NO_TRACKER = "is not a saved tracker"


class Tracker:
    """Tracks points through frames that arrive one by one, with one frame of latency.

        tracker = Tracker()
        ids = tracker.add([[120, 80]])          # (x, y) pixels in the frame that step() gets next
        tracks = tracker.step(frame)            # [N, 1] in the order of tracker.ids, which tracks.ids holds, too

    model: a bundled model's name, an artifact directory, or what `tapsdk.load` gave; then all but `resolution` is as it
        was loaded, and its weights are shared.
    backend: "auto" or a backend's name. device, resolution, strict: see `tapsdk.track`.
    points: how many points you expect, for the choice between ways to run; any number works.
    threads: of the CPU, None for the engine's choice.
    slots: points that may come later, for models whose points see one another (TAPNext): they know of so many points
        from the first frame on, as in `tapsdk.track`, and `add` says where each of them is. Other models need none.
    pace: see `tapsdk.track`. rate: frames per second that come, for pace="real-time"; None: 30.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Model = "tapir",
        backend: str = "auto",
        *,
        device: str | None = None,
        points: int = 64,
        threads: int | None = None,
        resolution: int | Size | None = None,
        strict: bool = False,
        slots: int = 0,
        pace: Pace = 1,
        rate: float | None = None,
    ) -> None:
        if not _is_count(slots):
            raise PointsError(f"slots must be a number of points, 0 or more, got {slots!r}")
        options = RunOptions(
            backend,
            device=device,
            threads=threads,
            points=points,
            resolution=resolution,
            strict=strict,
            pace=check_pace(pace),
            rate=rate,
        )
        self._slots = slots
        self._stream = loaded(model, options).stream(slots)
        self._ids: list[int] = []
        self._next_id = 0
        self._added: dict[int, _Added] = {}
        self._size: Size | None = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exception: object) -> None:
        """Forgets all points, which frees what is kept of them."""
        self.reset()

    def __repr__(self) -> str:
        frames = f"frames of {_extent(self._size)}" if self._size else "no frame yet"
        return f"Tracker: {len(self.ids)} points, {frames}\n  {self.report.headline}"

    @property
    def ids(self) -> list[int]:
        """Ids of the points, in the order of `step`'s rows; those added last come last."""
        return [*self._ids, *self._added]

    @property
    def report(self) -> RunReport:
        """What runs, and where."""
        return self._stream.model.report

    def add(self, points: ArrayLike | None = None, *, features: PointFeatures | None = None) -> list[int]:
        """Adds points [N, 2] (x, y), pixels of the frame that the next `step` gets; returns their ids.

        features: in place of points, what `Tracker.features` gave of another video or picture: the points are looked
            for in all of the frame, until they are seen for the first time.
        Raises PointsError; for points outside the frame at once if its size is known, else at the next `step`.
        ModelError for features of another model, or for a model that has none.
        """
        if (points is None) == (features is None):
            raise PointsError("give either points, or features to find them by")
        if features is None:
            added = [_Added(xy) for xy in self._parse(points, self._size)]
        else:
            self._stream.check_features(features)
            added = [_Added(_ANYWHERE, features[[row]]) for row in range(len(features))]
        ids = list(range(self._next_id, self._next_id + len(added)))
        self._next_id += len(added)
        self._added |= dict(zip(ids, added, strict=True))
        return ids

    def features(self, frame: ArrayLike, points: ArrayLike) -> PointFeatures:
        """What the model knows points by that are at [N, 2] (x, y), pixels, of a frame of whatever size and video.

            features = tracker.features(demonstration, [[120, 80]])    # may be saved to a small file
            ids = tracker.add(features=features)                       # found in the next frames

        The points that are tracked have no part in it. Raises PointsError, FramesError, and ModelError for a model
        that knows points by their places alone, such as TAPNext.
        """
        image = to_rgb_uint8(as_array(frame, "the frame"), "the frame")
        size = (int(image.shape[0]), int(image.shape[1]))
        return self._stream.features(self._stream.prepare(image), size, self._parse(points, size))

    @staticmethod
    def _parse(points: ArrayLike | None, size: Size | None) -> NDArray[np.float32]:
        """[N, 2] of a frame."""
        rows = as_rows([] if points is None else points)
        if len(rows) and rows.shape[1] == 3:
            raise PointsError(
                "Tracker.add takes [N, 2] (x, y) in the next frame; it is track that takes [N, 3] (t, x, y)"
            )
        return parse_query_points(rows, frame_size=size).xy

    def remove(self, ids: int | Iterable[int]) -> None:
        """Stops tracking points; the others are not affected. Raises PointsError for an id that is not tracked."""
        gone = {int(ids)} if isinstance(ids, (int, np.integer)) else {int(i) for i in ids}
        unknown = gone.difference(self.ids)
        if unknown:
            raise PointsError(f"no point has id {min(unknown)}; the ids are {_listed(self.ids)}")
        kept = [row for row, id in enumerate(self._ids) if id not in gone]
        if len(kept) < len(self._ids):
            self._stream.keep(np.array(kept, np.int64))
            self._ids = [self._ids[row] for row in kept]
        self._added = {id: added for id, added in self._added.items() if id not in gone}

    def join(self, other: Tracker) -> list[int]:
        """Takes over the points of another tracker, whose last frame was the same as here; returns their new ids.

            late = Tracker(model=model)             # a click into a frame that is over already
            late.add([[120, 80]])
            for frame in frames_since: late.step(frame)
            ids = tracker.join(late)                # as if the point had been here from that frame on

        Both were made with one loaded model (`tapsdk.load`) of independent points. The other one is empty then.
        Raises ModelError, PointsError.
        """
        if self._added or other._added:
            raise PointsError("points were added for a frame that has not come yet; call step(frame) before join")
        if self._size not in (None, other._size):
            raise PointsError(f"{self!r} and {other!r} have not seen the same frames")
        self._stream.join(other._stream)
        ids = list(range(self._next_id, self._next_id + len(other._ids)))
        self._next_id += len(ids)
        self._ids, self._size = [*self._ids, *ids], other._size
        other.reset()
        return ids

    def reset(self, ids: Iterable[int] | None = None) -> None:
        """Forgets points and their past: those of `ids`, or all of them and the frame size."""
        if ids is not None:
            self.remove(ids)
            return
        self._stream.clear()
        self._ids, self._added, self._size = [], {}, None

    def step(self, frame: ArrayLike) -> Tracks:
        """Where the points are in the next frame, [H, W, 3] uint8 RGB or float in [0, 1].

        Returns Tracks with T = 1, rows in the order of `ids`. Raises FramesError for a frame of another size or
        kind, PointsError for added points outside it; the tracker is then as it was before.
        """
        image = to_rgb_uint8(as_array(frame, "the frame"), "the frame")
        size = (int(image.shape[0]), int(image.shape[1]))
        if self._size not in (None, size):
            raise FramesError(
                f"the frame is {_extent(size)}, but those before it were {_extent(self._size or size)}; "
                "call reset() before another video"
            )
        added = np.array([each.xy for each in self._added.values()], np.float32).reshape(-1, 2)
        parse_query_points(added[~np.isnan(added[:, 0])], frame_size=size)
        known = [each.features for each in self._added.values() if each.features is not None]
        tracks = self._stream.advance(self._stream.prepare(image), size, added, known=known)
        self._ids, self._added, self._size = self.ids, {}, size
        return replace(tracks, ids=np.array(self._ids, np.int64))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the points and what is known of them to a file; `load` goes on from there. Raises SaveError."""
        if self._added:
            raise PointsError("points were added for a frame that has not come yet; call step(frame) before save")
        manifest = self._stream.manifest
        header = {
            "format": SAVE_FORMAT,
            "version": SAVE_VERSION,
            "model": manifest.model,
            "weights_sha256": manifest.weights_sha256,
            "space": manifest.points.space,
            "ids": self._ids,
            "next_id": self._next_id,
            "size": self._size,
            "slots": self._slots,
            "free": self._stream.free,
        }
        with AtomicFile(path) as file:
            np.savez(file, **headed(header, self._stream.save_state()))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: str | os.PathLike[str] | Model | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> Tracker:
        """A tracker as it was saved.

        model: the artifact directory, if the tracker ran one, or a loaded model; a bundled one is found by its name.
        options: of `Tracker`.
        Raises ArtifactError for a damaged file, or one that was saved with other weights.
        """
        with local_copy(path, ArtifactError, MOST_DATA_BYTES) as copy:
            saved = _read_saved(copy)
        tracker = cls(saved.model if model is None else model, backend, **{"slots": saved.slots, **options})
        manifest = tracker._stream.manifest
        if (manifest.weights_sha256, manifest.points.space) != (saved.weights_sha256, saved.space):
            raise ArtifactError(
                f"{path} was saved with other weights of {saved.model}, or at another size, than those of "
                f"{tracker._stream.model.artifact.directory}; pass the model that it was saved with"
            )
        with reading(path, NO_TRACKER, ArtifactError):
            tracker._stream.restore_state(saved.rows, len(saved.ids), saved.free)
        tracker._ids, tracker._next_id, tracker._size = saved.ids, saved.next_id, saved.size
        return tracker


_ANYWHERE = np.full(2, np.nan, np.float32)


@dataclass(frozen=True)
class _Added:
    """A point for the next frame: xy [2] pixels, NaN for one that is looked for by its features [1]."""

    xy: NDArray[np.float32]
    features: PointFeatures | None = None


@dataclass(frozen=True)
class _Saved:
    """What a file of `Tracker.save` holds."""

    model: str
    weights_sha256: str
    space: Size
    ids: list[int]
    next_id: int
    size: Size | None
    rows: dict[str, NDArray[Any]]
    slots: int = 0
    free: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for what no Tracker saves."""
        for name, text in (("model", self.model), ("weights_sha256", self.weights_sha256)):
            if not isinstance(text, str):
                raise ValueError(f"{name} is {text!r}, not a text")
        if not _is_size(self.space) or not (self.size is None or _is_size(self.size)):
            raise ValueError(f"a space of {self.space!r} and frames of {self.size!r} are none")
        if not _is_count(self.slots) or not _is_count(self.free) or self.free > self.slots:
            raise ValueError(f"{self.free!r} free slots of {self.slots!r} are none")
        if not _is_count(self.next_id) or not isinstance(self.ids, list) or not all(map(_is_count, self.ids)):
            raise ValueError("ids are whole numbers from 0")
        if len(set(self.ids)) < len(self.ids) or max(self.ids, default=-1) >= self.next_id:
            raise ValueError(f"its {len(self.ids)} ids are not different ones below {self.next_id}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_count(n) and 0 < n <= MAX_SIDE for n in value)


def _read_saved(path: Path) -> _Saved:
    with reading(path, NO_TRACKER, ArtifactError):
        header, rows = read_headed(path)
        if (header.pop("format"), header.pop("version")) != (SAVE_FORMAT, SAVE_VERSION):
            raise ValueError(f"it is not of version {SAVE_VERSION}")
        header |= {name: header[name] and tuple(header[name]) for name in ("space", "size")}
        return _Saved(**header, rows=rows)


def _extent(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"


def _listed(ids: list[int]) -> str:
    return (", ".join(map(str, ids[:20])) + (", ..." if len(ids) > 20 else "")) or "none"
