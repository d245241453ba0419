"""Tracks painted over video, frame by frame: discs, hollow circles, fading trails. numpy only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import FramesError, PointsError
from tapsdk.geometry import MAX_SIDE, Size
from tapsdk.motion.homography import apply_homography
from tapsdk.tracks import Tracks
from tapsdk.video.colors import distinct_colors, spread_colors
from tapsdk.video.frames import Frame

Floats = NDArray[np.float32]
Lost = Literal["faded", "hidden"]
LOST: tuple[Lost, ...] = ("faded", "hidden")
"""What is drawn of points that are not visible: a small faint circle, or nothing."""


def draw(
    frames: Iterable[Frame],
    tracks: Tracks,
    *,
    trail: int = 16,
    colors: ArrayLike | Literal["distinct", "position"] = "distinct",
    lost: Lost = "faded",
    camera: ArrayLike | None = None,
) -> Iterator[Frame]:
    """The frames of a video with its tracks painted over them, one by one.

        with tapsdk.open_frames(path) as frames, tapsdk.VideoWriter(out, frames.fps, frames.size) as writer:
            for frame in tapsdk.draw(frames, tracks):
                writer.write(frame)

    frames: [H, W, 3] uint8 RGB each; those beyond the tracks' end are left out. trail, lost: see `TrackPainter`.
    colors: [N, 3] uint8 RGB; "distinct": neighbours in number differ clearly; "position": by where points begin, from
        the first to the last of all hues, so that a grid is a rainbow that bends with what it lies on.
    camera: [T, 3, 3], homographies from every frame to a common one, such as `to_reference` of
        `tapsdk.motion.camera_motion`. Trails then show how points move over the background, and not how it moves.
    """
    steps = _camera_steps(camera, tracks.num_frames)
    if tracks.num_frames == 0:
        return
    painter = TrackPainter(len(tracks), trail=trail, colors=_colors(tracks, colors), lost=lost)
    for t, frame in zip(range(tracks.num_frames), frames, strict=False):
        yield painter.draw(frame, tracks.xy[:, t], tracks.visible[:, t], steps[t])


def _colors(tracks: Tracks, colors: ArrayLike | Literal["distinct", "position"]) -> NDArray[np.uint8]:
    """[N, 3] uint8 RGB."""
    if not isinstance(colors, str):
        return np.asarray(colors, dtype=np.uint8)
    if colors == "distinct":
        return distinct_colors(len(tracks))
    if colors != "position":
        raise PointsError(f'colors must be "distinct", "position" or an array [N, 3], got {colors!r}')
    return spread_colors(tracks.xy[:, 0] if tracks.queries is None else tracks.queries[:, 1:])


def _camera_steps(camera: ArrayLike | None, frames: int) -> Sequence[NDArray[np.float64] | None]:
    """For every frame, the homography to it from the frame before."""
    if camera is None:
        return [None] * frames
    to_common = np.asarray(camera, dtype=np.float64)
    if to_common.shape != (frames, 3, 3):
        raise PointsError(f"camera must have shape [{frames}, 3, 3], a matrix a frame, got {list(to_common.shape)}")
    return [None, *np.linalg.inv(to_common[1:]) @ to_common[:-1]]


_HALF = np.float32(0.5)
_OUTLINE = np.array([18, 18, 18], dtype=np.float32)
_OUTLINE_ALPHA = 0.8
_TRAIL_ALPHA = 0.85
_LOST_ALPHA = 0.4
# A dot's radius, of the frame's short side and, where there are many, of the distance between two.
_LARGEST, _CROWDED = 0.0105, 0.22
# Of a dot's radius.
_LOST_SIZE = 0.8
# Points, or pieces of trails, worked on at once: few enough for their pixels to stay in the cache.
_CHUNK = 512
# A longer step than this part of the frame's short side is a lost point found again, not motion.
_JUMP = 0.25


class TrackPainter:
    """Paints N points over the frames of a video, in the order of the frames.

    A visible point is a disc; a trail leads through its last positions, and breaks where it was not visible. Dots and
    trails grow with the frame.

    trail: how many frames back a trail reaches; 0 draws none.
    colors: [N, 3] uint8 RGB; one distinct colour a point if left out (see tapsdk.video.colors).
    radius: of a disc, pixels; by the size of the frame and the number of points if left out, at least 2.
    lost: what is drawn of points that are not visible: "faded", a small faint circle, or "hidden", nothing.
    """

    def __init__(
        self,
        num_points: int,
        *,
        trail: int = 16,
        colors: ArrayLike | None = None,
        radius: float | None = None,
        lost: Lost = "faded",
    ) -> None:
        if lost not in LOST:
            raise PointsError(f"lost must be one of {', '.join(LOST)}, got {lost!r}")
        self._lost = lost
        self._colors = distinct_colors(num_points) if colors is None else np.asarray(colors, dtype=np.uint8)
        if self._colors.shape != (num_points, 3):
            raise PointsError(f"colors must have shape [{num_points}, 3], got {list(self._colors.shape)}")
        self._radius = radius
        self._trail = max(trail, 0)
        # Newest first: where the points were, and which of them could be seen.
        self._history: deque[tuple[Floats, NDArray[np.bool_]]] = deque(maxlen=self._trail + 1)

    def draw(self, frame: Frame, xy: ArrayLike, visible: ArrayLike, moved: ArrayLike | None = None) -> Frame:
        """A new frame with the points painted on it.

        frame: [H, W, 3] uint8 RGB. xy: [N, 2] pixels; a point that is NaN or off the frame is left out.
        visible: [N] bool. moved: [3, 3], the homography from the frame before, by which trails go along.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise FramesError(f"a frame must be uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}")
        size = frame.shape[:2]
        near = self.pass_over(xy, visible, size, moved)
        points, seen = self._history[0]
        canvas, radius = np.array(frame, order="C"), self._dot(size)
        self._draw_trails(canvas, half_width=max(0.8, 0.34 * radius))
        # What is seen lies over what is lost.
        for shown, hollow in ((~seen, True), (seen, False)):
            rows = np.flatnonzero(near & shown & (not hollow or self._lost == "faded"))
            for start in range(0, len(rows), _CHUNK):
                some = rows[start : start + _CHUNK]
                _stamp_dots(canvas, points[some], self._colors[some], radius, hollow=hollow)
        return canvas

    def pass_over(
        self, xy: ArrayLike, visible: ArrayLike, size: Size, moved: ArrayLike | None = None
    ) -> NDArray[np.bool_]:
        """Remembers where points are in a frame of (height, width) `size`, for trails, and paints nothing.

        Returns [N], which points are on the frame or near it. xy, visible, moved: see `draw`.
        """
        # Copies: what is remembered must not change with the caller's arrays.
        points, seen = np.array(xy, dtype=np.float32), np.array(visible, dtype=np.bool_)
        n = len(self._colors)
        if points.shape != (n, 2) or seen.shape != (n,):
            raise PointsError(
                f"xy must have shape [{n}, 2] and visible [{n}], got {list(points.shape)} and {list(seen.shape)}"
            )
        if moved is not None:
            self._carry_trails(moved)
        reach = 2 * self._dot(size)
        # False for NaN, and for what is too far off to leave a mark.
        near = np.asarray(((points > -reach) & (points < (size[1] + reach, size[0] + reach))).all(axis=1))
        points[~near] = 0
        self._history.appendleft((points, seen & near))
        return near

    def _dot(self, size: Size) -> float:
        """Radius in pixels."""
        if self._radius is not None:
            return self._radius
        apart = float(np.sqrt(size[0] * size[1] / max(len(self._colors), 1)))  # as if on a grid all over the frame
        return max(2.0, min(_LARGEST * min(size), _CROWDED * apart))

    def _carry_trails(self, moved: ArrayLike) -> None:
        for age, (points, seen) in enumerate(self._history):
            carried = apply_homography(moved, points)
            near = (np.abs(carried) < MAX_SIDE).all(axis=1)
            carried[~near] = 0
            self._history[age] = carried.astype(np.float32), seen & near

    def _draw_trails(self, canvas: Frame, half_width: float) -> None:
        """Join the last positions of every point, wherever it was seen in two frames running."""
        if self._trail == 0:
            return
        points = np.stack([xy for xy, _ in self._history])
        seen = np.stack([visible for _, visible in self._history])
        steps = np.abs(points[1:] - points[:-1]).max(axis=2, initial=0)
        age, point = np.nonzero(seen[1:] & seen[:-1] & (steps < _JUMP * min(canvas.shape[:2])))
        alpha = (_TRAIL_ALPHA * (1 - age / self._trail)).astype(np.float32)
        _stroke(canvas, points[age + 1, point], points[age, point], self._colors[point], alpha, half_width)


def _stamp_dots(canvas: Frame, xy: Floats, colors: NDArray[np.uint8], radius: float, *, hollow: bool) -> None:
    """Lay antialiased discs, or small faint circles, with a dark outline over the canvas, later ones on top."""
    radius, alpha = (_LOST_SIZE * radius, _LOST_ALPHA) if hollow else (radius, 1.0)
    outer = radius + max(1.0, 0.22 * radius)
    # The pixels whose centres a dot can reach, as one square window per point.
    corner = np.floor(xy - outer - 0.5).astype(np.int32)
    cells = np.arange(int(np.ceil(2 * outer)) + 2, dtype=np.float32) + _HALF
    dx, dy = (corner[:, axis, None] - xy[:, axis, None] + cells for axis in (0, 1))
    distance = np.sqrt(dy.astype(np.float32)[:, :, None] ** 2 + dx.astype(np.float32)[:, None, :] ** 2)

    dark = np.clip(outer + 0.5 - distance, 0, 1) * np.float32(_OUTLINE_ALPHA)
    fill = np.clip(radius + 0.5 - distance, 0, 1)
    if hollow:
        hole = np.clip(distance - (radius - max(1.1, 0.3 * radius)) + 0.5, 0, 1)
        dark *= hole
        fill *= hole
    dark, fill = alpha * dark, alpha * fill
    keep = ((1 - dark) * (1 - fill))[..., None]
    paint = colors[:, None, None, :].astype(np.float32)
    # The half makes the cast to uint8 round.
    ink = (dark * (1 - fill))[..., None] * _OUTLINE + fill[..., None] * paint + _HALF

    height, width = canvas.shape[:2]
    for i, (left, top) in enumerate(corner.tolist()):
        x0, x1 = max(left, 0), min(left + len(cells), width)
        y0, y1 = max(top, 0), min(top + len(cells), height)
        if x0 < x1 and y0 < y1:
            window = (i, slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
            canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * keep[window] + ink[window]


def _stroke(
    canvas: Frame, starts: Floats, ends: Floats, colors: NDArray[np.uint8], alphas: Floats, half_width: float
) -> None:
    """Draw antialiased segments; where several meet, the most opaque counts, so that joints do not darken."""
    height, width = canvas.shape[:2]
    shades = colors.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    # One number a pixel, opacity above colour: the largest wins.
    best = np.zeros(height * width, dtype=np.uint32)
    for start in range(0, len(starts), _CHUNK):
        part = slice(start, start + _CHUNK)
        segment, pixel, cover = _cover_segments(starts[part], ends[part], half_width, (height, width))
        opacity = (cover * (255 * alphas[part])[segment]).astype(np.uint32)
        np.maximum.at(best, pixel, (opacity << 24) | shades[part][segment])
    pixels = np.flatnonzero(best != 0)
    winner = best[pixels]
    shade = np.stack([winner >> 16 & 255, winner >> 8 & 255, winner & 255], axis=1).astype(np.float32)
    alpha = (winner >> 24).astype(np.float32)[:, None] / 255
    flat = canvas.reshape(-1, 3)
    under = flat.take(pixels, axis=0).astype(np.float32)
    flat[pixels] = under + (shade - under) * alpha + _HALF


def _cover_segments(
    starts: Floats, ends: Floats, half_width: float, size: Size
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The pixels under each segment: (segment index, flat pixel index, cover in (0, 1]), an entry per pair.

    Walks every segment along its longer axis and looks at the few pixels across it, so that the work grows
    with the length and not with its square.
    """
    steep = np.abs(ends[:, 1] - starts[:, 1]) > np.abs(ends[:, 0] - starts[:, 0])
    along0, across0 = np.where(steep, starts[:, ::-1].T, starts.T)
    along1, across1 = np.where(steep, ends[:, ::-1].T, ends.T)
    reach = np.float32(half_width + 0.5)
    first = np.floor(np.minimum(along0, along1) - reach).astype(np.int32)
    counts = np.floor(np.maximum(along0, along1) + reach).astype(np.int32) - first + 1
    segment = np.repeat(np.arange(len(starts)), counts)
    step = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)

    # Coordinates from the start of each segment: a along its axis [P], b across it [R, P], R pixels a step.
    da, db = along1 - along0, across1 - across0
    a = (first + _HALF - along0)[segment] + step.astype(np.float32)
    slope = np.divide(db, da, out=np.zeros_like(db), where=da != 0)
    # At most 45 degrees: across the axis, the reach grows by sqrt(2).
    span = np.float32(1.4143) * reach
    row = np.floor(across0[segment] + slope[segment] * a - span).astype(np.int32)
    b = (row + _HALF - across0[segment]) + np.arange(int(2 * span) + 2, dtype=np.float32)[:, None]

    # The nearest place on the segment, from 0 (start) to 1 (end); its limits make the ends round.
    length2 = np.maximum(da**2 + db**2, np.float32(1e-12))
    place = a * (da / length2)[segment] + b * (db / length2)[segment]
    np.clip(place, 0, 1, out=place)
    gap2 = (a - place * da[segment]) ** 2 + (b - place * db[segment]) ** 2
    near = gap2 < reach**2
    hits = np.flatnonzero(near)
    across = np.repeat(np.arange(len(near)), near.sum(axis=1))
    along = hits - across * near.shape[1]
    cover = np.minimum(reach - np.sqrt(gap2.ravel()[hits]), 1)

    owner = segment[along]
    column, row = (first[segment] + step)[along], row[along] + across
    columns, rows = np.where(steep, size[0], size[1]), np.where(steep, size[1], size[0])
    inside = (column >= 0) & (column < columns[owner]) & (row >= 0) & (row < rows[owner])
    pixel = column * np.where(steep, size[1], 1)[owner] + row * np.where(steep, 1, size[1])[owner]
    return owner[inside], pixel[inside], cover[inside]
