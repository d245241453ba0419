"""Frames written as a video, through PyAV (FFmpeg)."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from tapsdk.errors import FramesError, SaveError
from tapsdk.geometry import Size
from tapsdk.system.files import AtomicFile
from tapsdk.video.frames import Frame

VIDEO_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
DEFAULT_FPS = 30.0

# FFmpeg's numbers for BT.709 and for the limited range that players expect.
_BT709 = 1
_LIMITED_RANGE = 1


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
