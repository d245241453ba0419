"""Frames one at a time, whatever they come from: one form, one size, bounded memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from fractions import Fraction
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError
from tapsdk.geometry import Size

logger = logging.getLogger(__name__)

Frame = NDArray[np.uint8]
"""[H, W, 3] uint8 RGB, C-contiguous."""

# How far a float frame may leave [0, 1], so that the ringing of a resize passes and [0, 255] does not.
FLOAT_SLACK = 1e-3


class FrameSource(Iterator[Frame]):
    """An iterator over frames [H, W, 3] uint8 RGB, C-contiguous, all of one size; read once, like a file.

    It holds at most one frame, and takes one from its origin only when asked for it. As a context manager it
    closes what it opened. A frame may share memory with the caller's array: do not write into it.

    num_frames: as the origin declares it, None if it does not; a damaged video may hold fewer.
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
    ) -> None:
        """times: grows as `frames` is read; None for an origin without timestamps. pixel_aspects: filled with the first
        frame; empty for an origin that does not say."""
        self.num_frames = num_frames
        self.fps = fps
        self._frames = frames
        self._times = times
        self._times_follow_fps = False
        self._warned = False
        self._pixel_aspects = pixel_aspects
        self._close = close
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
        times = np.array(self._times, np.float64)  # None becomes NaN, which no comparison lets pass
        if np.isfinite(times).all() and (np.diff(times) > 0).all():
            return times
        if not self._warned:
            logger.warning("the times of the frames are missing or do not grow; their rate, fps, stands for them")
            self._warned = True
        return None

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
        if not (math.isfinite(fps) and fps > 0):
            raise FramesError(f"fps must be a positive number of frames per second, got {fps}")
        self.fps, self._times_follow_fps = float(fps), True
        return self

    def __iter__(self) -> FrameSource:
        return self

    def __next__(self) -> Frame:
        if self._peeked is not None:
            frame, self._peeked = self._peeked, None
            return frame
        return self._read()

    def close(self) -> None:
        """Close the file behind the frames, if any; the iteration is then at its end."""
        self._frames = iter(())
        self._peeked = None
        if self._close is not None:
            self._close()
            self._close = None

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> Frame:
        """The next frame, checked; StopIteration at the end."""
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
        if size != self._size:
            self._refuse_change(_extent(size), _extent(self._size))
        if array.dtype != self._dtype:
            self._refuse_change(str(array.dtype), str(self._dtype))
        self._count += 1
        return frame

    def _refuse_change(self, now: str, before: str) -> NoReturn:
        raise FramesError(f"frame {self._count} is {now}, but the frames before it are {before}")


def frames_from_array(frames: Any) -> FrameSource:
    """Frames of one array [T, H, W, 3], uint8 or float in [0, 1]; also of anything numpy can view as one."""
    array = as_array(frames, "frames")
    shape = list(array.shape)
    if array.ndim == 3 and shape[2] == 3:
        raise FramesError(f"frames must have shape [T, H, W, 3], got {shape}; pass a single frame as frames[None]")
    if array.ndim == 4 and shape[3] != 3 and shape[1] == 3:
        raise FramesError(
            f"frames must have shape [T, H, W, 3], got {shape}; put the channels last: frames.transpose(0, 2, 3, 1)"
        )
    if array.ndim != 4 or shape[3] != 3:
        raise FramesError(f"frames must have shape [T, H, W, 3], got {shape}")
    _check_dtype(array, "frames")
    if not len(array):
        raise FramesError("the video has no frames")
    return FrameSource(iter(array), num_frames=len(array))


def frames_from_iterable(frames: Iterable[Any]) -> FrameSource:
    """Frames [H, W, 3] taken from any iterable, one by one as they are needed."""
    return FrameSource(iter(frames), num_frames=len(frames) if isinstance(frames, Sized) else None)


def as_array(value: Any, name: str) -> NDArray[Any]:
    """`value` as a numpy array; the exception of a foreign library becomes ours."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise FramesError(f"{name} cannot be read as a numpy array: {error}") from error


def _check_dtype(array: NDArray[Any], name: str) -> None:
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise FramesError(f"{name} must be uint8 in [0, 255] or float in [0, 1], got {array.dtype}")


def to_rgb_uint8(array: NDArray[Any], name: str) -> Frame:
    """One frame [H, W, 3], uint8 or float in [0, 1], in the form of `Frame`; `name` is for the error."""
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise FramesError(f"{name} must have shape [H, W, 3], got {list(array.shape)}")
    _check_dtype(array, name)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = float(array.min()), float(array.max())
    # Written so that NaN, which min and max hand on, fails too.
    if not (low >= -FLOAT_SLACK and high <= 1 + FLOAT_SLACK):
        raise FramesError(
            f"float frames must lie in [0, 1], but {name} spans [{low:g}, {high:g}]; "
            "divide frames in [0, 255] by 255, or pass them as uint8"
        )
    # Half precision is too coarse to round at 255.
    unit = np.clip(array.astype(np.float32), 0.0, 1.0)
    return np.ascontiguousarray(np.rint(unit * 255.0), dtype=np.uint8)


def _extent(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"
