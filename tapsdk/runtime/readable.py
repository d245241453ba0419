"""Frames as far as they can be read, so that what can be is tracked before the error is raised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError
from tapsdk.points import QueryPoints, check_query_frames
from tapsdk.video.frames import Frame, FrameSource


class ReadableFrames:
    """The frames of a source up to its end, or to the first one that cannot be read; then `error` says why."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from self._source
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
