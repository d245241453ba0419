"""Tracking a whole video.

With a causal model, every query goes forwards from its frame, then backwards to the first one. Memory does not grow
with the video: frames are read once, and few are in memory at a time (`tapsdk.video.ahead`). Only if a query lies on a
later frame are the prepared frames up to it kept, on disk beyond `SPOOL_BYTES`, for the way back. Many points that are
independent, as the manifest says, are tracked group by group, so that memory does not grow with them either, beyond
their tracks; all frames are kept then.

With a model that sees many frames at once, frames are read once as well, and what it needs of them is kept on disk
(`tapsdk.runtime.video_pass`).

Where a frame cannot be read, the frames before it are tracked to the end, and only then the error is raised.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size, scale_points
from tapsdk.points import QueryPoints
from tapsdk.runtime.causal import CausalPlan
from tapsdk.runtime.model import Model
from tapsdk.runtime.point_groups import Findings, PointGroup, Schedule
from tapsdk.runtime.readable import ReadableFrames
from tapsdk.runtime.refined import RefinedPlan
from tapsdk.runtime.sizes import refinement_sizes
from tapsdk.runtime.stages import confidence_of
from tapsdk.runtime.video_pass import VideoPass
from tapsdk.runtime.whole import WholePlan
from tapsdk.system.progress import with_progress
from tapsdk.system.spool import Spool
from tapsdk.tracks import Tracks
from tapsdk.video.ahead import as_it_is, read_ahead
from tapsdk.video.frames import FrameSource

logger = logging.getLogger(__name__)

SPOOL_BYTES = 256 << 20

Wrap = Callable[[Iterable[Any], int | None, str], Iterable[Any]]
"""Puts a progress bar around frames: (frames, total, label)."""
Report = Callable[[str, int, int | None], None]
"""Is told what is being done, how many frames of it are done, and how many there are, if that is known."""


def no_progress(frames: Iterable[Any], total: int | None, label: str) -> Iterable[Any]:
    return frames


def progress_bars(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    """Wherever stderr goes."""
    return with_progress(frames, total=total, label=label, force=True)


def terminal_bars(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    """Only where stderr is a terminal."""
    return with_progress(frames, total=total, label=label)


def reports_to(report: Report) -> Wrap:
    """Tells a function what was done."""

    def wrap(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
        for done, frame in enumerate(frames, 1):
            yield frame
            report(label, done, total)

    return wrap


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


class CausalRun:
    """One video being tracked by a causal model. `tracks` gives what is there, also after an interruption."""

    def __init__(self, model: Model, source: FrameSource, query: QueryPoints) -> None:
        self._stream, self._source, self._query = model.stream(), source, query
        self._size: Size = source.size
        self._clock = Clock(source, source.delivered)
        self._groups = self._split()
        self._last_query = int(query.t.max(initial=0))
        self._reached = np.ones(len(query), np.bool_)
        """Queries [N] to which the video went on."""
        self._first: list[Tracks] = []
        """Of the first group, frame by frame, while nobody knows how many there will be."""
        self._found: Findings | None = None
        self._seconds = 0.0

    def _split(self) -> list[PointGroup]:
        count, join = len(self._query), self._stream.manifest.points.join
        size = self._stream.points_at_once(count)
        parts = [np.arange(first, min(first + size, count)) for first in range(0, max(count, 1), max(size, 1))]
        return [PointGroup(part, self._query.t[part], join) for part in parts]

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        first, *others = self._groups
        with closing(Spool("the frames that are seen again", SPOOL_BYTES)) as spool:
            with read_ahead(self._source, self._stream.prepare) as inputs:
                frames = ReadableFrames(inputs)
                self._read(frames, first, spool, wrap)
            self._reached = frames.check(self._query, len(self._first))
            self._found = found = self._gather()
            self._first.clear()
            self._run_backwards(first, spool, found, wrap)
            for group in others:
                self._run_forwards(group, spool, found, wrap)
                self._run_backwards(group, spool, found, wrap)
        if frames.error is not None:
            raise frames.error
        return self.tracks()

    def _read(self, frames: Iterable[NDArray[np.float32]], group: PointGroup, spool: Spool, wrap: Wrap) -> None:
        """Takes the first group forwards, and keeps what is seen again."""
        several = len(self._groups) > 1
        for t, frame in enumerate(wrap(frames, self._source.num_frames, self._label("tracking", group))):
            began = time.perf_counter()
            if several or (self._last_query and t <= self._last_query):
                spool.append({"frame": frame if isinstance(frame, np.ndarray) else self._stream.as_array(frame)})
            self._first.append(self._advance(frame, group.forwards, t))
            self._seconds += time.perf_counter() - began

    def _run_forwards(self, group: PointGroup, spool: Spool, found: Findings, wrap: Wrap) -> None:
        self._stream.clear()
        for t in wrap(range(len(spool)), len(spool), self._label("tracking", group)):
            began = time.perf_counter()
            tracks = self._advance(spool[t]["frame"], group.forwards, t)
            found.put(t, group.forwards.points(len(tracks)), tracks, self._query.t <= t)
            self._seconds += time.perf_counter() - began

    def _run_backwards(self, group: PointGroup, spool: Spool, found: Findings, wrap: Wrap) -> None:
        schedule, last = group.backwards(self._reached)
        if not last:
            return
        self._stream.clear()
        way_back = range(last, -1, -1)
        for step, t in enumerate(wrap(way_back, len(way_back), self._label("tracking backwards", group))):
            tracks = self._advance(spool[t]["frame"], schedule, step)
            found.put(t, schedule.points(len(tracks)), tracks, self._query.t > t)

    def _advance(self, frame: NDArray[np.float32], schedule: Schedule, step: int) -> Tracks:
        points, delay = schedule.joining(step)
        return self._stream.advance(frame, self._size, self._query.xy[points], delay)

    def _label(self, work: str, group: PointGroup) -> str:
        return f"{work}, {group.name}" if len(self._groups) > 1 else work

    def _gather(self) -> Findings:
        """What was found of the first group while frames were read."""
        forwards, found = self._groups[0].forwards, Findings(self._query.xy, len(self._first))
        for t, tracks in enumerate(self._first):
            found.put(t, forwards.points(len(tracks)), tracks, self._query.t <= t)
        return found

    def tracks(self) -> Tracks:
        """What was tracked so far: forwards on the frames that were read, backwards where that was done, a group of
        points after the other; those whose turn has not come stay at their queries, unseen."""
        found = self._gather() if self._found is None else self._found
        return _tracks(self._stream.model, self._clock, self._query, found, self._seconds)


class OfflineRun:
    """One video being tracked by a model that sees many frames at once. `tracks` gives the points that are done."""

    def __init__(self, model: Model, plan: RefinedPlan | WholePlan, source: FrameSource, query: QueryPoints) -> None:
        self._model, self._plan, self._source, self._query = model, plan, source, query
        self._size: Size = source.size
        self._clock = Clock(source, source.delivered)
        self._sizes = refinement_sizes(source.size, model.options.resolution, model.manifest)
        self._found = Findings(query.xy, 0)
        self._seconds = 0.0

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        query = self._query
        start = scale_points(query.xy, self._size, self._model.manifest.points.space)
        with closing(self._plan.start(self._sizes, query.t, start)) as video:
            with read_ahead(self._source, as_it_is) as images:
                frames = ReadableFrames(images)
                for image in wrap(frames, self._source.num_frames, "encoding"):
                    began = time.perf_counter()
                    video.append(image)
                    self._seconds += time.perf_counter() - began
            reached = frames.check(query, video.frames)
            if frames.error is not None:
                logger.warning("%s; tracking through the %d frames before", frames.error, video.frames)
            self._found = Findings(query.xy, video.frames)
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
        return _tracks(self._model, self._clock, self._query, self._found, self._seconds)

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
            self._found.xy[group], self._found.confidence[group] = xy, confidence
            self._found.visible[group] = confidence > manifest.visibility.threshold


@dataclass(frozen=True)
class Clock:
    """When the frames of a source are shown. passed: those that somebody took from it before."""

    source: FrameSource
    passed: int

    def times(self, frames: int) -> NDArray[np.float64] | None:
        """[T] seconds of the next frames; None if the source does not say."""
        times = self.source.times
        return None if times is None else times[self.passed : self.passed + frames]


def _tracks(model: Model, clock: Clock, query: QueryPoints, found: Findings, seconds: float) -> Tracks:
    """seconds: that what was found took, without reading frames and, of a causal model, without resizing them."""
    frames = found.xy.shape[1]
    return Tracks(
        found.xy,
        found.visible,
        found.confidence,
        queries=query.as_txy(),
        fps=clock.source.mean_fps,
        times=clock.times(frames),
        report=replace(model.report, frames_per_second=frames / seconds if seconds else None),
    )
