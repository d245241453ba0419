"""Frames written as a video, through PyAV (FFmpeg)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import numpy as np

from tapsdk.errors import FramesError, SaveError
from tapsdk.geometry import Size
from tapsdk.system.files import AtomicFile
from tapsdk.video.frames import USUAL_FPS, Frame
from tapsdk.video.palette import Palette
from tapsdk.video.ticks import LONGEST, Ticks, as_rate, ticks_per_second

if TYPE_CHECKING:
    import av

FASTEST, SLOWEST = 1e6, 1e-7
"""Frames per second that can be written."""

# FFmpeg's numbers for BT.709 and for the limited range that players expect.
_BT709 = 1
_LIMITED_RANGE = 1
# Nothing can be filled in later where one cannot go back.
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@dataclass(frozen=True)
class VideoFormat:
    """How FFmpeg writes files of a suffix.

    codec: None for H.264, or MPEG-4 Part 2 where FFmpeg lacks x264. clock: ticks per second that the container counts
    in; None: as many as the rate wants. longest: ticks between two frames. even: whether sides must be even.
    """

    container: str
    codec: str | None = None
    pixels: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    clock: int | None = None
    longest: int | None = None
    even: bool = True


VIDEO_FORMATS = {
    ".mp4": VideoFormat("mp4", longest=LONGEST),
    ".mov": VideoFormat("mov", longest=LONGEST),
    # Matroska's clock counts milliseconds.
    ".mkv": VideoFormat("matroska", clock=1000),
    ".webm": VideoFormat(
        "webm",
        "libvpx-vp9",
        options={"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1", "lag-in-frames": "0"},
        clock=1000,
    ),
    ".webp": VideoFormat(
        "webp", "libwebp_anim", "bgra", {"quality": "80"}, clock=1000, longest=(1 << 24) - 1, even=False
    ),
    ".gif": VideoFormat("gif", "gif", "pal8", clock=100, longest=(1 << 16) - 1, even=False),
}
# Frames out of order would start the clock later than at 0 in some files, and mp4 holds no long gaps between them.
_X264 = {"bf": "0", "crf": "18", "preset": "veryfast"}
_MPEG4 = {"bf": "0", "qscale": "3"}
# MPEG-4 Part 2 has 16 bits for the ticks of a second.
_MOST_TICKS = {"libx264": 1 << 30, "mpeg4": 65535}


class VideoWriter:
    """Writes frames into a video: .mp4, .mov and .mkv as H.264 (MPEG-4 Part 2 where FFmpeg lacks x264), .webm as VP9;
    or into a moving picture: .gif (256 colours a frame, times to 0.01 s), .webp.

    The file appears under its name when the video is finished. As a context manager: finished on a clean
    exit, removed on an exception. To keep what is there after Ctrl-C, catch KeyboardInterrupt inside the
    `with`, or call `finish`. A device, a pipe or "-", standard output, gets fragmented mp4. H.264 in its common form
    needs even sizes: an odd one gets one more row or column, a copy of the last.

    size: (height, width) of the frames. fps: frames per second where `write` is given no times; None means 30.
    pixel_aspect: width / height of a pixel, for players; None means square.
    Raises SaveError.
    """

    def __init__(
        self, path: str | os.PathLike[str], fps: float | None, size: Size, *, pixel_aspect: Fraction | None = None
    ) -> None:
        fps = USUAL_FPS if fps is None else fps
        if not (math.isfinite(fps) and fps > 0):
            raise SaveError(f"could not write {path}: fps must be positive, got {fps}")
        if not SLOWEST <= fps <= FASTEST:
            raise SaveError(f"could not write {path}: fps must be from {SLOWEST:g} to {FASTEST:g}, got {fps:g}")
        if pixel_aspect is not None and not pixel_aspect > 0:
            raise SaveError(f"could not write {path}: pixel_aspect must be positive, got {pixel_aspect}")
        if min(size) < 1:
            raise SaveError(f"could not write {path}: a frame needs at least 1 x 1 pixels, got {size}")
        self._output = AtomicFile(path)
        self._size = size
        self._count = 0
        self._open = True
        try:
            self._start(Path(path).suffix.lower(), as_rate(fps), pixel_aspect)
        except BaseException:
            self._output.discard()
            raise

    def _start(self, suffix: str, rate: Fraction, pixel_aspect: Fraction | None) -> None:
        import av

        path, seekable = self._output.path, self._output.seekable
        if seekable and suffix not in VIDEO_FORMATS:
            raise SaveError(f"could not write {path}: the suffix must be one of {', '.join(VIDEO_FORMATS)}")
        self._format = form = VIDEO_FORMATS[suffix if seekable else ".mp4"]
        codec = form.codec or ("libx264" if "libx264" in av.codecs_available else "mpeg4")
        if codec not in av.codecs_available:
            raise SaveError(f"could not write {path}: this FFmpeg lacks {codec}; write .mp4")
        most = form.clock or _MOST_TICKS[codec]
        if rate > most:
            raise SaveError(
                f"could not write {path}: {form.container} holds {most} frames per second at most, "
                f"got {float(rate):g}" + ("; write .mp4 or .mov" if form.clock else "")
            )
        per_second = form.clock or ticks_per_second(rate, most)
        self._ticks = Ticks(rate, per_second, form.longest)
        scale = {"video_track_timescale": str(per_second)} if form.clock is None else {}
        options = scale if seekable else scale | _FRAGMENTED
        self._container = av.open(self._output.file, "w", format=form.container, options=options)
        own = _X264 if codec == "libx264" else _MPEG4 if codec == "mpeg4" else {}
        stream = self._container.add_stream(codec, rate=rate, options=own | dict(form.options))
        self._stream = cast("av.VideoStream", stream)
        self._stream.height, self._stream.width = (side + side % 2 * form.even for side in self._size)
        self._stream.pix_fmt = form.pixels
        context = self._stream.codec_context
        self._stream.time_base = context.time_base = Fraction(1, per_second)
        if pixel_aspect is not None:
            context.sample_aspect_ratio = pixel_aspect.limit_denominator(1 << 15)
        if form.pixels == "yuv420p":
            # Untagged video leaves the choice of the colour matrix to each player.
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED_RANGE
        self._palette = Palette(self._size, context.time_base) if form.pixels == "pal8" else None

    def write(self, frame: Frame, time: float | None = None) -> None:
        """Append a frame [H, W, 3] uint8 RGB of the size given at the start.

        time: seconds at which it is shown, later than those of the frames before; of the first frame, whatever it is,
            the video counts from there. None: as `fps` says, after the frame before it.
        Raises FramesError for a frame or a time that does not fit, and nothing is written of it.
        """
        import av

        if not self._open:
            raise SaveError(f"could not write {self._output.path}: it is already closed")
        if frame.dtype != np.uint8 or frame.shape != (*self._size, 3):
            raise FramesError(
                f"frame {self._count} must be uint8 of shape {[*self._size, 3]}, "
                f"got {frame.dtype} of shape {list(frame.shape)}"
            )
        tick = self._ticks.next(time)
        height, width = self._size
        if self._format.even and (height % 2 or width % 2):
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            picture = self._picture(frame)
            picture.pts = tick
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._output.error(error) from error
        self._count += 1

    def _picture(self, frame: Frame) -> av.VideoFrame:
        """A frame in the colours of the format."""
        import av

        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        if self._palette:
            return self._palette.reduce(picture)
        if self._format.pixels != "yuv420p":
            return picture.reformat(format=self._format.pixels)
        return picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)

    def finish(self) -> None:
        """Close the video and give it its name; does nothing if that has happened."""
        if not self._open:
            return
        import av

        try:
            if self._count == 0:
                raise SaveError(f"could not write {self._output.path}: the video has no frames")
            packets = self._stream.encode(None)
            for packet in packets[-1:]:
                # The last frame is shown for as long as the one before it.
                packet.duration = self._ticks.duration
            self._container.mux(packets)
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
