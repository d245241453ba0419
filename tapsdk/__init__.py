"""Track any point through any video.

>>> import tapsdk
>>> tracks = tapsdk.track("video.mp4", [[0, 320, 240]])   # (t, x, y)
>>> tracks.xy, tracks.visible, tracks.confidence
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapsdk import batch as batch
    from tapsdk import errors as errors
    from tapsdk import motion as motion
    from tapsdk.api import check_output as check_output
    from tapsdk.api import load as load
    from tapsdk.api import track as track
    from tapsdk.artifact import open_artifact as open_artifact
    from tapsdk.geometry import scale_points as scale_points
    from tapsdk.points import grid_points as grid_points
    from tapsdk.points import in_mask as in_mask
    from tapsdk.runtime.features import PointFeatures as PointFeatures
    from tapsdk.runtime.model import Model as Model
    from tapsdk.space.lifting import lift as lift
    from tapsdk.space.tracks3d import Tracks3D as Tracks3D
    from tapsdk.tracker import Tracker as Tracker
    from tapsdk.tracks import RunReport as RunReport
    from tapsdk.tracks import Track as Track
    from tapsdk.tracks import Tracks as Tracks
    from tapsdk.video.colors import distinct_colors as distinct_colors
    from tapsdk.video.colors import position_colors as position_colors
    from tapsdk.video.draw import TrackPainter as TrackPainter
    from tapsdk.video.draw import draw as draw
    from tapsdk.video.files import open_frames as open_frames
    from tapsdk.video.frames import FrameSource as FrameSource
    from tapsdk.video.rainbow import draw_rainbow as draw_rainbow
    from tapsdk.video.writer import VideoWriter as VideoWriter

__version__ = "0.2.0"

# Imported on first use, so that `import tapsdk` loads neither an engine nor a video library.
_HOMES = {
    "FrameSource": "tapsdk.video.frames",
    "Model": "tapsdk.runtime.model",
    "PointFeatures": "tapsdk.runtime.features",
    "RunReport": "tapsdk.tracks",
    "Track": "tapsdk.tracks",
    "TrackPainter": "tapsdk.video.draw",
    "Tracker": "tapsdk.tracker",
    "Tracks": "tapsdk.tracks",
    "Tracks3D": "tapsdk.space.tracks3d",
    "VideoWriter": "tapsdk.video.writer",
    "check_output": "tapsdk.api",
    "distinct_colors": "tapsdk.video.colors",
    "draw": "tapsdk.video.draw",
    "draw_rainbow": "tapsdk.video.rainbow",
    "grid_points": "tapsdk.points",
    "in_mask": "tapsdk.points",
    "lift": "tapsdk.space.lifting",
    "load": "tapsdk.api",
    "open_artifact": "tapsdk.artifact",
    "open_frames": "tapsdk.video.files",
    "position_colors": "tapsdk.video.colors",
    "scale_points": "tapsdk.geometry",
    "track": "tapsdk.api",
}

_MODULES = ("batch", "errors", "motion")

__all__ = [
    "FrameSource",
    "Model",
    "PointFeatures",
    "RunReport",
    "Track",
    "TrackPainter",
    "Tracker",
    "Tracks",
    "Tracks3D",
    "VideoWriter",
    "__version__",
    "batch",
    "check_output",
    "distinct_colors",
    "draw",
    "draw_rainbow",
    "errors",
    "grid_points",
    "in_mask",
    "lift",
    "load",
    "motion",
    "open_artifact",
    "open_frames",
    "position_colors",
    "scale_points",
    "track",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"tapsdk.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tapsdk' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
