"""Points that are tracked together, when each joins, and where what is found of them goes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tapsdk.points import QueryPoints
from tapsdk.runtime.model import Model
from tapsdk.tracks import Tracks
from tapsdk.video.frames import FrameSource


class Schedule:
    """One way through the video, step by step: which points join when, and which points a stream's rows are of."""

    def __init__(self, points: NDArray[np.int64], when: NDArray[np.int64], join: str) -> None:
        """points: [M] indices of them. when: [M] step of each one's query. join: the manifest's `points.join`."""
        joins = when if join == "query" else np.zeros_like(when)
        # Rows come in the order in which points join, then as given.
        order = np.argsort(joins, kind="stable")
        self._points, self._when, self._joins = points[order], when[order], joins[order]

    def joining(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Points that join at a step, and how many steps later each is queried."""
        now = self._joins == step
        return self._points[now], (self._when[now] - step).astype(np.float32)

    def asked(self, step: int) -> NDArray[np.int64]:
        """Rows of the points that are queried at a step."""
        return np.flatnonzero(self._when == step)

    def rows_after(self, step: int) -> int:
        """How many rows a stream has after a step."""
        return int((self._joins <= step).sum())

    def points(self, rows: int) -> NDArray[np.int64]:
        """The points that the first rows are of."""
        return self._points[:rows]


class PointGroup:
    """Points that are tracked together, forwards from their queries and then backwards."""

    def __init__(self, points: NDArray[np.int64], t: NDArray[np.int64], join: str) -> None:
        """points: [M] indices of them. t: [M] frame of each one's query. join: the manifest's `points.join`."""
        self._points, self._t, self._join = points, t, join
        self.forwards = Schedule(points, t, join)

    @property
    def name(self) -> str:
        """Which they are, counted from 1."""
        return f"points {self._points[0] + 1} to {self._points[-1] + 1}"

    def backwards(self, reached: NDArray[np.bool_]) -> tuple[Schedule, int]:
        """The way back to the first frame, and the frame of the last query, where it begins.

        reached: [N] whether the video went on to a query; those to which it did not are left out.
        """
        there = reached[self._points]
        points, t = self._points[there], self._t[there]
        last = int(t.max(initial=0))
        return Schedule(points, last - t, self._join), last


class Findings:
    """Tracks of N points in T frames; what is not found yet lies at its query, unseen.

    xy: [N, T, 2] float32. visible: [N, T] bool. confidence: [N, T] float32.
    """

    def __init__(self, queried: NDArray[np.float32], frames: int) -> None:
        """queried: [N, 2] (x, y) of the queries."""
        self.xy = np.repeat(queried[:, None], frames, axis=1)
        self.visible = np.zeros((len(queried), frames), np.bool_)
        self.confidence = np.zeros((len(queried), frames), np.float32)

    def put(self, t: int, points: NDArray[np.int64], tracks: Tracks, wanted: NDArray[np.bool_]) -> None:
        """What was found in frame t: tracks with T = 1 of points [M], of those alone that are `wanted` [N]."""
        rows = wanted[points]
        self.xy[points[rows], t] = tracks.xy[rows, 0]
        self.visible[points[rows], t] = tracks.visible[rows, 0]
        self.confidence[points[rows], t] = tracks.confidence[rows, 0]


@dataclass(frozen=True)
class Clock:
    """When the frames of a source are shown. passed: those that somebody took from it before."""

    source: FrameSource
    passed: int

    def times(self, frames: int) -> NDArray[np.float64] | None:
        """[T] seconds of the next frames; None if the source does not say."""
        times = self.source.times
        return None if times is None else times[self.passed : self.passed + frames]


def tracks_of(model: Model, clock: Clock, query: QueryPoints, found: Findings, seconds: float) -> Tracks:
    """seconds: that what was found took, without reading frames and, of a causal model, without resizing them; 0 where
    that is not known."""
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
