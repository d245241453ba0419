"""Tracking a whole video.

With a causal model, every query goes forwards from its frame, then backwards to the first one. Memory does not grow
with the video: frames are read once, one at a time. Only if a query lies on a later frame are the prepared frames up to
it kept, on disk beyond `SPOOL_BYTES`, for the way back.

With a model that sees many frames at once, frames are read once as well, and what it needs of them is kept on disk
(`tapsdk.runtime.video_pass`).

Where a frame cannot be read, the frames before it are tracked to the end, and only then the error is raised.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size, scale_points
from tapsdk.points import QueryPoints
from tapsdk.runtime.causal import CausalPlan
from tapsdk.runtime.model import Model
from tapsdk.runtime.readable import ReadableFrames
from tapsdk.runtime.refined import RefinedPlan
from tapsdk.runtime.sizes import refinement_sizes
from tapsdk.runtime.stages import confidence_of
from tapsdk.runtime.video_pass import VideoPass
from tapsdk.runtime.whole import WholePlan
from tapsdk.system.progress import with_progress
from tapsdk.system.spool import Spool
from tapsdk.tracks import Tracks
from tapsdk.video.frames import FrameSource

logger = logging.getLogger(__name__)

SPOOL_BYTES = 256 << 20

Wrap = Callable[[Iterable[Any], int | None, str], Iterable[Any]]
"""Puts a progress bar around frames: (frames, total, label)."""


def no_progress(frames: Iterable[Any], total: int | None, label: str) -> Iterable[Any]:
    return frames


def progress_bars(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    """Wherever stderr goes."""
    return with_progress(frames, total=total, label=label, force=True)


def terminal_bars(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    """Only where stderr is a terminal."""
    return with_progress(frames, total=total, label=label)


def track_video(model: Model, source: FrameSource, query: QueryPoints, wrap: Wrap = no_progress) -> Tracks:
    """Tracks to the end of the video. What ends it before, of whatever type, Ctrl-C included, has an attribute
    `tracks`: what was tracked by then, None where that is not even a frame."""
    run = start_run(model, source, query)
    try:
        return run.run(wrap)
    except BaseException as error:
        # There may be no memory left, and an exception of another library may take no attributes.
        with suppress(Exception):
            tracks = run.tracks()
            error.tracks = tracks if tracks.num_frames else None  # type: ignore[attr-defined]
        raise


def start_run(model: Model, source: FrameSource, query: QueryPoints) -> CausalRun | OfflineRun:
    """A video about to be tracked, in the way that the model goes through it.

    Raises ModelError for a resolution that the model does not work at, BackendError for more points than it takes.
    """
    if isinstance(model.plan, CausalPlan):
        return CausalRun(model, source, query)
    return OfflineRun(model, model.plan, source, query)


class Schedule:
    """One way through the video, step by step: which points join when, and which points a stream's rows are of."""

    def __init__(self, when: NDArray[np.int64], join: str) -> None:
        """when: [N] step of each query. join: the manifest's `points.join`."""
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


class CausalRun:
    """One video being tracked by a causal model. `tracks` gives what is there, also after an interruption."""

    def __init__(self, model: Model, source: FrameSource, query: QueryPoints) -> None:
        self._stream, self._source, self._query = model.stream(), source, query
        self._stream.check_room(len(query))
        self._size: Size = source.size
        self._last_query = int(query.t.max(initial=0))
        join = model.manifest.points.join
        self._forwards, self._backwards = Schedule(query.t, join), Schedule(self._last_query - query.t, join)
        self._found: list[Tracks] = []
        self._found_before: dict[int, Tracks] = {}
        self._seconds = 0.0

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        frames = ReadableFrames(self._source)
        with closing(Spool("the frames before the last query", SPOOL_BYTES)) as spool:
            self._run_forwards(frames, spool, wrap)
            self._turn_round(frames.check(self._query, len(self._found)))
            if self._last_query:
                self._run_backwards(spool, wrap)
        if frames.error is not None:
            raise frames.error
        return self.tracks()

    def _turn_round(self, reached: NDArray[np.bool_]) -> None:
        """Begins the way back at the last query of those that were reached [N]; the others never join."""
        self._last_query = last = int(self._query.t[reached].max(initial=0))
        when = np.where(reached, last - self._query.t, last + 1)
        self._backwards = Schedule(when, self._stream.model.manifest.points.join)

    def _run_forwards(self, frames: ReadableFrames, spool: Spool, wrap: Wrap) -> None:
        for t, image in enumerate(wrap(frames, self._source.num_frames, "tracking")):
            began = time.perf_counter()
            frame = self._stream.prepare(image)
            if self._last_query and t <= self._last_query:
                spool.append({"frame": frame})
            self._found.append(self._advance(frame, self._forwards, t))
            self._seconds += time.perf_counter() - began

    def _run_backwards(self, spool: Spool, wrap: Wrap) -> None:
        self._stream.clear()
        way_back = range(self._last_query, -1, -1)
        for step, t in enumerate(wrap(way_back, len(way_back), "tracking backwards")):
            self._found_before[t] = self._advance(spool[t]["frame"], self._backwards, step)

    def _advance(self, frame: NDArray[np.float32], schedule: Schedule, step: int) -> Tracks:
        points, delay = schedule.joining(step)
        return self._stream.advance(frame, self._size, self._query.xy[points], delay)

    def tracks(self) -> Tracks:
        """What was tracked so far: forwards on the frames that were read, backwards where that was done."""
        count, frames = len(self._query), len(self._found)
        xy = np.repeat(self._query.xy[:, None], frames, axis=1)
        visible = np.zeros((count, frames), bool)
        confidence = np.zeros((count, frames), np.float32)

        def put(t: int, schedule: Schedule, tracks: Tracks, wanted: NDArray[np.bool_]) -> None:
            points = schedule.points(len(tracks))
            rows = wanted[points]
            xy[points[rows], t] = tracks.xy[rows, 0]
            visible[points[rows], t] = tracks.visible[rows, 0]
            confidence[points[rows], t] = tracks.confidence[rows, 0]

        for t, tracks in enumerate(self._found):
            put(t, self._forwards, tracks, self._query.t <= t)
        for t, tracks in self._found_before.items():
            put(t, self._backwards, tracks, (self._query.t > t) & (self._query.t < frames))
        return _tracks(self._stream.model, self._source, self._query, (xy, visible, confidence), self._seconds)


class OfflineRun:
    """One video being tracked by a model that sees many frames at once. `tracks` gives the points that are done."""

    def __init__(self, model: Model, plan: RefinedPlan | WholePlan, source: FrameSource, query: QueryPoints) -> None:
        self._model, self._plan, self._source, self._query = model, plan, source, query
        self._size: Size = source.size
        self._sizes = refinement_sizes(source.size, model.options.resolution, model.manifest)
        self._hold(0)
        self._seconds = 0.0

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        query = self._query
        start = scale_points(query.xy, self._size, self._model.manifest.points.space)
        with closing(self._plan.start(self._sizes, query.t, start)) as video:
            frames = ReadableFrames(self._source)
            for image in wrap(frames, self._source.num_frames, "encoding"):
                began = time.perf_counter()
                video.append(image)
                self._seconds += time.perf_counter() - began
            reached = frames.check(query, video.frames)
            if frames.error is not None:
                logger.warning("%s; tracking through the %d frames before", frames.error, video.frames)
            self._hold(video.frames)
            began = time.perf_counter()
            groups = video.groups() if reached.any() else []
            for _ in wrap(self._track(video, groups), len(groups) * video.steps, "tracking"):
                pass
            self._seconds += time.perf_counter() - began
        if frames.error is not None:
            raise frames.error
        return self.tracks()

    def tracks(self) -> Tracks:
        """What was tracked so far; points whose turn has not come stay at their queries, unseen."""
        visible = self._confidence > self._model.manifest.visibility.threshold
        found = self._xy, visible, self._confidence
        return _tracks(self._model, self._source, self._query, found, self._seconds)

    def _hold(self, frames: int) -> None:
        """Makes room for the tracks of so many frames."""
        self._xy = np.repeat(self._query.xy[:, None], frames, axis=1)
        self._confidence = np.zeros((len(self._query), frames), np.float32)

    def _track(self, video: VideoPass, groups: list[slice]) -> Iterator[None]:
        manifest = self._model.manifest
        for group in groups:
            found = yield from video.track(group)
            xy = scale_points(found.xy, manifest.points.space, self._size)
            confidence = confidence_of(found.logits, manifest.visibility)
            t, start = self._query.t[group], self._query.xy[group]
            reached = t < video.frames
            if manifest.points.query_frame == "exact":
                asked = np.flatnonzero(reached), t[reached]
                xy[asked], confidence[asked] = start[reached], 1.0
            # Of a point whose query was not reached nothing is known.
            xy[~reached], confidence[~reached] = start[~reached, None], 0.0
            self._xy[group], self._confidence[group] = xy, confidence


def _tracks(
    model: Model, source: FrameSource, query: QueryPoints, found: tuple[Any, Any, Any], seconds: float
) -> Tracks:
    """found: xy [N, T, 2], visible [N, T], confidence [N, T]. seconds: that they took, without reading frames."""
    xy, visible, confidence = found
    frames = xy.shape[1]
    return Tracks(
        xy,
        visible,
        confidence,
        queries=query.as_txy(),
        fps=source.fps,
        times=source.times[:frames] if source.times is not None else None,
        report=replace(model.report, frames_per_second=frames / seconds if seconds else None),
    )
