"""Points that come and go while frames do: a click is meant for the picture that was on show when it was made."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import PointsError
from tapsdk.live.history import History
from tapsdk.runtime.model import Model
from tapsdk.tracker import Tracker
from tapsdk.tracks import Tracks
from tapsdk.video.frames import Frame

MOST_POINTS = 10_000
"""At once. Each takes memory, and a page that nobody guards could ask for any number."""
SLOTS = 64
"""Points that a model whose points see each other is told from the first frame on that they may come."""
KEPT_FRAMES, KEPT_BYTES = 24, 96 << 20
"""Frames that clicks may still be meant for: so many, or fewer of large ones."""


@dataclass(frozen=True)
class Past:
    """A frame that was tracked. number: in its source. row: of the history."""

    picture: Frame
    number: int
    row: int


class LivePoints:
    """A tracker that takes points of past frames too, and writes down in a history where all of them are.

    latest: where the points are in the newest frame.
    """

    def __init__(self, model: Model, history: History) -> None:
        self._model, self._history = model, history
        self._tracker = Tracker(model, slots=SLOTS)
        self._past: deque[Past] = deque(maxlen=KEPT_FRAMES)
        self._asked: list[int] = []
        self.latest = Tracks(np.zeros((0, 1, 2), np.float32), np.zeros((0, 1), bool), np.zeros((0, 1), np.float32))

    @property
    def ids(self) -> list[int]:
        return self._tracker.ids

    def add(self, xy: NDArray[np.float32], number: int | None = None) -> list[int]:
        """Adds points [N, 2] (x, y), pixels of the frame of that number, or of the oldest that is still kept; returns
        their ids. number: None for the newest frame, or before the first one for that.

        They are tracked from that frame to the newest one by themselves, and then join the others. Raises PointsError.
        """
        if len(self.ids) + len(xy) > MOST_POINTS:
            raise PointsError(f"{len(self.ids) + len(xy)} points are too many at once: {MOST_POINTS} are the most")
        if not self._past:
            self._asked = self._tracker.add(xy)
            return self._asked
        since = [past for past in self._past if number is not None and past.number >= number] or [self._past[-1]]
        late = Tracker(self._model)
        late.add(xy)
        found = [late.step(past.picture) for past in since]
        if self._model.manifest.points.independent:
            ids = self._tracker.join(late)
        else:
            # They see the others, and have to begin beside them: in the frame that comes, where they are in this one.
            height, width = since[-1].picture.shape[:2]
            ids = self._tracker.add(found[-1].xy[:, 0].clip(0, (width, height)))
        for past, tracks in zip(since, found, strict=True):
            self._history.add(past.row, _named(tracks, ids))
        self._history.ask(ids, since[0].row, xy)
        self.latest = _together(self.latest, _named(found[-1], ids))
        return ids

    def remove(self, ids: list[int]) -> list[int]:
        """Stops tracking those of `ids` that there still are; returns them."""
        there = [id for id in ids if id in set(self.ids)]
        self._tracker.remove(there)
        self.latest = self.latest[~np.isin(self.latest.ids, there)]
        return there

    def step(self, picture: Frame, number: int, time: float) -> None:
        """Tracks one frame further, the one of that number, which is shown at that second."""
        tracks = self._tracker.step(picture)
        row = self._history.begin(time)
        if self._asked:
            self._history.ask(self._asked, row, tracks[np.isin(tracks.ids, self._asked)].xy[:, 0])
            self._asked = []
        self._history.add(row, tracks)
        self._past.append(Past(picture, number, row))
        while len(self._past) > 1 and len(self._past) * picture.nbytes > KEPT_BYTES:
            self._past.popleft()
        self.latest = tracks


def _together(one: Tracks, other: Tracks) -> Tracks:
    """All rows of two."""
    parts = [(each.xy, each.visible, each.confidence, each.ids) for each in (one, other)]
    xy, visible, confidence, ids = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Tracks(xy, visible, confidence, ids=ids)


def _named(tracks: Tracks, ids: list[int]) -> Tracks:
    return Tracks(tracks.xy, tracks.visible, tracks.confidence, ids=np.array(ids, np.int64))
