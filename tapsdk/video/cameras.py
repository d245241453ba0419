"""Cameras, as FFmpeg reads them: by number or, on Linux, by device."""

from __future__ import annotations

import os
import stat
import sys

from tapsdk.errors import FramesError
from tapsdk.geometry import Size
from tapsdk.video.decoding import Opening, open_video
from tapsdk.video.frames import FrameSource

DRIVERS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none")}
"""By platform: FFmpeg's name of what reads cameras, and of the camera of a number."""


_VIDEO4LINUX = 81
"""The number that Linux gives to devices of this kind."""


def is_camera(file: os.stat_result) -> bool:
    """Whether what `os.stat` found is the device of a camera."""
    return sys.platform == "linux" and stat.S_ISCHR(file.st_mode) and os.major(file.st_rdev) == _VIDEO4LINUX


def open_camera(name: str, size: Size | None = None, fps: float | None = None) -> FrameSource:
    """Its frames as they come, without an end. Raises FramesError.

    name: "0" and so on, or a device. size, fps: to ask it for, (height, width) and frames per second; it may give
    others. None: its own choice.
    """
    if sys.platform not in DRIVERS:
        raise FramesError(
            f"{name}: no such file or folder, and cameras are read by their number on Linux and macOS alone: pass a "
            "generator of its frames"
        )
    driver, of_number = DRIVERS[sys.platform]
    origin = of_number.format(name) if name.isdecimal() else name
    try:
        opening = Opening(driver, _wanted(size, fps))
        return open_video(origin, f"camera {name}", read_once=True, opening=opening)
    except FramesError as error:
        missing = f"{name}: no such file or folder, and no camera of this number: " if name.isdecimal() else ""
        raise FramesError(f"{missing}{error}") from error


def _wanted(size: Size | None, fps: float | None) -> dict[str, str]:
    """As FFmpeg's options."""
    wanted = {} if size is None else {"video_size": f"{size[1]}x{size[0]}"}
    return wanted if fps is None else {**wanted, "framerate": f"{fps:g}"}
