"""Augmentations of clips that keep their tracks exact: a hand-held camera, a rolling one, and other colours.

Each is a function of a clip and a generator of random numbers, and gives a new clip. Motions begin at rest: the
first frame stays as it is, so that queries in it stay valid. A point whose query is no longer visible is asked for
on the nearest frame on which it is; one that is visible nowhere any more gives its place to a copy of another (and
if none is left at all, the motion is left out). Shapes never change.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.labelled_video import LabelledVideo

Array = NDArray[np.float64]

WAVES = 3
"""Slow ones, and as many quick ones, that add up to a movement."""
SLOW = (0.5, 2.0)
QUICK = (4.0, 8.0)
"""Periods per clip."""
MARGIN = 0.3
"""Share of the frame that a corner stays within, so that the picture never folds."""
HORIZON = 1e-2
"""Least homogeneous coordinate of a hidden point: those behind the camera have no image, and are put far away."""
LUMA = np.array([0.299, 0.587, 0.114])


def homography(clip: LabelledVideo, rng: np.random.Generator, strength: float = 1.0) -> LabelledVideo:
    """The clip as if filmed off a screen by an unsteady camera: a smooth projective motion, shrinking into the frame.

    All that was in the frame stays in it; outside is black. strength: 1 is about what
    TAPNext++ does; a corner is then 6 % of the frame from where it began (root mean square), half of that at 0.5.
    """
    frames, height, width = clip.frames.shape[:3]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    slide = np.stack([_wander(rng, frames, 0.05 * strength, 0.02 * strength) for _ in range(8)], axis=-1)
    inward = np.minimum(np.abs(slide).reshape(frames, 4, 2), MARGIN)
    moved = corners + inward * (1 - 2 * corners)
    size = np.array([width, height])
    matrices = [
        cv2.getPerspectiveTransform((corners * size).astype(np.float32), (to * size).astype(np.float32)) for to in moved
    ]
    return _warped(clip, np.stack(matrices), rng)


def roll(clip: LabelledVideo, rng: np.random.Generator, strength: float = 1.0, rotate: bool = True) -> LabelledVideo:
    """The clip on a torus that shakes: what leaves the frame on one side comes in on the other; and turning, if asked.

    Shifts are whole pixels, so that pictures are not resampled unless turned. Tracks jump with their points, which
    teaches a tracker to find them again. A point that was outside the frame stays hidden.
    strength: 1 is about what TAPNext++ does; the shift is then 13 % of the frame and the turn 12 degrees (root mean
    square).
    """
    frames, height, width = clip.frames.shape[:3]
    size = np.array([width, height])
    shift = np.stack([_wander(rng, frames, 0.12 * strength, 0.04 * strength) for _ in range(2)], axis=-1)
    shift = np.round(shift * size).astype(int)
    rolled = np.stack([np.roll(f, (dy, dx), (0, 1)) for f, (dx, dy) in zip(clip.frames, shift, strict=True)])
    inside = ((clip.xy >= 0) & (clip.xy <= size)).all(axis=-1, keepdims=True)
    moved = clip.xy.astype(np.float64) + shift
    # The right edge of the frame is the left one; a point on it is left where it is.
    wrapped = np.where((moved < 0) | (moved > size), np.mod(moved, size), moved)
    xy = np.where(inside, wrapped, moved).astype(np.float32)
    clip = replace(clip, frames=rolled, xy=xy)
    if not rotate:
        return _with_queries(clip, clip.xy, clip.visible, rng)
    angle = _wander(rng, frames, 10.0 * strength, 5.0 * strength)
    centre = (width / 2, height / 2)
    matrices = [np.vstack([cv2.getRotationMatrix2D(centre, a, 1.0), (0, 0, 1)]) for a in angle]
    return _warped(clip, np.stack(matrices), rng)


def colour(
    clip: LabelledVideo,
    rng: np.random.Generator,
    *,
    brightness: float = 0.125,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.2,
) -> LabelledVideo:
    """The clip in other colours, the same for all its frames. Each number is the most that may change:

    brightness: share of the full range that is added. contrast, saturation: share by which differences from mid
    grey, and from a pixel's own grey, grow or shrink. hue: share of a full turn, about the grey axis.
    """
    matrix = _turn_about_grey(2 * np.pi * rng.uniform(-hue, hue))
    grey = np.tile(LUMA, (3, 1))
    matrix = grey + (matrix - grey) * rng.uniform(1 - saturation, 1 + saturation)
    gain = rng.uniform(1 - contrast, 1 + contrast)
    offset = 127.5 * (1 - gain) + 255 * rng.uniform(-brightness, brightness)
    table = np.concatenate([gain * matrix, np.full((3, 1), offset)], axis=1)
    return replace(clip, frames=np.stack([cv2.transform(frame, table) for frame in clip.frames]))


def _turn_about_grey(angle: float) -> Array:
    """[3, 3]: a rotation of RGB about the grey axis that keeps a pixel's grey, as turning the hue does."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    # What the rotation does to grey is taken back along the grey axis.
    return turn + np.outer(np.ones(3), LUMA - LUMA @ turn)


def _wander(rng: np.random.Generator, frames: int, slow: float, quick: float) -> Array:
    """[T]: a sum of slow and quick waves of random heights up to these, 0 on the first frame."""
    t = np.arange(frames)[:, None] / max(frames, 1)
    height = np.concatenate([rng.uniform(0, slow, WAVES), rng.uniform(0, quick, WAVES)])
    turns = 2 * np.pi * np.concatenate([rng.uniform(*SLOW, WAVES), rng.uniform(*QUICK, WAVES)])
    phase = rng.uniform(0, 2 * np.pi, 2 * WAVES)
    return (height * (np.sin(t * turns + phase) - np.sin(phase))).sum(axis=1)


def _warped(clip: LabelledVideo, matrices: Array, rng: np.random.Generator) -> LabelledVideo:
    """Each frame under its projective map [T, 3, 3] of raster coordinates; black where nothing comes from."""
    height, width = clip.frames.shape[1:3]
    # OpenCV counts from the centre of the first pixel.
    to_raster, to_index = (np.array([[1, 0, by], [0, 1, by], [0, 0, 1]]) for by in (0.5, -0.5))
    frames = np.stack(
        [
            cv2.warpPerspective(frame, to_index @ matrix @ to_raster, (width, height))
            for frame, matrix in zip(clip.frames, matrices, strict=True)
        ]
    )
    xy = _mapped(clip.xy, matrices)
    visible = clip.visible & ((xy >= 0) & (xy <= (width, height))).all(axis=-1)
    if len(xy) and not visible.any():
        return clip
    return _with_queries(replace(clip, frames=frames), xy, visible, rng)


def _mapped(xy: NDArray[np.float32], matrices: Array) -> NDArray[np.float32]:
    """Points [N, T, 2] under the maps [T, 3, 3] of their frames."""
    homogeneous = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], axis=-1)
    mapped = np.einsum("tij,ntj->nti", matrices, homogeneous)
    return (mapped[..., :2] / np.maximum(mapped[..., 2:], HORIZON)).astype(np.float32)


def _with_queries(
    clip: LabelledVideo, xy: NDArray[np.float32], visible: NDArray[np.bool_], rng: np.random.Generator
) -> LabelledVideo:
    """The clip with new tracks, its queries on the nearest frames on which their points are visible now."""
    asked = clip.queries[:, :1]
    lost = ~visible.any(axis=1)
    if lost.any():
        rows = np.where(lost, rng.choice(np.flatnonzero(~lost), len(lost)), np.arange(len(lost)))
        xy, visible, asked = xy[rows], visible[rows], asked[rows]
    frame = np.where(visible, np.abs(np.arange(visible.shape[1]) - asked), np.inf).argmin(axis=1)
    at = xy[np.arange(len(xy)), frame]
    queries = np.concatenate([frame[:, None], at], axis=1).astype(np.float32)
    return replace(clip, xy=xy, visible=visible, queries=queries)
