"""Frames one at a time, whatever they come from: one form, one size, bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError
from tapsdk.geometry import Size

logger = logging.getLogger(__name__)

Frame = NDArray[np.uint8]
"""[H, W, 3] uint8 RGB, C-contiguous."""

WHAT_FRAMES_ARE = (
    "pass an array [T, H, W, 3], the path of a video or of a folder of images, an open binary file, or an iterable of "
    "frames [H, W, 3] or of paths of images"
)

# How far a float frame may leave [0, 1], so that the ringing of a resize passes and [0, 255] does not.
FLOAT_SLACK = 1e-3


@dataclass
class Damage:
    """What a reader meets on its way. frames: that are damaged in the origin, and were passed over."""

    frames: int = 0


class FrameSource(Iterator[Frame]):
    """An iterator over frames [H, W, 3] uint8 RGB, C-contiguous, all of one size; read once, like a file.

    It holds at most one frame, and takes one from its origin only when asked for it. As a context manager it
    closes what it opened. A frame may share memory with the caller's array: do not write into it.

    num_frames: as the origin declares it, None if it does not. A hint, fit for a progress bar, unless `exact`: what a
        video declares may be too small (one that is written in fragments) and too large (one that was cut off).
    exact: the origin holds `num_frames` frames, no more and no fewer, as an array, a list or a folder does.
    read_once: the origin cannot be opened again, such as a pipe, an open file or a generator.
    fps: frames per second, None if unknown.
    """

    def __init__(
        self,
        frames: Iterator[Any],
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        times: Sequence[float | None] | None = None,
        close: Callable[[], None] | None = None,
        exact: bool = False,
        read_once: bool = False,
        damage: Damage | None = None,
    ) -> None:
        """times, damage: grow as `frames` is read. times: None for an origin without timestamps."""
        self.num_frames = num_frames
        self.exact = exact and num_frames is not None
        self.read_once = read_once
        self.fps = fps
        self._damage = damage or Damage()
        self._frames = frames
        self._times = times
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
    def known_frames(self) -> int | None:
        """The number of frames where it is certain before the end, None elsewhere: a bound for queries."""
        return self.num_frames if self.exact else None

    @property
    def damaged(self) -> int:
        """Frames so far that are damaged in the origin and were passed over; those after them move up."""
        return self._damage.frames

    @property
    def times(self) -> NDArray[np.float64] | None:
        """[T] seconds at which each of the frames that were read is shown; None if the origin does not say."""
        if not self._times or None in self._times:
            return None
        return np.array(self._times, np.float64)

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
        advice = _shape_advice(array.shape[1:], "frames") if array.ndim == 4 else _array_advice(array.shape)
        raise FramesError(f"frames must have shape [T, H, W, 3], got {list(array.shape)}{advice}")
    _check_dtype(array, "frames")
    if not len(array):
        raise FramesError("the video has no frames")
    return FrameSource(iter(array), num_frames=len(array), exact=True)


def _array_advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[2] == 3:
        return "; pass a single frame as frames[None]"
    if len(shape) == 3 and shape[0] in (3, 4):
        return "; put the channels of a single frame last: frames.transpose(1, 2, 0)[None, ..., :3]"
    if len(shape) == 3:
        return "; repeat the grey channel: np.repeat(frames[..., None], 3, axis=-1)"
    if len(shape) == 5 and shape[0] == 1:
        return "; take the video out of its batch: frames[0]"
    if len(shape) == 5:
        return f"; that is a batch of {shape[0]} videos: track each by itself, frames[0] for one"
    return ""


def _shape_advice(shape: tuple[int, ...], name: str) -> str:
    """How frames of a shape are brought into [H, W, 3]; "" where that is not clear. name: what the user has."""
    many = name == "frames"
    if len(shape) == 2 and min(shape) > 4:
        return f"; repeat the grey channel: np.repeat({name}[..., None], 3, axis=-1)"
    if len(shape) != 3:
        return ""
    if shape[2] == 4:
        return f"; leave the alpha channel out: {name}[..., :3]"
    if shape[2] == 1:
        return f"; repeat the grey channel: np.repeat({name}, 3, axis=-1)"
    if shape[0] in (1, 3, 4):
        return f"; put the channels last: {name}.transpose({'0, 2, 3, 1' if many else '1, 2, 0'})"
    return ""


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


def as_array(value: Any, name: str) -> NDArray[Any]:
    """`value` as a numpy array; the exception of a foreign library becomes ours."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        elsewhere = "" if "cpu" in str(error) or not hasattr(value, "cpu") else "; pass tensor.cpu().numpy()"
        raise FramesError(f"{name} cannot be read as a numpy array: {error}{elsewhere}") from error


def _check_dtype(array: NDArray[Any], name: str) -> None:
    if array.dtype == np.uint8 or array.dtype.kind == "f":
        return
    advice = ""
    if array.dtype == bool:
        advice = "; write frames * np.uint8(255)"
    elif array.dtype.kind in "iu" and array.size:
        top = int(array.max())
        whole = 255 if top < 256 else 2 ** top.bit_length() - 1
        advice = "; write frames.astype(np.uint8)" if whole == 255 else f"; divide by {whole}, or what is white in them"
    raise FramesError(f"{name} must be uint8 in [0, 255] or float in [0, 1], got {array.dtype}{advice}")


def to_rgb_uint8(array: NDArray[Any], name: str) -> Frame:
    """One frame [H, W, 3], uint8 or float in [0, 1], in the form of `Frame`; `name` is for the error."""
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        if array.ndim == 0 or array.dtype.kind not in "uifb":
            raise FramesError(f"{name} is {_named(array)}, which is no frame: {WHAT_FRAMES_ARE}")
        advice = _shape_advice(array.shape, "frame")
        raise FramesError(f"{name} must have shape [H, W, 3], got {list(array.shape)}{advice}")
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


def _named(array: NDArray[Any]) -> str:
    """What an array that holds no numbers was made of, for an error."""
    if array.ndim:
        return f"an array of {array.dtype}"
    value = array.item()
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"
