"""Frames as far as they can be read, so that what can be is tracked before the error is raised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError
from tapsdk.points import QueryPoints, check_query_frames

Prepared = TypeVar("Prepared")


class ReadableFrames(Generic[Prepared]):
    """The frames of a source up to its end, or to the first one that cannot be read; then `error` says why."""

    def __init__(self, frames: Iterable[Prepared]) -> None:
        self._frames = frames
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Prepared]:
        try:
            yield from self._frames
        except MemoryError:
            raise
        except Exception as error:  # of whatever the frames come from
            self.error = error

    def check(self, query: QueryPoints, count: int) -> NDArray[np.bool_]:
        """[N] whether a query lies in one of the `count` frames that there were.

        Raises PointsError where one does not though all frames could be read; the error itself if there is no frame,
        FramesError if somebody else has taken them all.
        """
        if not count:
            raise self.error or FramesError("the frames were all read before; open the video again, and pass that")
        if self.error is None:
            check_query_frames(query.t, count)
        return query.t < count
