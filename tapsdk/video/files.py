"""Videos and image folders in and out, through PyAV (FFmpeg)."""

from __future__ import annotations

import io
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tapsdk.errors import FramesError, SaveError
from tapsdk.geometry import Size
from tapsdk.system.files import AtomicFile
from tapsdk.video.frames import Frame, FrameSource, frames_from_array, frames_from_iterable

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
VIDEO_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
DEFAULT_FPS = 30.0

# FFmpeg's numbers for BT.709 and for the limited range that players expect.
_BT709 = 1
_LIMITED_RANGE = 1


def open_frames(frames: Any) -> FrameSource:
    """Frames of anything that holds frames, one at a time; see FrameSource.

    frames: [T, H, W, 3] uint8, or float in [0, 1], as a numpy array or what numpy can view as one (a torch
        tensor on the CPU, a JAX array); a path to a video or to a folder of images (in natural order: 9
        before 10); or any iterable of frames [H, W, 3], a generator for instance, read only as far as needed.

    A video's rotation tag is honoured. Raises FramesError, at once or when the frame at fault is reached.
    """
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
    return FrameSource(
        _decode(container, stream, path, times),
        num_frames=stream.frames or None,
        fps=float(rate) if rate else None,
        times=times,
        close=container.close,
    )


def _decode(container: InputContainer, stream: VideoStream, path: Path, times: list[float | None]) -> Iterator[Frame]:
    """Every frame of a video; what can be read of a damaged one, then FramesError. Each one's time goes to `times`."""
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


class VideoWriter:
    """Writes frames into an H.264 video (MPEG-4 Part 2 where FFmpeg lacks x264), .mp4, .mov or .mkv.

    The file appears under its name when the video is finished. As a context manager: finished on a clean
    exit, removed on an exception. To keep what is there after Ctrl-C, catch KeyboardInterrupt inside the
    `with`, or call `finish`. A device or a pipe gets fragmented mp4. H.264 in its common form needs even
    sizes: an odd one gets one more row or column, a copy of the last.

    size: (height, width) of the frames. fps: None means 30. Raises SaveError.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float | None, size: Size) -> None:
        fps = DEFAULT_FPS if fps is None else fps
        if not (math.isfinite(fps) and fps > 0):
            raise SaveError(f"could not write {path}: fps must be positive, got {fps}")
        if min(size) < 1:
            raise SaveError(f"could not write {path}: a frame needs at least 1 x 1 pixels, got {size}")
        self._output = AtomicFile(path)
        self._size = size
        self._count = 0
        self._open = True
        try:
            self._start(Path(path).suffix.lower(), fps)
        except BaseException:
            self._output.discard()
            raise

    def _start(self, suffix: str, fps: float) -> None:
        import av

        if self._output.seekable and suffix not in VIDEO_FORMATS:
            allowed = ", ".join(VIDEO_FORMATS)
            raise SaveError(f"could not write {self._output.path}: the suffix must be one of {allowed}")
        if self._output.seekable:
            self._container = av.open(self._output.file, "w", format=VIDEO_FORMATS[suffix])
        else:
            # Nothing can be filled in later where one cannot go back.
            fragmented = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
            self._container = av.open(self._output.file, "w", format="mp4", options=fragmented)
        x264 = "libx264" in av.codecs_available
        options = {"crf": "18", "preset": "veryfast"} if x264 else {"qscale": "3"}
        # 1001 is the denominator of the broadcast rates (30000 / 1001 = 29.97...).
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264" if x264 else "mpeg4", rate=rate, options=options)
        self._stream.height, self._stream.width = (side + side % 2 for side in self._size)
        self._stream.pix_fmt = "yuv420p"
        # Untagged video leaves the choice of the colour matrix to each player.
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE

    def write(self, frame: Frame) -> None:
        """Append a frame [H, W, 3] uint8 RGB of the size given at the start."""
        import av

        if not self._open:
            raise SaveError(f"could not write {self._output.path}: it is already closed")
        if frame.dtype != np.uint8 or frame.shape != (*self._size, 3):
            raise FramesError(
                f"frame {self._count} must be uint8 of shape {[*self._size, 3]}, "
                f"got {frame.dtype} of shape {list(frame.shape)}"
            )
        height, width = self._size
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE
            )
            picture.pts = self._count
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._output.error(error) from error
        self._count += 1

    def finish(self) -> None:
        """Close the video and give it its name; does nothing if that has happened."""
        if not self._open:
            return
        import av

        try:
            if self._count == 0:
                raise SaveError(f"could not write {self._output.path}: the video has no frames")
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._output.error(error) from error
        except BaseException:
            self.abort()
            raise
        self._open = False
        self._output.commit()

    def abort(self) -> None:
        """Close and remove what was written; does nothing if the video is closed."""
        if not self._open:
            return
        import av

        self._open = False
        # The container writes its end, and fails once more on a full disk.
        with suppress(av.FFmpegError, OSError):
            self._container.close()
        self._output.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.abort()
