"""What it takes to track through a video with a model that sees many of its frames at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass

from tapsdk.runtime.budget import ANY_BUDGET, Budget
from tapsdk.runtime.journal import NO_JOURNAL, NoJournal
from tapsdk.runtime.stages import Estimates
from tapsdk.video.frames import Frame

Steps = Generator[None, None, Estimates]
"""Work that pauses now and then, so that its progress can be shown, and returns estimates in the end."""


@dataclass(frozen=True)
class Means:
    """What a pass may take, and where it writes down what it finds.

    journal: of the results of stages, which is enough to go on after a kill: all else is computed from them again.
    """

    budget: Budget = ANY_BUDGET
    journal: NoJournal = NO_JOURNAL


ANY_MEANS = Means()


class VideoPass(ABC):
    """A video that is taken in frame by frame, then the points that are tracked through it, group by group.

    A plan's `start` makes one. Close it: it keeps files open.
    """

    def __init__(self, means: Means = ANY_MEANS) -> None:
        self._budget, self._journal = means.budget, means.journal
        self.frames = 0
        """How many there are so far."""

    @abstractmethod
    def append(self, image: Frame) -> None:
        """Takes in the next frame [H, W, 3]. Raises SaveError where what is kept of it finds no room."""

    @abstractmethod
    def groups(self) -> list[slice]:
        """The points that are tracked together, a group after the other."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How often `track` pauses for a group."""

    @abstractmethod
    def track(self, group: slice) -> Steps:
        """Returns the estimates of a group of points in all frames."""

    @abstractmethod
    def close(self) -> None: ...


@dataclass(frozen=True)
class Chunk:
    """Frames [start, stop) are what it is for; [first, last) are looked at."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def core(self) -> slice:
        """Those that it is for among those that are looked at."""
        return slice(self.start - self.first, self.stop - self.first)


def chunks_of(frames: int, length: int, margin: int) -> list[Chunk]:
    """The chunks of a video, in order: `length` frames each, and `margin` on both sides, as far as there are any."""
    starts = range(0, frames, length)
    stops = [min(start + length, frames) for start in starts]
    return [
        Chunk(start, stop, max(0, start - margin), min(frames, stop + margin))
        for start, stop in zip(starts, stops, strict=True)
    ]


def point_groups(points: int, frames: int, most_rows: int, most_points: int) -> list[slice]:
    """Slices of points: at most `most_points` at once, and points times frames at most `most_rows`, or a single one."""
    count = min(most_points, max(1, most_rows // max(1, frames)))
    return [slice(first, first + count) for first in range(0, points, count)]


def finished(steps: Steps) -> Estimates:
    """What the work comes to, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
