"""Augmentations of clips that keep their tracks exact: parts of the picture, mirrors, moving cameras, other colours.

Each is a function of a clip and a generator of random numbers, and gives a new clip. Motions begin at rest: the
first frame stays as it is, so that queries in it stay valid. A point whose query is no longer visible is asked for
on the nearest frame on which it is; one that is visible nowhere any more gives its place to a copy of another (and
if none is left at all, the picture is left as it was). Shapes never change, unless `crop` is given one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size, scale_points
from training.data.labelled_video import LabelledVideo

Array = NDArray[np.float64]

AREA = (0.3, 1.0)
"""Share of the picture that a crop keeps."""
ASPECT = (0.5, 2.0)
"""Width over height of a crop."""
ATTEMPTS = 20
"""Draws of a crop that may not fit into the picture; then all of it is kept."""
SLOW = (0.5, 2.0)
QUICK = (4.0, 8.0)
"""Periods per clip."""
CORNER_WAVES, ROLL_WAVES = 3, 5
"""Slow ones, and as many quick ones, that add up to a movement."""
CORNER_AMPLITUDE = (0.05, 0.02)
"""The most that a slow and a quick wave push a corner, as a share of the frame."""
SHIFT_AMPLITUDE = np.array([(30, 10), (20, 7)]) / 256
"""Likewise of a shift along x and along y: pixels of a frame of 256x256, where TAPNext++ has pixels of any frame."""
TURN_AMPLITUDE = (10.0, 5.0)
"""Likewise of a turn, in degrees."""
MARGIN = 0.3
"""Share of the frame within which a corner is reflected, so that the picture never folds."""
HORIZON = 1e-2
"""Least homogeneous coordinate of a hidden point: those behind the camera have no image, and are put far away."""
LUMA = np.array([0.299, 0.587, 0.114])


def crop(clip: LabelledVideo, rng: np.random.Generator, size: Size | None = None) -> LabelledVideo:
    """A part of the picture, the same in all frames, as Kubric's generator of training clips draws it.

    size: (height, width) that it is resized to, its aspect whatever it may be; None is that of the clip.
    """
    size = size or clip.frames.shape[1:3]
    x, y, width, height = _window(clip.frames.shape[1:3], rng)
    xy = clip.xy - np.float32([x, y])
    visible = clip.visible & ((xy >= 0) & (xy <= (width, height))).all(axis=-1)
    if len(xy) and not visible.any():
        return resized(clip, size)
    part = replace(clip, frames=clip.frames[:, y : y + height, x : x + width])
    return resized(_with_queries(part, xy, visible, rng), size)


def resized(clip: LabelledVideo, size: Size) -> LabelledVideo:
    """The clip at another (height, width); shrinking averages."""
    height, width = clip.frames.shape[1:3]
    if (height, width) == tuple(size):
        return clip
    how = cv2.INTER_AREA if size[0] * size[1] < height * width else cv2.INTER_LINEAR
    frames = np.stack([cv2.resize(frame, size[::-1], interpolation=how) for frame in clip.frames])
    queries = clip.queries
    if queries is not None:
        queries = np.concatenate([queries[:, :1], scale_points(queries[:, 1:], (height, width), size)], axis=1)
    return replace(clip, frames=frames, xy=scale_points(clip.xy, (height, width), size), queries=queries)


def flip(clip: LabelledVideo, rng: np.random.Generator) -> LabelledVideo:
    """The clip mirrored, left to right."""
    xy = clip.xy * np.float32([-1, 1]) + np.float32([clip.frames.shape[2], 0])
    return _with_queries(replace(clip, frames=clip.frames[:, :, ::-1].copy()), xy, clip.visible, rng)


def reverse(clip: LabelledVideo, rng: np.random.Generator) -> LabelledVideo:
    """The clip backwards in time."""
    queries, annotated = clip.queries, clip.annotated
    if queries is not None:
        queries = np.concatenate([len(clip.frames) - 1 - queries[:, :1], queries[:, 1:]], axis=1)
    annotated = None if annotated is None else annotated[::-1]
    turned = replace(clip, frames=clip.frames[::-1].copy(), queries=queries, annotated=annotated)
    return _with_queries(turned, clip.xy[:, ::-1].copy(), clip.visible[:, ::-1].copy(), rng)


def homography(clip: LabelledVideo, rng: np.random.Generator, strength: float = 1.0) -> LabelledVideo:
    """The clip as if filmed off a screen by an unsteady camera: a smooth projective motion, shrinking into the frame.

    All that was in the frame stays in it; outside is black. strength: 1 is what TAPNext++ does; a corner is then 6 % of
    the frame from where it began (root mean square), half of that at 0.5.
    """
    frames, height, width = clip.frames.shape[:3]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    slide = np.stack([_wander(rng, frames, CORNER_WAVES, CORNER_AMPLITUDE) for _ in range(8)], axis=-1) * strength
    inward = MARGIN - np.abs(MARGIN - np.abs(slide).reshape(frames, 4, 2) % (2 * MARGIN))
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
    strength: 1 is what TAPNext++ does, whose frames grow when they turn, which these do not; the shift is then 16 % of
    the frame along x and 11 % along y, the turn 14 degrees (root mean squares).
    """
    frames, height, width = clip.frames.shape[:3]
    size = np.array([width, height])
    shift = np.stack([_wander(rng, frames, ROLL_WAVES, most) for most in SHIFT_AMPLITUDE], axis=-1) * strength
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
    angle = _wander(rng, frames, ROLL_WAVES, TURN_AMPLITUDE) * strength
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


def grey(clip: LabelledVideo, rng: np.random.Generator) -> LabelledVideo:
    """The clip without colours."""
    return replace(clip, frames=np.stack([cv2.transform(frame, np.tile(LUMA, (3, 1))) for frame in clip.frames]))


AUGMENTATIONS: dict[str, Callable[[LabelledVideo, np.random.Generator], LabelledVideo]] = {
    "crop": crop,
    "flip": flip,
    "reverse": reverse,
    "homography": homography,
    "roll": roll,
    "colour": colour,
    "grey": grey,
}
"""By name, in the order in which a clip gets them."""


def augmented(clip: LabelledVideo, shares: Mapping[str, float], rng: np.random.Generator) -> LabelledVideo:
    """The clip with each of AUGMENTATIONS as often as its share says; those without one never."""
    for name, augment in AUGMENTATIONS.items():
        if rng.random() < shares.get(name, 0.0):
            clip = augment(clip, rng)
    return clip


def _window(size: Size, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random part of a picture of (height, width) `size`: x, y, width, height."""
    height, width = size
    for _ in range(ATTEMPTS):
        area, aspect = rng.uniform(*AREA) * height * width, rng.uniform(*ASPECT)
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if w <= width and h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    return 0, 0, width, height


def _turn_about_grey(angle: float) -> Array:
    """[3, 3]: a rotation of RGB about the grey axis that keeps a pixel's grey, as turning the hue does."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    # What the rotation does to grey is taken back along the grey axis.
    return turn + np.outer(np.ones(3), LUMA - LUMA @ turn)


def _wander(rng: np.random.Generator, frames: int, waves: int, most: Sequence[float]) -> Array:
    """[T]: a sum of slow and of quick waves of random heights, each up to its `most`; 0 on the first frame."""
    t = np.arange(frames)[:, None] / max(frames, 1)
    height = np.concatenate([rng.uniform(0, height, waves) for height in most])
    turns = 2 * np.pi * np.concatenate([rng.uniform(*periods, waves) for periods in (SLOW, QUICK)])
    phase = rng.uniform(0, 2 * np.pi, 2 * waves)
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
    """The clip with new tracks, its queries on the nearest frames on which their points are visible now; None stay."""
    if clip.queries is None:
        return replace(clip, xy=xy, visible=visible)
    asked = clip.queries[:, :1]
    lost = ~visible.any(axis=1)
    if lost.any():
        rows = np.where(lost, rng.choice(np.flatnonzero(~lost), len(lost)), np.arange(len(lost)))
        xy, visible, asked = xy[rows], visible[rows], asked[rows]
    frame = np.where(visible, np.abs(np.arange(visible.shape[1]) - asked), np.inf).argmin(axis=1)
    at = xy[np.arange(len(xy)), frame]
    queries = np.concatenate([frame[:, None], at], axis=1).astype(np.float32)
    return replace(clip, xy=xy, visible=visible, queries=queries)
