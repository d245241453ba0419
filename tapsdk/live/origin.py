"""What a live session looks at: a camera, a stream, or a file that plays as if it were a camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tapsdk.geometry import Size
from tapsdk.system.places import Url
from tapsdk.video.cameras import is_camera, is_live, open_camera, open_stream_url
from tapsdk.video.files import files_of, open_frames
from tapsdk.video.frames import Frame


class Frames(Protocol):
    """What is read of an origin; a `FrameSource`, or what stands for one."""

    fps: float | None

    def __next__(self) -> Frame: ...

    @property
    def last_time(self) -> float | None: ...

    def hurry(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Origin:
    """Where frames come from.

    name: for people, without passwords. open: raises FramesError. live: frames come by themselves; what is lost is
    opened again. Else it is a file, with a clock of its own, that can wait. inputs: files that are read.
    """

    name: str
    open: Callable[[], Frames]
    live: bool
    inputs: tuple[str, ...] = ()


def origin_of(source: str, *, size: Size | None = None, fps: float | None = None) -> Origin:
    """What a person named. size, fps: wanted of a camera; of a file, fps is in place of its own rate.

    A camera's number or device, a URL that FFmpeg reads, or whatever `open_frames` takes as a path.
    """
    if is_camera(source):
        return Origin(f"camera {source}", lambda: open_camera(source, size, fps), live=True)
    if is_live(source):
        return Origin(str(Url(source)), lambda: open_stream_url(source), live=True)
    return Origin(source, lambda: open_frames(source, fps), live=False, inputs=tuple(map(str, files_of(source))))
