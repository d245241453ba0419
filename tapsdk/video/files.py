"""Videos and folders of images, read through PyAV (FFmpeg)."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tapsdk.errors import FramesError
from tapsdk.video.frames import Frame, FrameSource, frames_from_array, frames_from_iterable

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def open_frames(frames: Any, fps: float | None = None) -> FrameSource:
    """Frames of anything that holds frames, one at a time; see FrameSource.

    frames: [T, H, W, 3] uint8, or float in [0, 1], as a numpy array or what numpy can view as one (a torch
        tensor on the CPU, a JAX array); a path to a video or to a folder of images (in natural order: 9
        before 10); or any iterable of frames [H, W, 3], a generator for instance, read only as far as needed.
    fps: frames per second, in place of the rate and the times that a video has, and for what has none.

    A video's rotation tag is honoured. Raises FramesError, at once or when the frame at fault is reached.
    """
    source = _open(frames)
    try:
        return source if fps is None else source.at_rate(fps)
    except BaseException:
        source.close()
        raise


def _open(frames: Any) -> FrameSource:
    if isinstance(frames, FrameSource):
        return frames
    if isinstance(frames, (str, os.PathLike)):
        path = Path(frames)
        return _open_folder(path) if os.path.isdir(path) else _open_video(path)
    if hasattr(frames, "__array__") or hasattr(frames, "__array_interface__"):
        return frames_from_array(frames)
    if isinstance(frames, Iterable) and not isinstance(frames, (bytes, bytearray)):
        return frames_from_iterable(frames)
    raise FramesError(
        f"frames must be an array [T, H, W, 3], a path, or an iterable of frames, got {type(frames).__name__}"
    )


def _open_video(path: Path) -> FrameSource:
    if not os.path.exists(path):
        raise FramesError(f"{path}: no such file or folder")
    import av

    try:
        # The prefix keeps FFmpeg from reading a colon in the name as a protocol.
        container = av.open(f"file:{path}")
    except (av.FFmpegError, OSError) as error:
        raise FramesError(f"{path}: not a video, or damaged beyond reading ({_reason(error)})") from error
    if not container.streams.video:
        container.close()
        raise FramesError(f"{path}: holds no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = stream.average_rate or stream.guessed_rate
    times: list[float | None] = []
    aspects: list[Fraction | None] = []
    return FrameSource(
        _decode(container, stream, path, times, aspects),
        num_frames=stream.frames or None,
        fps=float(rate) if rate else None,
        times=times,
        pixel_aspects=aspects,
        close=container.close,
    )


def _decode(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    times: list[float | None],
    aspects: list[Fraction | None],
) -> Iterator[Frame]:
    """Every frame of a video; what can be read of a damaged one, then FramesError. Each one's time goes to `times`,
    the pixel's aspect of the first one to `aspects`."""
    import av

    count = 0
    damage = ""
    try:
        for packet in container.demux(stream):
            # FFmpeg marks what the end of a cut-off file leaves of a packet, and reports no error.
            if packet.size:
                damage = "the file ends in the middle of a frame" if packet.is_corrupt else ""
            for frame in packet.decode():
                times.append(frame.time)
                if not aspects:
                    aspects.append(_pixel_aspect(stream, frame))
                yield _upright(frame)
                count += 1
    except av.FFmpegError as error:
        damage = _reason(error)
    if damage:
        raise FramesError(f"{path}: the video is damaged: {count} frames could be read ({damage})")
    if count == 0:
        raise FramesError(f"{path}: the video has no frames")
    if count < stream.frames:
        logger.warning("%s declares %d frames and holds %d", path, stream.frames, count)


def _upright(frame: av.VideoFrame) -> Frame:
    """The frame as RGB, turned as its rotation tag says: by whole quarter turns, counter-clockwise."""
    rgb = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)), dtype=np.uint8)


def _pixel_aspect(stream: VideoStream, frame: av.VideoFrame) -> Fraction | None:
    """Width / height of the upright frame's pixels; a quarter turn swaps the two."""
    aspect = stream.sample_aspect_ratio
    if not aspect:
        return None
    return 1 / aspect if round(frame.rotation / 90) % 2 else aspect


def _open_folder(folder: Path) -> FrameSource:
    try:
        names = [entry.name for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise FramesError(f"{folder}: {_reason(error)}") from error
    # Hidden files are thumbnails and the like.
    names = sorted((name for name in names if not name.startswith(".")), key=_natural_order)
    if not names:
        raise FramesError(f"{folder}: no images in this folder; looked for {', '.join(IMAGE_SUFFIXES)}")
    return FrameSource((_read_image(folder / name) for name in names), num_frames=len(names))


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key that counts: frame9 comes before frame10."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return [*((int(digits or 0), text.lower()) for digits, text in parts), (0, name)]


def _read_image(path: Path) -> Frame:
    import av

    try:
        # From memory, so that FFmpeg goes by the content and does not read a % in the name as a pattern.
        with av.open(io.BytesIO(path.read_bytes()), "r") as container:
            return _upright(next(container.decode(video=0)))
    except (av.FFmpegError, OSError, StopIteration, IndexError) as error:
        raise FramesError(f"{path}: not an image, or damaged ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
