"""Track any point through any video.

>>> import tapsdk
>>> tracks = tapsdk.track("video.mp4", [[0, 320, 240]])   # (t, x, y)
>>> tracks.xy, tracks.visible, tracks.confidence
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapsdk.api import track as track
    from tapsdk.artifact import open_artifact as open_artifact
    from tapsdk.tracker import Tracker as Tracker
    from tapsdk.tracks import Tracks as Tracks

__version__ = "0.1.0"

# Imported on first use, so that `import tapsdk` loads neither an engine nor a video library.
_LAZY = {
    "track": "tapsdk.api",
    "Tracker": "tapsdk.tracker",
    "Tracks": "tapsdk.tracks",
    "open_artifact": "tapsdk.artifact",
}

__all__ = ["Tracker", "Tracks", "__version__", "open_artifact", "track"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tapsdk' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
