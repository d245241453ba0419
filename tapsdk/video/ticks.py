"""When frames of a written video are shown, in whole ticks of the file's clock."""

from __future__ import annotations

import logging
import math
from fractions import Fraction

from tapsdk.errors import FramesError

logger = logging.getLogger(__name__)

# The longest time between two frames that mp4 holds, in ticks.
LONGEST = (1 << 31) - 2
_FINE = 10_000


def as_rate(fps: float) -> Fraction:
    """Frames per second as a fraction: 29.97002997 becomes 30000/1001, and one frame an hour 1/3600."""
    # 1001 is the denominator of the broadcast rates.
    if fps >= 1:
        return Fraction(fps).limit_denominator(1001)
    return 1 / Fraction(1 / fps).limit_denominator(1001)


def ticks_per_second(rate: Fraction, most: int) -> int:
    """Of a clock that hits frames of this rate exactly and others closely, and whose ticks can count long gaps.

    most: that there can be; frames are then hit as closely as it allows.
    """
    close = max(_FINE, 100 * float(rate)) if rate > 1 else min(_FINE, LONGEST * float(rate) / 20)
    steps = max(1, math.ceil(close / rate.numerator))
    exact = steps * rate.numerator
    return exact if exact <= most else most


class Ticks:
    """Counts the ticks at which frames are shown, from 0.

    rate: frames per second where no times are given. per_second: ticks. longest: ticks between two frames, None for
    any number; what is longer is cut, and a warning logged.
    """

    def __init__(self, rate: Fraction, per_second: int, longest: int | None) -> None:
        self._rate, self._per_second, self._longest = rate, per_second, longest
        self._start = 0.0
        self._now: Fraction | None = None
        self._last = 0
        self._cut = 0
        self.duration = max(1, round(per_second / rate))
        """Between the last two frames; before that, a frame's share of a second."""

    def next(self, time: float | None) -> int:
        """The tick of the next frame.

        time: seconds, later than the frame before; of the first frame, where they start. None: by the rate, after it.
        Raises FramesError for a time that is no number or not later, and counts no frame.
        """
        now = self._seconds(time)
        tick = round(now * self._per_second) - self._cut
        if self._now is not None:
            tick = max(tick, self._last + 1)
            gap = tick - self._last
            if self._longest is not None and gap > self._longest:
                self._warn(gap)
                self._cut += gap - self._longest
                tick, gap = self._last + self._longest, self._longest
            self.duration = gap
        self._now, self._last = now, tick
        return tick

    def _warn(self, gap: int) -> None:
        if not self._cut and self._longest is not None:
            logger.warning(
                "a frame comes %g s after the one before it; such a video holds %g s at most, and gaps are cut",
                gap / self._per_second,
                self._longest / self._per_second,
            )

    def _seconds(self, time: float | None) -> Fraction:
        """From the first frame to the next one."""
        if time is None:
            return Fraction(0) if self._now is None else self._now + 1 / self._rate
        if not math.isfinite(time):
            raise FramesError(f"the time of a frame must be a number of seconds, got {time}")
        if self._now is None:
            self._start = float(time)
            return Fraction(0)
        now = Fraction(float(time)) - Fraction(self._start)
        if now <= self._now:
            before = float(self._now) + self._start
            raise FramesError(
                f"the time of a frame must be later than that of the one before it, got {time:g} s after {before:g} s; "
                "leave the time out to go by fps"
            )
        return now
