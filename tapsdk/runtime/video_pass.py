"""What it takes to track through a video with a model that sees many of its frames at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator

from tapsdk.runtime.stages import Estimates
from tapsdk.video.frames import Frame

Steps = Generator[None, None, Estimates]
"""Work that pauses now and then, so that its progress can be shown, and returns estimates in the end."""


class VideoPass(ABC):
    """A video that is taken in frame by frame, then the points that are tracked through it, group by group.

    A plan's `start` makes one. Close it: it keeps files open.
    """

    def __init__(self) -> None:
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
