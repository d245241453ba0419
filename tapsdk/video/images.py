"""Images as frames: folders and lists of them, each one decoded by FFmpeg."""

from __future__ import annotations

import io
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from tapsdk.errors import FramesError
from tapsdk.system.reading import reading
from tapsdk.video.containers import open_container
from tapsdk.video.frames import Frame, FrameSource
from tapsdk.video.orientation import UPRIGHT, exif_orientation, frame_orientation, turned_upright
from tapsdk.video.tiff import TiffStack

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".avif", ".jp2", ".j2k"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".qoi", ".dpx"),
)
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv")
MAX_PIXELS = 1 << 28
"""More than any camera has; a file of a kilobyte can say that it holds as many as it likes."""

NO_PROTOCOL = "none"
"""For FFmpeg, of a file in memory or in a pipe: lists and descriptions of streams lead to nothing else."""

_SAME_KIND = {".jpeg": ".jpg", ".tiff": ".tif"}
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a path has the suffix of an image."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def is_tiff(head: bytes) -> bool:
    """Whether a file begins as a TIFF file does."""
    return head[:4] in _TIFF_HEADS


def open_folder(folder: Path) -> FrameSource:
    """The images of a folder in natural order: those of one kind. Raises FramesError where that is not clear."""
    try:
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]  # thumbnails and the like
    except OSError as error:
        raise FramesError(f"{folder}: {reason(error)}") from error
    images = [name for name in names if is_image(name)]
    if not images:
        videos = sorted(name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES)
        advice = f"; it holds a video: give the path {folder / videos[0]}" if videos else ""
        raise FramesError(f"{folder}: no images in this folder; looked for {', '.join(IMAGE_SUFFIXES)}{advice}")
    images = _one_kind(images, _kind, str(folder))
    return open_images([folder / name for name in _one_kind(images, _series, str(folder))])


def open_matches(paths: Sequence[Path], pattern: str) -> FrameSource:
    """The images that a glob pattern found, in natural order; they are of one kind."""
    names = [str(path) for path in paths if is_image(path)]
    if not names:
        raise FramesError(
            f"{pattern}: matches no images, {len(paths)} files of other kinds; give the path of one video"
        )
    names = _one_kind(names, _kind, str(Path(pattern).parent))
    series = [name for name in names if _series(Path(name).name) == Path(pattern).name]
    return open_images([Path(name) for name in series or names])


def open_images(paths: Sequence[str | os.PathLike[str]]) -> FrameSource:
    """Images in the order that they are given in, one frame each. Raises FramesError for one that is not there."""
    if not paths:
        raise FramesError("the video has no frames")
    for path in paths:
        check_image(path)
    return FrameSource(_read_all(paths), num_frames=len(paths), exact=True, may_be_read_ahead=True)


def check_image(path: str | os.PathLike[str]) -> None:
    """Raise FramesError unless the path is one of an image."""
    if not os.path.exists(path):
        raise FramesError(f"{path}: no such image; a list of paths names one image for each frame")
    if not is_image(path):
        raise FramesError(
            f"{path} is not an image by its suffix ({', '.join(IMAGE_SUFFIXES)}): a list of paths names one image for "
            "each frame; give a video as a path by itself"
        )


def open_tiff(file: IO[bytes], name: str, *, read_once: bool) -> FrameSource:
    """The pages of a TIFF file, one frame each. Takes over the open file."""
    try:
        with reading(name, "is not a TIFF image", FramesError):
            stack = TiffStack(file, name)
    except FramesError:
        file.close()
        raise
    look = FirstLook(name)

    def frames() -> Iterator[Frame]:
        with file:
            for number, page in enumerate(stack):
                yield _decode(page, f"{name}, page {number}", look)

    return FrameSource(
        frames(),
        num_frames=stack.pages,
        close=file.close,
        exact=True,
        read_once=read_once,
        may_be_read_ahead=not read_once,
    )


def decode_image(data: bytes, name: str) -> Frame:
    """The picture in the bytes of an image file, upright. Raises FramesError."""
    return _decode(data, name, FirstLook(name))


def read_image(path: str | os.PathLike[str]) -> Frame:
    """The picture of an image file, upright. Raises FramesError."""
    return _read(path, FirstLook(str(path)))


def _read_all(paths: Sequence[str | os.PathLike[str]]) -> Iterator[Frame]:
    look = FirstLook(str(paths[0]))
    size: tuple[int, ...] | None = None
    for number, path in enumerate(paths):
        frame = _read(path, look)
        size = size or frame.shape
        if frame.shape != size:
            raise FramesError(
                f"{path}: frame {number} is {frame.shape[1]} x {frame.shape[0]} pixels, but the frames before it are "
                f"{size[1]} x {size[0]} pixels; choose those that belong together, as in 'folder/frame*.png'"
            )
        yield frame


def _read(path: str | os.PathLike[str], look: FirstLook) -> Frame:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FramesError(f"{path}: not an image, or damaged ({reason(error)})") from error
    if is_tiff(data):
        with reading(path, "is not a TIFF image", FramesError):
            stack = TiffStack(io.BytesIO(data), str(path))
            if stack.pages > 1:
                raise FramesError(
                    f"{path} holds {stack.pages} pages: give this file by itself, for a frame of each page"
                )
            data = next(iter(stack))
    return _decode(data, str(path), look)


def _decode(data: bytes, name: str, look: FirstLook) -> Frame:
    try:
        frame, several = _first_frame(data, Path(name.partition(", page")[0]).suffix.lower())
        look.at(frame)
        orientation = exif_orientation(data) or frame_orientation(frame) or UPRIGHT
        picture = turned_upright(rgb_of(frame), orientation)
    except Exception as error:  # FFmpeg, its binding, Exif and numpy each raise their own
        why = "an animated WebP, which this FFmpeg does not read" if is_moving_webp(data) else reason(error)
        raise FramesError(f"{name}: not an image, or damaged ({why})") from error
    if several:
        raise FramesError(f"{name} holds several pictures: give this file by itself, for a frame of each picture")
    return picture


def is_moving_webp(data: bytes) -> bool:
    """Whether a file that begins so is an animated WebP. PyAV reads them from version 19 on."""
    return data[:4] == b"RIFF" and data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)


def _first_frame(data: bytes, suffix: str) -> tuple[av.VideoFrame, bool]:
    """The first picture, and whether there are more of an animation."""
    import av

    if suffix == ".tga":  # has no mark that FFmpeg could know it by
        codec = av.CodecContext.create("targa", "r")
        codec.options = {"max_pixels": str(MAX_PIXELS)}
        return codec.decode(av.Packet(data))[0], False
    # From memory, so that FFmpeg goes by the content and does not read a % in the name as a pattern.
    options = {"max_pixels": str(MAX_PIXELS)}
    safe = options | {"protocol_whitelist": NO_PROTOCOL}
    with open_container(io.BytesIO(data), options=safe) as container:
        stream = container.streams.best("video")
        stream.codec_context.options = options
        frames = container.decode(stream)
        frame = next(frames)
        # A JPEG's further pictures are smaller or other views of the same.
        moving = container.format.name in ("gif", "apng", "webp_anim") or suffix == ".avif"
        return frame, moving and next(frames, None) is not None


def rgb_of(frame: av.VideoFrame) -> Frame:
    """The pixels [H, W, 3] of a decoded frame, as it is stored."""
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


class FirstLook:
    """Looks at the first picture of a source, and warns once if its 16 bits are not used."""

    # Below this share of white, a picture is all but black: 12 bits are a sixteenth of 16.
    DARK = 1 / 8

    def __init__(self, name: str) -> None:
        self._name, self._done = name, False

    def at(self, frame: av.VideoFrame) -> None:
        """Raises nothing; a picture of another depth is passed over."""
        if self._done:
            return
        self._done = True
        kind = frame.format.name
        if not kind.startswith(("gray16", "rgb48", "rgba64")):
            return
        brightest = int(frame.to_ndarray(format="gray16le" if kind.startswith("gray") else "rgb48le").max())
        if 0 < brightest < 65536 * self.DARK:
            white = 2 ** max(8, brightest.bit_length()) - 1
            logger.warning(
                "%s has 16 bits, of which the brightest pixel uses %d of 65535: it comes out nearly black. Read the "
                "images yourself and pass them as float, divided by what is white in them, such as %d",
                *(self._name, brightest, white),
            )


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key that counts: frame9 comes before frame10."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return [*((int(digits or 0), text.lower()) for digits, text in parts), (0, name)]


def suffix_kind(suffix: str) -> str:
    """The suffix that stands for all spellings of one."""
    return _SAME_KIND.get(suffix.lower(), suffix.lower())


def _kind(name: str) -> str:
    return "*" + suffix_kind(Path(name).suffix)


def _series(name: str) -> str:
    """Names that differ in their numbers alone are of one series, as frames are."""
    return re.sub(r"\d+", "*", Path(name).stem) + _kind(name).removeprefix("*")


def _one_kind(names: list[str], kind_of: Callable[[str], str], folder: str) -> list[str]:
    """The names of the kind that most have, in natural order; the rest is named in a warning.

    Raises FramesError where no kind has more than twice as many as the next. Names that are not numbered in series, as
    hashes are not, are of one kind.
    """
    names = sorted(names, key=natural_order)
    kinds = Counter(kind_of(name) for name in names)
    if len(kinds) == 1 or (kind_of is _series and (len(kinds) > 3 or len(names) < 2 * len(kinds))):
        return names
    (first, most), (_, next_most), *_ = kinds.most_common()
    examples: dict[str, list[str]] = defaultdict(list)
    for name in names:
        examples[kind_of(name)].append(Path(name).name)
    told = ", ".join(f"{count} {kind} ({examples[kind][0]})" for kind, count in kinds.most_common())
    choose = " or ".join(repr(os.path.join(folder, kind)) for kind in kinds)
    if most <= 2 * next_most:
        raise FramesError(
            f"{folder} holds images of several kinds: {told}; say which are the frames by a pattern: {choose}"
        )
    left = ", ".join(name for kind in kinds if kind != first for name in examples[kind][:3])
    logger.warning(
        "%s holds images of several kinds: %s. Read are the %d %s; left out are %s%s. For others, give a pattern: %s",
        *(folder, told, most, first, left, " ..." if len(names) - most > 3 else "", choose),
    )
    return [name for name in names if kind_of(name) == first]


def reason(error: BaseException) -> str:
    """What went wrong, in the words of FFmpeg or of the system."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
