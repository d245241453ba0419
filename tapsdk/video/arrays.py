"""Arrays as frames: one form, and what is said of those that cannot be brought into it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError

Frame = NDArray[np.uint8]
"""[H, W, 3] uint8 RGB, C-contiguous."""

WHAT_FRAMES_ARE = (
    "pass an array [T, H, W, 3], the path of a video or of a folder of images, an open binary file, or an iterable of "
    "frames [H, W, 3] or of paths of images"
)

# How far a float frame may leave [0, 1], so that the ringing of a resize passes and [0, 255] does not.
FLOAT_SLACK = 1e-3


def as_array(value: Any, name: str) -> NDArray[Any]:
    """`value` as a numpy array; the exception of a foreign library becomes ours."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        elsewhere = "" if "cpu" in str(error) or not hasattr(value, "cpu") else "; pass tensor.cpu().numpy()"
        raise FramesError(f"{name} cannot be read as a numpy array: {error}{elsewhere}") from error


def to_rgb_uint8(array: NDArray[Any], name: str) -> Frame:
    """One frame [H, W, 3], uint8 or float in [0, 1], in the form of `Frame`; `name` is for the error."""
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        if array.ndim == 0 or array.dtype.kind not in "uifb":
            raise FramesError(f"{name} is {_named(array)}, which is no frame: {WHAT_FRAMES_ARE}")
        advice = shape_advice(array.shape, "frame")
        raise FramesError(f"{name} must have shape [H, W, 3], got {list(array.shape)}{advice}")
    check_dtype(array, name)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = float(array.min()), float(array.max())
    if not math.isfinite(low + high):  # min and max hand NaN on
        raise FramesError(f"float frames must lie in [0, 1], but {name} holds NaN or infinity")
    if low < -FLOAT_SLACK or high > 1 + FLOAT_SLACK:
        raise FramesError(
            f"float frames must lie in [0, 1], but {name} spans [{low:g}, {high:g}]; "
            "divide frames in [0, 255] by 255, or pass them as uint8"
        )
    # Half precision is too coarse to round at 255.
    unit = np.clip(array.astype(np.float32), 0.0, 1.0)
    return np.ascontiguousarray(np.rint(unit * 255.0), dtype=np.uint8)


def check_dtype(array: NDArray[Any], name: str) -> None:
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


def array_advice(shape: tuple[int, ...]) -> str:
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


def shape_advice(shape: tuple[int, ...], name: str) -> str:
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


def _named(array: NDArray[Any]) -> str:
    """What an array that holds no numbers was made of, for an error."""
    if array.ndim:
        return f"an array of {array.dtype}"
    value = array.item()
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"
