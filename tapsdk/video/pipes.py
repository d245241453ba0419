"""Sources that are open already: pipes, standard input, files and bytes in memory."""

from __future__ import annotations

import io
import sys
import tempfile
from typing import IO, Any

from tapsdk.errors import FramesError
from tapsdk.video.decoding import open_video
from tapsdk.video.frames import FrameSource
from tapsdk.video.images import decode_image, is_tiff, open_tiff, reason

_HEAD_BYTES = 1 << 16
_COPY_BYTES = 1 << 20
_MOST_BOXES = 64


def standard_input() -> IO[bytes]:
    """The bytes of standard input. Raises FramesError if nobody sends any."""
    if sys.stdin is None or sys.stdin.closed:
        raise FramesError("-: there is no standard input; give the path of a video")
    if sys.stdin.isatty():
        raise FramesError("-: standard input is the keyboard; send a video, as in: cat video.mp4 | tapsdk track - ...")
    return sys.stdin.buffer


def open_stream(file: Any, name: str, *, owned: bool = False) -> FrameSource:
    """The frames of an open binary file, read once from where it stands.

    A pipe is read as it comes, save for formats that have to be read in another order: those are copied to a temporary
    file first, without a name. owned: the file is closed with the source. Raises FramesError.
    """
    head = _head(file, name)
    # The rest of a pipe is joined to what was read of it; a file goes back to where it stood.
    whole: Any = file
    if not _can_seek(file):
        joined = _Joined(head, file)
        whole = _spooled(joined) if _needs_seeking(head) else joined
    elif file.tell() != len(head):
        file.seek(-len(head), io.SEEK_CUR)
        whole = _spooled(file)  # FFmpeg counts from the start of a file
    else:
        file.seek(0)
    try:
        source = _opened(whole, head, name)
    except FramesError:
        if owned:
            file.close()
        raise
    return _closing(source, [each for each in (whole, file) if owned or each is not file])


def _opened(file: Any, head: bytes, name: str) -> FrameSource:
    if is_tiff(head):
        return open_tiff(file, name, read_once=True)
    if head[:2] == b"\xff\xd8" and b"MPF\0" in head:  # one photograph, with smaller copies that are no frames
        return FrameSource(iter([decode_image(file.read(), name)]), num_frames=1, exact=True, read_once=True)
    return open_video(file, name, read_once=True)


def open_bytes(data: bytes | bytearray | memoryview) -> FrameSource:
    """The frames of a video or an image whose file is in memory."""
    if not len(data):
        raise FramesError("frames are bytes, and empty; pass the bytes of a video or of an image")
    return open_stream(io.BytesIO(data), f"{len(data)} bytes", owned=True)


def _head(file: Any, name: str) -> bytes:
    head = b""
    try:
        while len(head) < _HEAD_BYTES:
            part = file.read(_HEAD_BYTES - len(head))
            if isinstance(part, str):
                raise FramesError(f"{name} is open as text; open it as bytes: open(path, 'rb')")
            if not part:
                break
            head += part
    except FramesError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise FramesError(f"{name} cannot be read ({reason(error)})") from error
    if head:
        return head
    stands = " from where it stands: go back to its start with seek(0)" if _can_seek(file) and file.tell() else ""
    raise FramesError(f"{name} holds no bytes{stands}")


def _can_seek(file: Any) -> bool:
    try:
        return bool(file.seekable())
    except (AttributeError, OSError, ValueError):
        return False


def _needs_seeking(head: bytes) -> bool:
    """Whether a format is not one that can be read from front to back; TIFF is not, nor an MP4 with its index last."""
    if head.startswith(b"\x89PNG") and b"acTL" in head:  # animated
        return True
    if head[4:8] != b"ftyp":
        return is_tiff(head) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    place = 0
    for _ in range(_MOST_BOXES):
        length, kind = int.from_bytes(head[place : place + 4], "big"), head[place + 4 : place + 8]
        if kind == b"moov":
            return False
        if kind == b"mdat" or length < 8 or place + length >= len(head):
            break
        place += length
    return True


class _Joined:
    """What was read of a pipe, and the rest of it, as one file that cannot seek."""

    name = "<pipe>"

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = io.BytesIO(head), rest

    def read(self, size: int = -1) -> bytes:
        return self._head.read(size) or bytes(self._rest.read(size) or b"")

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Leaves the pipe to who opened it."""


def _spooled(file: Any) -> IO[bytes]:
    """A temporary file, gone when closed, that holds the rest of a file."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        while part := file.read(_COPY_BYTES):
            spool.write(part)
        spool.seek(0)
    except OSError as error:
        spool.close()
        raise FramesError(f"could not copy the video to {tempfile.gettempdir()} ({reason(error)})") from error
    return spool


def _closing(source: FrameSource, files: list[Any]) -> FrameSource:
    source.on_close(*(file.close for file in files))
    return source
