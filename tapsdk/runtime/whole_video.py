"""Tracking a whole video.

With a causal model, every query goes forwards from its frame, then backwards to the first one. Memory does not grow
with the video: frames are read once, and few are in memory at a time (`tapsdk.video.ahead`). Only if a query lies on a
later frame are the prepared frames up to it kept, on disk beyond `SPOOL_BYTES`, for the way back. Many points that are
independent, as the manifest says, are tracked group by group, so that memory does not grow with them either, beyond
their tracks; all frames are kept then.

With a model that sees many frames at once, frames are read once as well, and what it needs of them is kept on disk
(`tapsdk.runtime.video_pass`).

How much memory that takes is bounded (`tapsdk.runtime.budget`), and a journal (`tapsdk.runtime.journal`) lets a run go
on after a kill.

Where a frame cannot be read, the frames before it are tracked to the end, and only then the error is raised.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import ResumeError
from tapsdk.geometry import Size
from tapsdk.points import QueryPoints
from tapsdk.runtime.budget import Budget
from tapsdk.runtime.causal import CausalPlan
from tapsdk.runtime.journal import NO_JOURNAL, NoJournal
from tapsdk.runtime.model import Model
from tapsdk.runtime.offline_run import OfflineRun
from tapsdk.runtime.point_groups import Clock, Findings, PointGroup, Schedule, tracks_of
from tapsdk.runtime.readable import ReadableFrames
from tapsdk.runtime.video_pass import ANY_MEANS, Means
from tapsdk.system.progress import Wrap, no_progress
from tapsdk.system.spool import Spool
from tapsdk.tracks import Tracks
from tapsdk.video.ahead import read_ahead
from tapsdk.video.frames import FrameSource

SPOOL_BYTES = 256 << 20


def track_video(
    model: Model,
    source: FrameSource,
    query: QueryPoints,
    wrap: Wrap = no_progress,
    journal: NoJournal = NO_JOURNAL,
) -> Tracks:
    """Tracks to the end of the video. What ends it before, of whatever type, Ctrl-C included, has an attribute
    `tracks`: what was tracked by then, None where that is not even a frame. Raises ResumeError, without any, where the
    journal is of another video."""
    run = start_run(model, source, query, journal)
    try:
        tracks = run.run(wrap)
        journal.keep({})
        return tracks
    except ResumeError:
        raise
    except BaseException as error:
        # There may be no memory left, and an exception of another library may take no attributes.
        with suppress(Exception):
            tracks = run.tracks()
            error.tracks = tracks if tracks.num_frames else None  # type: ignore[attr-defined]
        raise


def start_run(
    model: Model, source: FrameSource, query: QueryPoints, journal: NoJournal = NO_JOURNAL
) -> CausalRun | OfflineRun:
    """A video about to be tracked, in the way that the model goes through it.

    Raises ModelError for a resolution that the model does not work at, BackendError for more points than it takes.
    """
    means = Means(Budget.of(model.options.memory), journal)
    if isinstance(model.plan, CausalPlan):
        return CausalRun(model, source, query, means)
    return OfflineRun(model, model.plan, source, query, means)


class CausalRun:
    """One video being tracked by a causal model. `tracks` gives what is there, also after an interruption."""

    def __init__(self, model: Model, source: FrameSource, query: QueryPoints, means: Means = ANY_MEANS) -> None:
        self._stream, self._source, self._query = model.stream(), source, query
        self._budget, self._journal = means.budget, means.journal
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
        size = self._stream.points_at_once(count, self._budget, self._source.num_frames)
        parts = [np.arange(first, min(first + size, count)) for first in range(0, max(count, 1), max(size, 1))]
        return [PointGroup(part, self._query.t[part], join) for part in parts]

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        first, *others = self._groups
        with closing(Spool("the frames that are seen again", self._budget.spool(SPOOL_BYTES))) as spool:
            with read_ahead(self._source, self._stream.prepare) as inputs:
                frames = ReadableFrames(inputs)
                self._read(frames, first, spool, wrap)
            self._journal.saw_all()
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
            self._journal.saw(partial(self._stream.as_array, frame))
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

        def advance() -> Mapping[str, NDArray[Any]]:
            tracks = self._stream.advance(frame, self._size, self._query.xy[points], delay)
            if self._stream.manifest.points.query_frame == "exact":
                asked = schedule.asked(step)  # those that joined earlier, too
                tracks.xy[asked, 0] = self._query.xy[schedule.points(len(tracks))[asked]]
                tracks.confidence[asked], tracks.visible[asked] = 1.0, True
            return {"xy": tracks.xy, "visible": tracks.visible, "confidence": tracks.confidence}

        restore = partial(self._stream.restore_state, count=schedule.rows_after(step))
        found = self._journal.once(advance, self._stream.save_state, restore)
        return Tracks(found["xy"], found["visible"], found["confidence"])

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
        return tracks_of(self._stream.model, self._clock, self._query, found, self._journal.timed(self._seconds))
