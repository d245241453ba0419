"""Frames one at a time, whatever they come from: one form, one size, bounded memory."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError
from tapsdk.geometry import Size
from tapsdk.video.arrays import Frame as Frame
from tapsdk.video.arrays import array_advice, as_array, check_dtype, shape_advice, to_rgb_uint8

logger = logging.getLogger(__name__)

USUAL_FPS = 30.0
"""Frames per second, where nobody says how many there are."""


@dataclass
class Damage:
    """What a reader meets on its way. frames: that are damaged in the origin, and were passed over."""

    frames: int = 0


class FrameSource(Iterator[Frame]):
    """An iterator over frames [H, W, 3] uint8 RGB, C-contiguous, all of one size; read once, like a file.

    It holds at most one frame, and takes one from its origin only when asked for it. As a context manager it
    closes what it opened. A frame may share memory with the caller's array: do not write into it. `close` may be called
    while another thread reads a frame, and waits for that.

    num_frames: as the origin declares it, None if it does not. A hint, fit for a progress bar, unless `exact`: what a
        video declares may be too small (one that is written in fragments) and too large (one that was cut off).
    exact: the origin holds `num_frames` frames, no more and no fewer, as an array, a list or a folder does.
    read_once: the origin cannot be opened again, such as a pipe, an open file or a generator.
    may_be_read_ahead: frames may be taken before they are needed, in any thread: nothing else happens then, and nobody
        has to be waited for, as with files on disk and with arrays, and unlike pipes, cameras and generators.
    fps: frames per second as the origin declares them or `at_rate` says, None if unknown.
    """

    def __init__(
        self,
        frames: Iterator[Any],
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        times: Sequence[float | None] | None = None,
        pixel_aspects: Sequence[Fraction | None] = (),
        close: Callable[[], None] | None = None,
        hurry: Callable[[], None] | None = None,
        exact: bool = False,
        read_once: bool = False,
        may_be_read_ahead: bool = False,
        damage: Damage | None = None,
    ) -> None:
        """times: grows as `frames` is read; None for an origin without timestamps. pixel_aspects: filled
        with the first frame; empty for an origin that does not say. hurry: see the method. damage: grows as `frames` is
        read."""
        self.num_frames = num_frames
        self.exact = exact and num_frames is not None
        self.read_once = read_once
        self.may_be_read_ahead = may_be_read_ahead
        self.fps = fps
        self._damage = damage or Damage()
        self._frames = frames
        self._times = times
        self._times_follow_fps = False
        self._warned = False
        self._pixel_aspects = pixel_aspects
        self._close, self._hurry = close, hurry
        self._reading = threading.RLock()
        self._count = 0
        # Both those of the first frame, once it is read.
        self._size: Size = (0, 0)
        self._dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._peeked: Frame | None = None

    @property
    def size(self) -> Size:
        """(height, width) in pixels. Reads the first frame if need be, and keeps it for the iteration."""
        if self._count == 0:
            self._peeked = self._read()
        return self._size

    @property
    def known_frames(self) -> int | None:
        """The number of frames where it is certain before the end, None elsewhere: a bound for queries."""
        return self.num_frames if self.exact else None

    @property
    def damaged(self) -> int:
        """Frames so far that are damaged in the origin and were passed over; those after them move up."""
        return self._damage.frames

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width / height of a pixel where it is shown, None if the origin does not say. Positions do not heed it: they
        are counted in pixels. Reads the first frame if need be, as `size` does."""
        _ = self.size
        return self._pixel_aspects[0] if self._pixel_aspects else None

    @property
    def delivered(self) -> int:
        """Frames that the iteration gave so far."""
        return self._count - (self._peeked is not None)

    @property
    def times(self) -> NDArray[np.float64] | None:
        """[T] seconds at which each of the frames that were read is shown, growing; None if the origin does not say."""
        if self._times_follow_fps and self.fps:
            return np.arange(self._count) / self.fps
        if not self._times:
            return None
        # Of a frame that was refused, such as one of another size, there is a time too.
        times = np.array(self._times[: self._count], np.float64)  # None becomes NaN, which no comparison lets pass
        if np.isfinite(times).all() and (np.diff(times) > 0).all():
            return times
        if not self._warned:
            logger.warning("the times of the frames are missing or do not grow; their rate, fps, stands for them")
            self._warned = True
        return None

    @property
    def last_time(self) -> float | None:
        """Seconds at which the frame that was read last is shown, where need be by `fps`; None if nobody knows."""
        told = self._times[self._count - 1] if self._times and self._count and not self._times_follow_fps else None
        return told if told is not None else (self._count - 1) / self.fps if self._count and self.fps else None

    @property
    def mean_fps(self) -> float | None:
        """`fps`, unless the times of the frames that were read contradict it: then as many as they say, on average."""
        times = self.times
        if times is None or len(times) < 2:
            return self.fps
        steps, seconds = len(times) - 1, float(times[-1] - times[0])
        # Files round times, by less than half a frame.
        agree = self.fps is not None and abs(seconds * self.fps - steps) < 0.5
        return self.fps if agree else steps / seconds

    def at_rate(self, fps: float) -> FrameSource:
        """This source, with frames shown at this rate from 0 on, whatever the origin says. Raises FramesError."""
        if not (hasattr(fps, "__float__") and math.isfinite(fps) and fps > 0):
            raise FramesError(f"fps must be a positive number of frames per second, got {fps!r}")
        self.fps, self._times_follow_fps = float(fps), True
        return self

    def __iter__(self) -> FrameSource:
        return self

    def __next__(self) -> Frame:
        if self._peeked is not None:
            frame, self._peeked = self._peeked, None
            return frame
        return self._read()

    def on_close(self, *more: Callable[[], None]) -> None:
        """Let `close` do more, after what it does."""
        first = self._close

        def close_all() -> None:
            for close in (first, *more):
                if close is not None:
                    close()

        self._close = close_all

    def close(self) -> None:
        """Close the file behind the frames, if any; the iteration is then at its end."""
        self.hurry()
        with self._reading:
            self._frames = iter(())
            self._peeked = None
            if self._close is not None:
                self._close()
                self._close = None

    def hurry(self) -> None:
        """Lets what another thread is reading come to an end soon, in an error if need be: nobody wants it any more."""
        if self._hurry is not None:
            self._hurry()

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> Frame:
        """The next frame, checked; StopIteration at the end."""
        with self._reading:
            return self._read_next()

    def _read_next(self) -> Frame:
        try:
            raw = next(self._frames)
        except StopIteration:
            if self._count == 0:
                raise FramesError("the video has no frames") from None
            raise
        array = as_array(raw, f"frame {self._count}")
        frame = to_rgb_uint8(array, f"frame {self._count}")
        size = (int(frame.shape[0]), int(frame.shape[1]))
        if self._count == 0:
            self._size, self._dtype = size, array.dtype
            _warn_of_masks(frame)
        if size != self._size:
            self._refuse_change(_extent(size), _extent(self._size))
        if array.dtype != self._dtype:
            self._refuse_change(str(array.dtype), str(self._dtype))
        self._count += 1
        return frame

    def _refuse_change(self, now: str, before: str) -> NoReturn:
        raise FramesError(f"frame {self._count} is {now}, but the frames before it are {before}")


def _warn_of_masks(frame: Frame) -> None:
    if frame.max() == 1:
        logger.warning(
            "the first frame holds only 0 and 1, which is black: pixels go up to 255; "
            "if these are masks, give the pictures they belong to; if values in [0, 1], give them as float"
        )


def frames_from_array(frames: Any) -> FrameSource:
    """Frames of one array [T, H, W, 3], uint8 or float in [0, 1]; also of anything numpy can view as one."""
    array = as_array(frames, "frames")
    if array.ndim != 4 or array.shape[3] != 3:
        advice = shape_advice(array.shape[1:], "frames") if array.ndim == 4 else array_advice(array.shape)
        raise FramesError(f"frames must have shape [T, H, W, 3], got {list(array.shape)}{advice}")
    check_dtype(array, "frames")
    if not len(array):
        raise FramesError("the video has no frames")
    return FrameSource(iter(array), num_frames=len(array), exact=True, may_be_read_ahead=True)


def frames_from_iterable(frames: Iterable[Any], read: Callable[[Any], Any] | None = None) -> FrameSource:
    """Frames [H, W, 3] taken from any iterable, one by one as they are needed. read: makes a frame of what it gives."""
    read_once = iter(frames) is frames
    number = len(frames) if isinstance(frames, Sized) else None
    return FrameSource(
        map(read, frames) if read else iter(frames),
        num_frames=number,
        exact=isinstance(frames, Sequence),
        read_once=read_once,
    )


def _extent(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"
