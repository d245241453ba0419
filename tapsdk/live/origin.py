"""What a live session looks at: a camera, a stream, or a file that plays as if it were a camera."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tapsdk.geometry import Size
from tapsdk.system.places import Url
from tapsdk.video.cameras import is_camera, open_camera
from tapsdk.video.decoding import Opening, open_video
from tapsdk.video.files import files_of, is_video_url, open_frames
from tapsdk.video.frames import Frame, FrameSource

STREAM = Opening(options={"rtsp_flags": "prefer_tcp", "fflags": "nobuffer"}, seconds=10.0)
"""Of a URL: lost packets of UDP would spoil the picture; the newest frame is wanted; its loss is to be noticed soon."""


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
    """What a person named. size, fps: to ask a camera for; of a file, fps is in place of its own rate.

    A camera's number or device, a URL that FFmpeg reads, or whatever else `open_frames` takes as a path.
    """
    if _is_camera(source):
        return Origin(f"camera {source}", lambda: open_camera(source, size, fps), live=True)
    if is_video_url(source):
        return Origin(str(Url(source)), lambda: _open_stream(source), live=True)
    return Origin(source, lambda: open_frames(source, fps), live=False, inputs=tuple(map(str, files_of(source))))


def _is_camera(source: str) -> bool:
    try:
        return is_camera(os.stat(source))
    except (OSError, ValueError):
        return source.isascii() and source.isdecimal()


def _open_stream(url: str) -> FrameSource:
    return open_video(url, str(Url(url)), read_once=True, opening=STREAM)
