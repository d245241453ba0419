"""Tracks as After Effects' keyframe data, the text which that program copies and pastes.

Not tried in After Effects itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tapsdk.interchange.scene import Scene, decimal, seen, shares

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks


def write(tracks: Tracks, scene: Scene, file: BinaryIO) -> None:
    """One tracker with a track point for each point that is visible at all, in their order."""
    height, width = scene.size
    about = {
        "Units Per Second": decimal(scene.fps),
        "Source Width": width,
        "Source Height": height,
        "Source Pixel Aspect Ratio": 1,
        "Comp Pixel Aspect Ratio": 1,
    }
    head = "".join(f"\t{name}\t{value}\n" for name, value in about.items())
    file.write(f"Adobe After Effects 8.0 Keyframe Data\n\n{head}\n".encode("ascii"))
    keys = seen(tracks)
    for number, row in enumerate(np.flatnonzero(keys.any(axis=1)), 1):
        frames = np.flatnonzero(keys[row]).tolist()
        places = [f"\t{t}\t" + "\t".join(map(decimal, tracks.xy[row, t])) for t in frames]
        sure = [f"\t{t}\t{decimal(100 * share)}" for t, share in enumerate(shares(tracks.confidence[row]))]
        text = _property(number, "Confidence", "percent", sure)
        text += _property(number, "Feature Center", "X pixels\tY pixels", places)
        text += _property(number, "Attach Point", "X pixels\tY pixels", places)
        file.write(text.encode("ascii"))
    file.write(b"\nEnd of Keyframe Data\n")


def _property(number: int, name: str, units: str, lines: Iterable[str]) -> str:
    head = f"Motion Trackers\tTracker #1\tTrack Point #{number}\t{name}\n\tFrame\t{units}\n"
    return head + "\n".join(lines) + "\n\n"
