"""Frames of whatever holds them: `open_frames` looks at what it is given, and calls who reads it."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tapsdk.errors import FramesError
from tapsdk.video.arrays import WHAT_FRAMES_ARE
from tapsdk.video.cameras import is_camera, open_camera
from tapsdk.video.decoding import open_video
from tapsdk.video.frames import FrameSource, frames_from_array, frames_from_iterable
from tapsdk.video.images import (
    IMAGE_SUFFIXES,
    check_image,
    is_image,
    is_moving_webp,
    is_tiff,
    natural_order,
    open_folder,
    open_images,
    open_matches,
    open_tiff,
    read_image,
    reason,
    suffix_kind,
)
from tapsdk.video.pipes import open_bytes, open_stream, standard_input

# Those that FFmpeg brings; a user who names one asks for the network.
_URL_SCHEMES = ("http", "https", "rtsp", "rtmp", "rtp", "udp", "srt")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_DESCRIPTOR = re.compile(r"/dev/stdin|(?:/dev|/proc/self)/fd/(\d+)")
_MAY_MOVE = (".gif", ".avif")
_ANIMATED_PNG = b"acTL"


def open_frames(frames: Any, fps: float | None = None) -> FrameSource:
    """Frames of anything that holds frames, one at a time; see FrameSource.

    frames: [T, H, W, 3] uint8, or float in [0, 1], as a numpy array or what numpy can view as one (a torch
        tensor on the CPU, a JAX array); or any iterable of frames [H, W, 3], a generator for instance, read only as
        far as needed; a list of paths of images, in its order. A path: of a video, an image, a TIFF stack, a folder of
        images of one kind (in natural order: 9 before 10), a pipe, or "-" for standard input; a pattern such as
        "folder/*.png"; a URL that FFmpeg reads (http, rtsp and the like); the number of a camera, "0", or on Linux its
        device, "/dev/video0" (which have no end). An open binary file, or the bytes of one.
    fps: frames per second, in place of the rate and the times that a video has, and for what has none.

    Rotation and mirroring that a file asks for are applied. Damaged frames are passed over, counted in `damaged` and
    told in a warning. Raises FramesError, at once or when the frame at fault is reached; at the end of a file that was
    cut off, after all frames that it still holds.
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
        return _open_path(frames)
    if isinstance(frames, (bytes, bytearray, memoryview)):
        return open_bytes(frames)
    if hasattr(frames, "grab"):
        raise FramesError(
            f"frames cannot be read of a {type(frames).__name__}: pass the path that it reads, or a generator of its "
            "frames in RGB, frame[..., ::-1]"
        )
    if hasattr(frames, "read"):
        name = getattr(frames, "name", None)
        return open_stream(frames, name if isinstance(name, str) else type(frames).__name__)
    if hasattr(frames, "__array__") or hasattr(frames, "__array_interface__"):
        return frames_from_array(frames)
    if isinstance(frames, Mapping):
        keys = ", ".join(repr(key) for key in list(frames)[:5])
        raise FramesError(
            f"frames are a {type(frames).__name__} with {keys or 'nothing'} in it; pass what holds frames"
        )
    if isinstance(frames, Set):
        raise FramesError("frames are a set, which has no order; pass a list")
    if isinstance(frames, Iterable):
        return _open_iterable(frames)
    raise FramesError(f"frames cannot be read of this, got {type(frames).__name__}: {WHAT_FRAMES_ARE}")


def _open_iterable(frames: Iterable[Any]) -> FrameSource:
    if isinstance(frames, Sequence) and frames and all(isinstance(each, (str, os.PathLike)) for each in frames):
        return open_images([_existing(each) for each in frames])
    return frames_from_iterable(frames, _read_path)


def _read_path(frame: Any) -> Any:
    """A frame as it is; of a path, the image there."""
    if not isinstance(frame, (str, os.PathLike)):
        return frame
    path = _existing(frame)
    check_image(path)
    return read_image(path)


def _existing(path: str | os.PathLike[str]) -> str:
    """The path; with ~ as the home folder where nothing has that name."""
    text = os.fspath(path)
    return text if os.path.exists(text) else os.path.expanduser(text)


def _open_path(given: str | os.PathLike[str]) -> FrameSource:
    text = os.fspath(given)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text:
        raise FramesError("the path of the frames is empty; give that of a video or of a folder of images")
    if text == "-":
        return open_stream(standard_input(), "standard input")
    path = _existing(text)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return _open_no_file(text)
    except (OSError, ValueError) as error:
        raise FramesError(f"{text}: {reason(error)}") from error
    if is_camera(found):
        return open_camera(text)
    kind = found.st_mode
    return open_folder(Path(path)) if stat.S_ISDIR(kind) else _open_file(path, is_pipe=stat.S_ISFIFO(kind))


def _open_file(path: str, *, is_pipe: bool) -> FrameSource:
    try:
        open_already = _DESCRIPTOR.fullmatch(path) if is_pipe else None
        # To open a named pipe anew waits for another writer, for ever if the only one is done.
        what = os.dup(int(open_already[1] or 0)) if open_already else path
        file = open(what, "rb", buffering=0 if is_pipe else -1)  # noqa: SIM115
        head = b"" if is_pipe else file.read(4096)
    except OSError as error:
        raise FramesError(f"{path}: {reason(error)}") from error
    if is_pipe:
        return open_stream(file, path, owned=True)
    if is_tiff(head):
        return open_tiff(file, path, read_once=False)
    file.close()
    suffix = Path(path).suffix.lower()
    if is_image(path) and not _may_move(suffix, head):
        return open_images([path])
    # The prefix keeps FFmpeg from reading a colon in the name as a protocol.
    return open_video(f"file:{path}", path, read_once=False)


def _may_move(suffix: str, head: bytes) -> bool:
    """Whether an image that begins so may hold an animation, which FFmpeg reads as a video."""
    if suffix == ".webp" and is_moving_webp(head):
        from av import formats_available

        return "webp_anim" in formats_available
    return suffix in _MAY_MOVE or (suffix == ".png" and _ANIMATED_PNG in head)


def _open_no_file(text: str) -> FrameSource:
    """A URL, a pattern, the number of a camera, or an error that says what may have been meant."""
    url = _URL.match(text)
    if url:
        return _open_url(text, url[1].lower())
    if glob.has_magic(text):
        found = _matches(os.path.expanduser(text))
        if not found:
            raise FramesError(f"{text}: no such file, and no file matches it as a pattern")
        if len(found) == 1 and not is_image(found[0]):
            return _open_path(found[0])
        return open_matches(found, text)
    if text.isascii() and text.isdecimal():
        return open_camera(text)
    advice = ""
    if re.search(r"%0?\d*d", text):
        advice = f"; write a pattern as {re.sub('%0?[0-9]*d', '*', text)!r}"
    elif "\\" in text and os.sep == "/":
        advice = "; on this system folders are separated by /"
    raise FramesError(f"{text}: no such file or folder{advice}")


def _open_url(text: str, scheme: str) -> FrameSource:
    if "://" not in text:
        raise FramesError(f"{text}: this URL has lost a slash, as in a Path; pass it as a str, {scheme}://...")
    if scheme == "file":
        raise FramesError(f"{text}: no such file; pass the path, without file://")
    if scheme not in _URL_SCHEMES:
        known = ", ".join(_URL_SCHEMES)
        raise FramesError(f"{text}: {scheme} is not read here ({known} are); download it first, and pass its path")
    return open_video(text, text, read_once=True)


def is_video_url(text: str) -> bool:
    """Whether it is a URL of those that FFmpeg reads, and no file has that name."""
    url = _URL.match(text)
    return url is not None and url[1].lower() in _URL_SCHEMES and "://" in text and not os.path.exists(text)


def files_of(given: str | os.PathLike[str]) -> list[Path]:
    """The files that `open_frames` may read where a path, a folder of images or a pattern is given."""
    text = os.fspath(given)
    if text == "-":
        return [Path("/dev/stdin")]
    path = _existing(text)
    if os.path.isdir(path):
        return [file for file in Path(path).iterdir() if is_image(file)]
    if not os.path.lexists(path) and glob.has_magic(text):
        return _matches(os.path.expanduser(text))
    return [Path(path)]


def _matches(pattern: str) -> list[Path]:
    """Files that a pattern matches, in natural order, whatever the case of their suffix.

    A folder whose name holds brackets is meant by its name.
    """
    folder, name = os.path.split(pattern)
    stem, suffix = os.path.splitext(name)
    if is_image(name):
        spellings = [same for same in IMAGE_SUFFIXES if suffix_kind(same) == suffix_kind(suffix)]
        names = [stem + re.sub("[a-z]", _either_case, spelling) for spelling in spellings]
    else:
        names = [name]
    within = glob.escape(folder) if os.path.isdir(folder) else folder
    found = {path for each in names for path in glob.glob(os.path.join(within, each)) if os.path.isfile(path)}
    return [Path(path) for path in sorted(found, key=natural_order)]


def _either_case(letter: re.Match[str]) -> str:
    return f"[{letter[0]}{letter[0].upper()}]"
