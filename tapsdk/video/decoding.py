"""Videos, read through PyAV (FFmpeg): every frame that can be read, and what was wrong with the rest."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from tapsdk.errors import FramesError
from tapsdk.video.completeness import missing_bytes
from tapsdk.video.containers import open_container
from tapsdk.video.frames import Damage, Frame, FrameSource
from tapsdk.video.images import MAX_PIXELS, NO_PROTOCOL, FirstLook, reason, rgb_of
from tapsdk.video.orientation import QUARTER_TURNED, UPRIGHT, exif_orientation, frame_orientation, turned_upright

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

URL_SECONDS = 30.0
# Frames are missing where most of them follow one another in one step, and two of them in so many.
MOSTLY, GAP_STEPS = 0.9, 5
# After damage, a decoder's frames may be so many places from where they belong.
HELD_BACK = 4
_STILL_CODECS = ("mjpeg", "png", "apng", "webp", "tiff")


@dataclass(frozen=True)
class Opening:
    """How FFmpeg opens an origin.

    driver: FFmpeg's name of what reads a device. options: FFmpeg's. seconds: of silence, after which a URL counts as
    lost.
    """

    driver: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    seconds: float = URL_SECONDS


def open_video(origin: str | IO[bytes], name: str, *, read_once: bool, opening: Opening | None = None) -> FrameSource:
    """The frames of a video. Raises FramesError for what is no video.

    origin: what FFmpeg opens, "file:..." or a URL; or an open binary file, which is read from where it stands and left
        open. name: for messages. read_once: the origin cannot be opened a second time. opening: for what is no file.
    """
    reader = _Reader(origin, name, read_once, opening or Opening())
    stream = reader.stream
    rate = stream.average_rate or stream.guessed_rate
    return FrameSource(
        reader.frames(),
        num_frames=stream.frames or None,
        fps=float(rate) if rate else None,
        times=reader.times,
        pixel_aspects=reader.pixel_aspects,
        close=reader.close,
        hurry=reader.hurry,
        read_once=read_once,
        may_be_read_ahead=not read_once or isinstance(origin, io.BytesIO),
        damage=reader.damage,
    )


class _Reader:
    """One video being read. times: of the frames that were given. pixel_aspects: of the first one, once it was. damage:
    what was passed over."""

    def __init__(self, origin: str | IO[bytes], name: str, read_once: bool, opening: Opening) -> None:
        self._origin, self._name, self._opening = origin, name, opening
        self.times: list[float | None] = []
        self.pixel_aspects: list[Fraction | None] = []
        self.damage = Damage()
        self._look = FirstLook(name)
        # FFmpeg decodes frames beside each other and, where one is damaged, drops some that are not. So what cannot
        # be opened again is decoded with care from its start.
        self._careful = read_once
        self._unwanted = False
        self._open()

    def hurry(self) -> None:
        self._unwanted = True

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        self._container, self.stream = _opened(self._origin, self._name, self._opening)
        self.stream.thread_type = "SLICE" if self._careful else "AUTO"
        # Packets by their timestamps, until their frames come.
        self._waiting: dict[int, float] = {}
        self._hides_frames, self._last_failed = False, False
        self._errors, self._concealed, self._cut = 0, 0, ""
        self._held: list[av.VideoFrame] = []
        self._orientation = UPRIGHT

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be read; then FramesError if the file is cut off, or nothing could be read."""
        try:
            yield from self._decode(0)
        except _DamageMetError:
            self.close()
            self._careful = True
            self._open()
            yield from self._decode(len(self.times))
        self._conclude()

    def _decode(self, skip: int) -> Iterator[Frame]:
        """All frames but those given before, `skip` of them. Raises _DamageMetError at the first damage, unless
        careful."""
        last = self.times[-1] if skip else None
        for packet in self._packets():
            for frame in self._in_order(self._decoded(packet), at_end=packet is None):
                time = self._time(frame.pts)
                again = skip > 0 if time is None or last is None else time <= last
                skip -= 1
                if again and self._unwanted:
                    raise FramesError(f"{self._name}: closed while it was read")
                if not again:
                    picture = self._picture(frame)
                    self.times.append(time)
                    yield picture
        if self._waiting and not self._careful and not self._frames_are_hidden():
            raise _DamageMetError

    def _decoded(self, packet: Packet[VideoStream] | None) -> list[av.VideoFrame]:
        """The frames that are complete with a packet; none where it is damaged."""
        import av

        try:
            decoded = self.stream.decode(packet)
        except (av.FFmpegError, OSError) as error:
            if not self._careful:
                raise _DamageMetError from error
            self._hides_frames = self._hides_frames or (not self._errors and self._frames_are_hidden())
            self._errors += 1
            self._last_failed = True
            return []
        for frame in decoded:
            if frame.pts is not None:
                self._waiting.pop(frame.pts, None)
            self._concealed += frame.is_corrupt
        return decoded

    def _in_order(self, decoded: list[av.VideoFrame], *, at_end: bool) -> Iterator[av.VideoFrame]:
        """Frames in the order in which they are shown."""
        if not self._errors:
            yield from decoded
            return
        self._held += decoded
        if all(frame.pts is not None for frame in self._held):
            self._held.sort(key=lambda frame: frame.pts or 0)
        while len(self._held) > (0 if at_end else HELD_BACK):
            yield self._held.pop(0)

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """Packets to the end or to where the file cannot be followed further; then None, for what is held back."""
        import av

        try:
            for packet in self._container.demux(self.stream):
                if not packet.size:
                    continue
                # FFmpeg marks what the end of a cut-off file leaves of a packet, and reports no error.
                self._cut = "the file ends in the middle of a frame" if packet.is_corrupt else ""
                self._last_failed = False
                if packet.pts is not None and not packet.is_discard:
                    self._waiting[packet.pts] = self._time(packet.pts) or 0.0
                if self.stream.codec_context.name in _STILL_CODECS:
                    self._orientation = exif_orientation(bytes(packet)) or UPRIGHT
                yield packet
        except (av.FFmpegError, OSError) as error:
            self._cut = reason(error)
        yield None

    def _frames_are_hidden(self) -> bool:
        """Whether packets without a frame are usual in this video: fields, or frames that only others refer to."""
        last = max((time for time in self.times if time is not None), default=0.0)
        return any(time <= last for time in self._waiting.values())

    def _time(self, pts: int | None) -> float | None:
        base = self.stream.time_base
        return None if pts is None or base is None else float(pts * base)

    def _picture(self, frame: av.VideoFrame) -> Frame:
        import av

        try:
            self._look.at(frame)
            orientation = frame_orientation(frame)
            if orientation is None:
                orientation = self._orientation if self._orientation != UPRIGHT else _TURNS.get(frame.rotation % 360, 1)
            if not self.pixel_aspects:
                self.pixel_aspects.append(_aspect(self.stream.sample_aspect_ratio, orientation))
            return turned_upright(rgb_of(frame), orientation)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise FramesError(f"{self._name}: frame {len(self.times)} cannot be shown ({reason(error)})") from error

    def _conclude(self) -> None:
        """Says what was passed over. Raises FramesError if the video does not end where it should."""
        count, declared = len(self.times), self.stream.frames
        if not self._cut and count < (declared or count + 1):
            self._cut = missing_bytes(self._origin)
        if self._cut and self._last_failed and count:  # what was cut off is no frame that was passed over
            self._errors -= 1
            self._waiting.pop(max(self._waiting, default=0), None)
        if self._errors:
            self._report_damage()
        else:
            self._report_flaws()
        if count == 0 and not (self._cut or self._errors):
            raise FramesError(f"{self._name}: the video has no frames")
        if self._cut or count == 0:
            why = self._cut or self._why_nothing()
            raise FramesError(f"{self._name}: the video is damaged: {_frames(count)} could be read ({why})")
        if count + self.damage.frames < declared:
            logger.warning("%s declares %d frames and holds %d", self._name, declared, count)

    def _why_nothing(self) -> str:
        packets = max(self._errors, len(self._waiting))
        others = "" if packets == self._errors else f": what is damaged, {_frames(self._errors)}, the others build on"
        return f"none of its {_frames(packets)} can be decoded{others}"

    def _report_damage(self) -> None:
        missing = sorted(self._waiting.values())
        # Where packets without a frame are usual, only the errors tell.
        hidden = self._hides_frames or not missing
        self.damage.frames = self._errors if hidden else len(missing)
        where = ""
        if not hidden:
            first = sum(time is not None and time < missing[0] for time in self.times)
            where = (
                f", at {missing[0]:.2f} s" + (f" to {missing[-1]:.2f} s" if len(missing) > 1 else "") + ": frames from "
                f"{first} on have lower numbers than in the file (`times` are right)"
            )
        logger.warning("%s: damaged and passed over: %s%s", self._name, _frames(self.damage.frames), where)

    def _report_flaws(self) -> None:
        """Warns of what no decoder reports: frames that are shown in part, and those that no packet is left of."""
        if self._concealed:
            logger.warning("%s: damaged, and shown as well as can be: %s", self._name, _frames(self._concealed))
        times = [time for time in self.times if time is not None]
        gaps = np.diff(times)
        step = float(np.median(gaps)) if len(gaps) else 0.0
        if step <= 0 or (abs(gaps - step) < step / 2).mean() < MOSTLY or gaps.max() < GAP_STEPS * step:
            return
        widest = int(gaps.argmax())
        logger.warning(
            "%s: no frames between %.2f s and %.2f s, frames %d and %d: at a constant rate, some are missing there",
            *(self._name, times[widest], times[widest + 1], widest, widest + 1),
        )


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _aspect(stored: Fraction | None, orientation: int) -> Fraction | None:
    """Width / height of the pixels of the upright picture, None if that is not said; a quarter turn swaps the two."""
    if not stored:
        return None
    aspect = Fraction(stored.numerator, stored.denominator)  # PyAV 19 has fractions of its own
    return 1 / aspect if orientation in QUARTER_TURNED else aspect


_TURNS = {270: 6, 180: 3, 90: 8}


class _DamageMetError(Exception):
    """The video has to be decoded anew, with care."""


def _opened(origin: str | IO[bytes], name: str, opening: Opening) -> tuple[InputContainer, VideoStream]:
    import av

    options = {"max_pixels": str(MAX_PIXELS), **opening.options}
    from_url = isinstance(origin, str) and not origin.startswith("file:")
    timeout = opening.seconds if from_url else None
    if not from_url:
        options["protocol_whitelist"] = "file" if isinstance(origin, str) else NO_PROTOCOL
    try:
        container = open_container(origin, driver=opening.driver, options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as error:
        what = "cannot be opened" if opening.driver else "not a video, or damaged beyond reading"
        raise FramesError(f"{name}: {what} ({reason(error)})") from error
    stream = cast("VideoStream | None", container.streams.best("video"))
    if stream is None:
        container.close()
        raise FramesError(f"{name}: holds no video stream")
    if stream.codec_context is None:
        container.close()
        raise FramesError(f"{name}: its video is compressed in a way that nothing here can decode")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container, stream
