"""Tracking a whole video.

With a causal model, every query goes forwards from its frame, then backwards to the first one. Memory does not grow
with the video: frames are read once, one at a time. Only if a query lies on a later frame are the prepared frames up to
it kept, on disk beyond `SPOOL_BYTES`, for the way back.

With a model that sees all of a clip, frames are read once as well, and their features are kept on disk
(`tapsdk.runtime.clip`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact import Artifact, open_artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import Backend
from tapsdk.errors import SaveError
from tapsdk.geometry import Size, scale_points
from tapsdk.points import QueryPoints, check_query_frames
from tapsdk.runtime.clip import Clip
from tapsdk.runtime.model import Engine
from tapsdk.runtime.sizes import ClipSizes, clip_sizes
from tapsdk.runtime.stages import ClipPlan, confidence_of
from tapsdk.selection import Choice, choose
from tapsdk.tracks import Tracks
from tapsdk.video.frames import FrameSource

SPOOL_BYTES = 256 << 20

Wrap = Callable[[Iterable[Any], int | None, str], Iterable[Any]]
"""Puts a progress bar around frames: (frames, total, label)."""


def no_progress(frames: Iterable[Any], total: int | None, label: str) -> Iterable[Any]:
    return frames


class _Way:
    """One way through the video, step by step: which points join when, and whose the engine's rows are."""

    def __init__(self, when: NDArray[np.int64], join: str) -> None:
        """when: [N] step of each query. join: the manifest's `points_join`."""
        self._when = when
        self._joins = when if join == "query" else np.zeros_like(when)
        # Rows come in the order in which points join, then as given.
        self._order = np.argsort(self._joins, kind="stable")

    def joining(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Points that join at a step, and how many steps later each is queried."""
        points = self._order[self._joins[self._order] == step]
        return points, (self._when[points] - step).astype(np.float32)

    def points(self, rows: int) -> NDArray[np.int64]:
        """The points that the first rows are of."""
        return self._order[:rows]


def open_run(
    model: str | os.PathLike[str] | Artifact,
    source: FrameSource,
    query: QueryPoints,
    backend: str | Backend = "auto",
    *,
    plan: str = "",
    resolution: int | Size | None = None,
    strict: bool = False,
) -> OfflineRun | ClipRun:
    """A video about to be tracked, in the way that the model goes through it; the arguments as for `tapsdk.track`."""
    artifact = open_artifact(model)
    if artifact.manifest.mode == "clip":
        sizes = clip_sizes(source.size, resolution, artifact.manifest)
        choice = choose(artifact, backend, plan=plan, points=len(query), size=sizes.base, strict=strict)
        return ClipRun(artifact.manifest, choice, sizes, source, query)
    engine = Engine(artifact, backend, plan=plan, points=len(query), resolution=resolution, strict=strict)
    engine.check_room(len(query))
    return OfflineRun(engine, source, query)


class OfflineRun:
    """One video being tracked by a causal model. `tracks` gives what is there, also after an interruption."""

    def __init__(self, engine: Engine, source: FrameSource, query: QueryPoints) -> None:
        self._engine, self._source, self._query = engine, source, query
        self._size: Size = source.size
        self._last_query = int(query.t.max(initial=0))
        join = engine.manifest.points_join
        self._forwards, self._backwards = _Way(query.t, join), _Way(self._last_query - query.t, join)
        self._found: list[Tracks] = []
        self._found_before: dict[int, Tracks] = {}
        self._seconds = 0.0

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        with closing(_Spool()) as spool:
            self._run_forwards(spool, wrap)
            check_query_frames(self._query.t, len(self._found))
            if self._last_query:
                self._run_backwards(spool, wrap)
        return self.tracks()

    def _run_forwards(self, spool: _Spool, wrap: Wrap) -> None:
        for t, image in enumerate(wrap(self._source, self._source.num_frames, "tracking")):
            began = time.perf_counter()
            frame = self._engine.prepare(image)
            if self._last_query and t <= self._last_query:
                spool.append(frame)
            self._found.append(self._advance(frame, self._forwards, t))
            self._seconds += time.perf_counter() - began

    def _run_backwards(self, spool: _Spool, wrap: Wrap) -> None:
        self._engine.clear()
        way_back = range(self._last_query, -1, -1)
        for step, t in enumerate(wrap(way_back, len(way_back), "tracking backwards")):
            self._found_before[t] = self._advance(spool[t], self._backwards, step)

    def _advance(self, frame: NDArray[np.float32], way: _Way, step: int) -> Tracks:
        points, delay = way.joining(step)
        return self._engine.advance(frame, self._size, self._query.xy[points], delay)

    def tracks(self) -> Tracks:
        """What was tracked so far: forwards on the frames that were read, backwards where that was done."""
        count, frames = len(self._query), len(self._found)
        xy = np.repeat(self._query.xy[:, None], frames, axis=1)
        visible = np.zeros((count, frames), bool)
        confidence = np.zeros((count, frames), np.float32)

        def put(t: int, way: _Way, tracks: Tracks, wanted: NDArray[np.bool_]) -> None:
            points = way.points(len(tracks))
            rows = wanted[points]
            xy[points[rows], t] = tracks.xy[rows, 0]
            visible[points[rows], t] = tracks.visible[rows, 0]
            confidence[points[rows], t] = tracks.confidence[rows, 0]

        for t, tracks in enumerate(self._found):
            put(t, self._forwards, tracks, self._query.t <= t)
        for t, tracks in self._found_before.items():
            put(t, self._backwards, tracks, self._query.t > t)
        report = replace(self._engine.report, frames_per_second=frames / self._seconds if self._seconds else None)
        return Tracks(xy, visible, confidence, queries=self._query.as_txy(), fps=self._source.fps, report=report)


class ClipRun:
    """One video being tracked by a model that sees all of it. `tracks` gives the points that are done."""

    def __init__(
        self, manifest: Manifest, choice: Choice, sizes: ClipSizes, source: FrameSource, query: QueryPoints
    ) -> None:
        self._manifest, self._choice, self._sizes, self._source, self._query = manifest, choice, sizes, source, query
        self._size: Size = source.size
        self._hold(0)
        self._seconds = 0.0

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        plan, query = cast(ClipPlan, self._choice.plan), self._query
        start = scale_points(query.xy, self._size, self._manifest.resolution)
        with closing(Clip(plan, self._sizes, query.t, start)) as clip:
            for image in wrap(self._source, self._source.num_frames, "encoding"):
                began = time.perf_counter()
                clip.append(image)
                self._seconds += time.perf_counter() - began
            check_query_frames(query.t, clip.frames)
            self._hold(clip.frames)
            began = time.perf_counter()
            groups = clip.groups()
            for _ in wrap(self._track(clip, groups), len(groups) * clip.steps, "tracking"):
                pass
            self._seconds += time.perf_counter() - began
        return self.tracks()

    def tracks(self) -> Tracks:
        """What was tracked so far; points whose turn has not come stay at their queries, unseen."""
        frames = self._xy.shape[1]
        report = self._choice.report(self._manifest)
        report = replace(report, frames_per_second=frames / self._seconds if self._seconds else None)
        visible = self._confidence > self._manifest.visibility.threshold
        queries = self._query.as_txy()
        return Tracks(self._xy, visible, self._confidence, queries=queries, fps=self._source.fps, report=report)

    def _hold(self, frames: int) -> None:
        """Makes room for the tracks of so many frames."""
        self._xy = np.repeat(self._query.xy[:, None], frames, axis=1)
        self._confidence = np.zeros((len(self._query), frames), np.float32)

    def _track(self, clip: Clip, groups: list[slice]) -> Iterator[None]:
        for group in groups:
            found = yield from clip.track(group)
            xy = scale_points(found.xy, self._manifest.resolution, self._size)
            confidence = confidence_of(found.logits, self._manifest.visibility)
            if self._manifest.query_frame == "exact":
                asked = np.arange(len(xy)), self._query.t[group]
                xy[asked], confidence[asked] = self._query.xy[group], 1.0
            self._xy[group], self._confidence[group] = xy, confidence


class _Spool:
    """Frames of one shape, appended in order and read back in any; on disk beyond `SPOOL_BYTES`."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
        self._shape: tuple[int, ...] = ()
        self._bytes = 0

    def append(self, frame: NDArray[np.float32]) -> None:
        self._shape, self._bytes = frame.shape, frame.nbytes
        try:
            self._file.write(frame.tobytes())
        except OSError as error:
            raise SaveError(
                f"could not keep the frames before the last query in {tempfile.gettempdir()}: "
                f"{error.strerror or error}; make room, or name another folder in TMPDIR"
            ) from error

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        self._file.seek(index * self._bytes)
        return np.frombuffer(self._file.read(self._bytes), np.float32).reshape(self._shape)

    def close(self) -> None:
        # Closing flushes once more, and fails once more on a full disk.
        with suppress(OSError):
            self._file.close()


def progress_bars(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    from tapsdk.system.progress import with_progress

    return with_progress(frames, total=total, label=label)
