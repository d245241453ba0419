"""Pictures decoded and resized as the published benchmarks do it: with Pillow."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size
from tapsdk.system.reading import reading
from training.data.errors import DatasetError

Image = NDArray[np.uint8]


def decode_image(data: bytes, name: str) -> Image:
    """[H, W, 3] RGB of an encoded picture. Raises DatasetError; `name` is for its message."""
    return _decoded(data, name, lambda image: image.convert("RGB"))


def image_size(data: bytes, name: str) -> Size:
    """(height, width) of an encoded picture, which is not decoded. Raises DatasetError; `name` is for its message."""
    from PIL import Image as pillow

    with reading(name, "is not a picture", DatasetError), pillow.open(io.BytesIO(data)) as image:
        return image.height, image.width


def encode_jpeg(image: Image, quality: int) -> bytes:
    """A picture [H, W, 3] RGB as JPEG. quality: 1 to 95, as Pillow has it."""
    from PIL import Image as pillow

    file = io.BytesIO()
    pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def read_image(path: Path) -> Image:
    """[H, W, 3] RGB. Raises DatasetError."""
    return decode_image(_read_bytes(path), str(path))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """[H, W]: where a picture of object masks shows any object, i.e. is not black, or not index 0 of its palette."""

    def indexed(image: Any) -> Any:
        return image if image.mode in ("1", "L", "P", "I", "I;16") else image.convert("RGB")

    pixels = _decoded(_read_bytes(path), str(path), indexed)
    return (pixels != 0).reshape(*pixels.shape[:2], -1).any(axis=-1)


def _decoded(data: bytes, name: str, as_wanted: Callable[[Any], Any]) -> NDArray[Any]:
    """The pixels of a picture of no more than Pillow takes without a warning, 89 million. Raises DatasetError."""
    from PIL import Image as pillow

    with reading(name, "is not a picture", DatasetError), warnings.catch_warnings():
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        with pillow.open(io.BytesIO(data)) as image:
            return np.array(as_wanted(image))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def resize_image(image: Image, size: Size | None) -> Image:
    """A picture [H, W, 3] at another (height, width), by Lanczos resampling; None leaves it as it is.

    The same filter as the reference's readers, which call mediapy.resize_video: the same pixels, to the last bit.
    """
    if size is None or image.shape[:2] == tuple(size):
        return image
    from PIL import Image as pillow

    return np.array(pillow.fromarray(image).resize(size[::-1], resample=pillow.Resampling.LANCZOS))


def stack_frames(frames: Iterable[Image], size: Size | None, name: str) -> NDArray[np.uint8]:
    """[T, H, W, 3] of frames one by one, each resized as it comes: a long video is never in memory at full size.

    Raises DatasetError for no frames, or frames of several sizes; `name` is for its message.
    """
    stack = [resize_image(frame, size) for frame in frames]
    if not stack:
        raise DatasetError(f"{name} has no frames")
    odd = next((t for t, frame in enumerate(stack) if frame.shape != stack[0].shape), None)
    if odd is not None:
        raise DatasetError(f"{name}: frame {odd} is {stack[odd].shape[:2]}, the first is {stack[0].shape[:2]}")
    return np.stack(stack)


def natural_order(path: PurePath) -> list[tuple[int, str]]:
    """Sort key that counts: frame9 comes before frame10."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", path.name)]
