"""Tracks as CVAT's annotations of a video: https://docs.cvat.ai/docs/manual/advanced/xml_format/, version 1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.interchange.scene import Scene, decimal, inside, placed

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks

LABEL = "point"
"""A task in CVAT needs a label of this name."""


def write(tracks: Tracks, scene: Scene, file: BinaryIO) -> None:
    """A track for each point that has a position at all, from the first frame on where it has one.

    Where it has none later, it is outside, at the position before.
    """
    known = placed(tracks)
    outside = ~inside(tracks, scene.size)
    file.write(_head(tracks.num_frames, scene.size).encode("ascii"))
    for row in np.flatnonzero(known.any(axis=1)).tolist():
        file.write(f'  <track id="{tracks.ids[row]}" label="{LABEL}" source="auto">\n'.encode("ascii"))
        for t, place in _places(tracks.xy[row], known[row]):
            flags = f'outside="{int(outside[row, t])}" occluded="{int(not tracks.visible[row, t])}" keyframe="1"'
            file.write(f'    <points frame="{t}" {flags} points="{place}" z_order="0"></points>\n'.encode("ascii"))
        file.write(b"  </track>\n")
    file.write(b"</annotations>\n")


def _places(xy: NDArray[np.float32], known: NDArray[np.bool_]) -> list[tuple[int, str]]:
    places, last = [], ""
    for t in range(int(known.argmax()), len(xy)):
        last = ",".join(map(decimal, xy[t])) if known[t] else last
        places.append((t, last))
    return places


def _head(frames: int, size: tuple[int, int]) -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <name>tapsdk</name>
      <size>{frames}</size>
      <mode>interpolation</mode>
      <overlap>0</overlap>
      <start_frame>0</start_frame>
      <stop_frame>{max(frames - 1, 0)}</stop_frame>
      <labels>
        <label>
          <name>{LABEL}</name>
          <type>points</type>
          <attributes></attributes>
        </label>
      </labels>
      <original_size>
        <width>{size[1]}</width>
        <height>{size[0]}</height>
      </original_size>
    </task>
  </meta>
"""
