"""The rainbow picture: what moves by itself, in colours by position, with trails that leave out the camera's motion."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from tapsdk.motion.camera import camera_motion
from tapsdk.tracks import Tracks
from tapsdk.video.colors import spread_colors
from tapsdk.video.draw import Lost, draw
from tapsdk.video.frames import Frame

logger = logging.getLogger(__name__)

TRAIL = 64


def draw_rainbow(
    frames: Iterable[Frame], tracks: Tracks, *, trail: int = TRAIL, lost: Lost = "faded"
) -> Iterator[Frame]:
    """The frames of a video, one by one, with the points that move by themselves and their ways over the background.

        for frame in tapsdk.draw_rainbow(frames, tracks):
            writer.write(frame)

    Points of the background say how the camera moved, so that there should be some: a grid over the whole frame is a
    good choice. Where no point moves by itself, all are drawn. Warnings say so, and where the camera's motion could not
    be told. See `tapsdk.motion.camera_motion`.

    frames: [H, W, 3] uint8 RGB each; those beyond the tracks' end are left out. trail: frames that it reaches back.
    lost: see `tapsdk.TrackPainter`.
    """
    rest = iter(frames)
    first = next(rest, None)
    if first is None or tracks.num_frames == 0:
        return
    motion = camera_motion(tracks.xy, tracks.visible, first.shape[:2])
    if not motion.found.all():
        count = int((~motion.found).sum())
        logger.warning("in %d frames too few points say how the camera moved; it is taken to stand still there", count)
    drawn = motion.foreground
    if len(drawn) and not drawn.any():
        logger.warning("no point moves by itself; all are drawn")
        drawn = np.ones_like(drawn)
    style: dict[str, Any] = {
        "trail": trail,
        "colors": spread_colors(motion.places[drawn]),
        "lost": lost,
        "camera": motion.to_reference,
    }
    yield from draw(chain([first], rest), tracks[drawn], **style)
