"""Tracks as pictures in one call: a painted video, and all ways at once."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tapsdk.system.files import check_not_input
from tapsdk.tracks import Tracks
from tapsdk.video.arrays import as_array, to_rgb_uint8
from tapsdk.video.draw import TrackPainter, draw
from tapsdk.video.files import files_of, open_frames
from tapsdk.video.frames import Frame
from tapsdk.video.writer import VideoWriter

GROUND = 24
"""Grey of the ground where there is no frame."""
MARGIN = 1.05
SHORTEST_SIDE = 64


def write_painted(video: Any, tracks: Tracks, path: str | os.PathLike[str], **style: Any) -> None:
    """See `Tracks.draw`."""
    if isinstance(video, (str, os.PathLike)):
        check_not_input(path, files_of(video))
    with (
        open_frames(video) as frames,
        VideoWriter(path, frames.fps or tracks.fps, frames.size, pixel_aspect=frames.pixel_aspect) as writer,
    ):
        for t, frame in enumerate(draw(frames, tracks, **style)):
            writer.write(frame, None if tracks.times is None else tracks.times[t])


def plot_ways(tracks: Tracks, frame: ArrayLike | None = None) -> Frame:
    """See `Tracks.plot`."""
    ground: Frame = _ground(tracks) if frame is None else to_rgb_uint8(as_array(frame, "the frame"), "the frame")
    if tracks.num_frames == 0:
        return np.array(ground)
    # Twice as long, so that where a way begins it is half as strong as where it ends.
    painter = TrackPainter(len(tracks), trail=2 * tracks.num_frames)
    for t in range(tracks.num_frames - 1):
        painter.pass_over(tracks.xy[:, t], tracks.visible[:, t], ground.shape[:2])
    return painter.draw(ground, tracks.xy[:, -1], tracks.visible[:, -1])


def _ground(tracks: Tracks) -> Frame:
    """Large enough for everything that is seen."""
    seen = tracks.xy[tracks.visible & np.isfinite(tracks.xy).all(axis=2)]
    width, height = np.ceil(np.clip(MARGIN * seen.max(axis=0, initial=0), SHORTEST_SIDE, 1 << 14)).astype(int).tolist()
    return np.full((height, width, 3), GROUND, np.uint8)
