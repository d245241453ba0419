"""Cameras of this machine, and streams of others: opened so that a frame is there soon, and its loss is noticed."""

from __future__ import annotations

import os
import re
import sys

from tapsdk.errors import FramesError
from tapsdk.geometry import Size
from tapsdk.system.places import Url
from tapsdk.video.decoding import Opening, open_video
from tapsdk.video.files import is_video_url
from tapsdk.video.frames import FrameSource

STREAM_SECONDS = 10.0
"""Without a byte, after which a stream counts as lost."""
_STREAM_OPTIONS = {"rtsp_flags": "prefer_tcp", "fflags": "nobuffer"}  # lost packets of UDP would spoil the picture
_NODE = re.compile(r"/dev/video\d+")


def is_camera(source: str) -> bool:
    """Whether it is the number of a camera, or the device of one."""
    return source.isdecimal() or _NODE.fullmatch(source) is not None


def is_live(source: str) -> bool:
    """Whether frames come by themselves, as of a camera or a URL, and may come back after they were lost."""
    return is_camera(source) or is_video_url(source)


def open_camera(source: str, size: Size | None = None, fps: float | None = None) -> FrameSource:
    """A camera's frames. Raises FramesError.

    source: its number, or on Linux its device. size, fps: to ask the camera for (it may give others); None: its choice.
    """
    wanted = {} if size is None else {"video_size": f"{size[1]}x{size[0]}"}
    wanted |= {} if fps is None else {"framerate": f"{fps:g}"}
    if sys.platform == "darwin":
        # Its own choice there is a rate that most cameras do not have.
        device, origin, wanted = "avfoundation", f"{source}:none", {"framerate": "30", **wanted}
    elif sys.platform.startswith("linux"):
        device, origin = "v4l2", f"/dev/video{source}" if source.isdecimal() else source
        if not os.path.exists(origin):
            raise FramesError(f"camera {source}: there is no {origin}; is the camera plugged in?")
    else:
        raise FramesError(f"camera {source}: cameras are read on Linux and macOS; give the URL of one")
    return open_video(origin, f"camera {source}", read_once=True, opening=Opening(device, wanted))


def open_stream_url(source: str) -> FrameSource:
    """The frames of a URL, as they come. Raises FramesError."""
    opening = Opening(options=_STREAM_OPTIONS, seconds=STREAM_SECONDS)
    return open_video(source, str(Url(source)), read_once=True, opening=opening)
