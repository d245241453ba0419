"""A part of a video: its frames from one moment to before another, by their numbers or by the clock."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from numpy import float64
from numpy.typing import NDArray

from tapsdk.errors import FramesError
from tapsdk.video.frames import Frame, FrameSource

_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)
# Files round times, by less than this; what is asked for at 0.1 s is a frame that is shown at 0.0999 s.
_ROUNDING = 5e-4


@dataclass(frozen=True)
class Moment:
    """A place in a video: the number of a frame, or seconds after its first frame; the other is None."""

    frame: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.seconds:g} s" if self.frame is None else f"frame {self.frame}"

    def reached_by(self, frame: int, seconds: float | None) -> bool:
        """Whether a frame, by its number and its seconds after the first one, is there or later."""
        if self.frame is not None:
            return frame >= self.frame
        if seconds is None or self.seconds is None:
            raise FramesError(f"nobody knows which frame is shown at {self}: name frames, or give fps")
        return seconds >= self.seconds - _ROUNDING


BEGINNING = Moment(frame=0)


def parse_moment(text: str) -> Moment:
    """A whole number is a frame; 2.5s, 1:30 and 1:02:03.5 are times. Raises ValueError."""
    if text.isascii() and text.isdecimal():
        return Moment(frame=int(text))
    clock = _CLOCK.fullmatch(text.removesuffix("s"))
    if clock is None or not (text.endswith("s") or ":" in text):
        raise ValueError(
            f"{text!r} is neither the number of a frame, from 0, nor a time, such as 2.5s, 1:30 or 1:02:03.5"
        )
    hours, minutes, seconds = clock.groups(default="0")
    return Moment(seconds=3600 * int(hours) + 60 * int(minutes) + float(seconds))


class Part(FrameSource):
    """The frames of a source from `start` on, to before `end`. Their numbers count anew from 0; `times` are those of
    the source. Closing it closes the source.

    Frames before the start are read and passed over: what is counted has to be seen. Raises FramesError where the video
    ends before `start`, for times of what has none, and for an end that is not later than the start.
    """

    def __init__(self, source: FrameSource, start: Moment = BEGINNING, end: Moment | None = None) -> None:
        self._source, self._start, self._end = source, start, end
        self._passed = 0
        super().__init__(
            self._inside(),
            num_frames=self._number(),
            fps=source.fps,
            close=source.close,
            hurry=source.hurry,
            exact=source.exact and start.frame is not None and (end is None or end.frame is not None),
            read_once=source.read_once,
            may_be_read_ahead=source.may_be_read_ahead,
        )

    def _number(self) -> int | None:
        """Of frames, as far as that can be told before."""
        whole, fps = self._source.num_frames, self._source.fps
        first, last = (_index(moment, fps) for moment in (self._start, self._end))
        if first is None or (self._end is not None and last is None):
            return None
        ends = [each for each in (whole, last) if each is not None]
        return max(min(ends) - first, 0) if ends else None

    def _inside(self) -> Iterator[Frame]:
        begun, first = False, 0.0
        for number, frame in enumerate(self._source):
            time = self._source.last_time
            if number == 0:
                first = time or 0.0
            seconds = None if time is None else time - first
            if self._end is not None and self._end.reached_by(number, seconds):
                if not begun:
                    raise FramesError(f"no frame is shown from {self._start} to before {self._end}")
                return
            if begun or self._start.reached_by(number, seconds):
                begun = True
                yield frame
            else:
                self._passed += 1
        if not begun:
            raise FramesError(f"the video has {self._passed} frames and ends before the start, {self._start}")

    @property
    def times(self) -> NDArray[float64] | None:
        times = self._source.times
        return None if times is None else times[self._passed : self._passed + self._count]

    @property
    def pixel_aspect(self) -> Fraction | None:
        return self._source.pixel_aspect

    @property
    def damaged(self) -> int:
        return self._source.damaged


def _index(moment: Moment | None, fps: float | None) -> int | None:
    if moment is None or moment.frame is not None:
        return None if moment is None else moment.frame
    return None if moment.seconds is None or fps is None else math.ceil((moment.seconds - _ROUNDING) * fps)
