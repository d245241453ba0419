"""The camera's motion, read from tracks: a homography for every frame, and the points that it does not explain.

Most points are taken to lie on the background, and the background to be flat, far away, or seen by a camera that only
turns: then one homography a frame says how all of it moves. What moves otherwise is foreground.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import PointsError
from tapsdk.geometry import Size
from tapsdk.motion.homography import FEWEST, Floats, apply_homography, estimate_homography, ransac_homography
from tapsdk.motion.seen import Seen, check_tracks

THRESHOLD = 0.02
"""How far, in the frame's shorter sides, a point of the background may seem to be from its place."""
BACKGROUND_SHARE = 0.6
"""Of the frames in which a point is seen, those in which it must be in its place to be background."""
LEAST_AGREED = 0.3
"""Of the points that say how a frame has moved, those that must say the same."""
MOST_POINTS = 500
"""That are asked how a frame has moved, at first; then all of them are."""
PASSES = 3


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """How the camera moved over T frames, and what N points did beside that.

    to_reference: [T, 3, 3] float64, from pixels of each frame to those of the reference frame.
    found: [T] bool, whether enough of the background was seen to tell; elsewhere the camera is taken to stand still.
    places: [N, 2] float64, pixels of the reference frame: where each point is, or is on average; NaN if never seen.
    distance: [N, T] float32, pixels: how far each point is from where its place is in that frame; NaN where hidden.
    foreground: [N] bool, points that move by themselves.
    reference: the frame that all others are compared with.
    """

    to_reference: NDArray[np.float64]
    found: NDArray[np.bool_]
    places: NDArray[np.float64]
    distance: NDArray[np.float32]
    foreground: NDArray[np.bool_]
    reference: int

    def between(self, source: int, target: int) -> NDArray[np.float64]:
        """The homography [3, 3] that takes the background from one frame to another."""
        return _scaled(np.linalg.inv(self.to_reference[target]) @ self.to_reference[source])

    def stabilised(self, xy: ArrayLike, frame: int | None = None) -> NDArray[np.float64]:
        """Positions [N, T, 2] as they would be if the camera had stood still since a frame, the reference by default.

        NaN for what the camera could not have seen from there.
        """
        points = np.asarray(xy, np.float64)
        if points.ndim != 3 or points.shape[1:] != (len(self.to_reference), 2):
            raise PointsError(f"xy must have shape [N, {len(self.to_reference)}, 2], got {list(points.shape)}")
        still = apply_homography(self.to_reference, points.swapaxes(0, 1)).swapaxes(0, 1)
        return still if frame is None else apply_homography(np.linalg.inv(self.to_reference[frame]), still)


def camera_motion(
    xy: ArrayLike,
    visible: ArrayLike,
    size: Size,
    *,
    reference: int | None = None,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> CameraMotion:
    """How the camera moved, and which points moved by themselves.

        motion = tapsdk.motion.camera_motion(tracks.xy, tracks.visible, (height, width))

    Frames are taken in order from the reference, each compared with where the points were in those before it; so frames
    that share no point with the reference still find their place by way of the frames between.

    xy: [N, T, 2] pixels. visible: [N, T] bool. size: (height, width) of the frames. reference: a frame, the middle one
    by default. threshold: in shorter sides of the frame, how far a point may be from its place and still be in it.
    seed: of the samples that are tried. Raises PointsError.
    """
    seen = check_tracks(xy, visible)
    frames = seen.which.shape[1]
    if len(size) != 2 or min(size) <= 0:
        raise PointsError(f"a frame size is (height, width), both positive, got {size}")
    if not threshold > 0:
        raise PointsError(f"threshold must be a positive share of the frame's shorter side, got {threshold}")
    reference = frames // 2 if reference is None else reference
    if frames and not 0 <= reference < frames:
        raise PointsError(f"reference must be a frame from 0 to {frames - 1}, got {reference}")
    survey = _Survey(seen, reference, threshold * min(size))
    survey.chain(seed)
    for _ in range(PASSES):
        survey.refine()
    return survey.result()


class _Survey:
    """Places of points and matrices of frames, each worked out from the other. Matrices lead from places to frames."""

    def __init__(self, seen: Seen, reference: int, threshold: float) -> None:
        self._seen, self._reference, self._threshold = seen, reference, threshold
        points, frames = seen.which.shape
        self._matrices = np.tile(np.eye(3), (frames, 1, 1))
        self._found = np.arange(frames) == reference
        self._places = np.full((points, 2), np.nan)

    def chain(self, seed: int) -> None:
        """First matrices, frame after frame outward from the reference."""
        points = len(self._places)
        # Of each point so far: frames, frames in which it was in its place, and the sum of its places in these.
        count, kept, total = np.zeros(points), np.zeros(points), np.zeros((points, 2))
        for frame, before in self._outward():
            which, xy = self._seen.which[:, frame], self._seen.xy[:, frame]
            known = which & np.isfinite(self._places).all(axis=1)
            steady = known & (kept >= BACKGROUND_SHARE * count)
            use = steady if steady.sum() >= 2 * FEWEST else known
            matrix = None if frame == before else self._robust(use, frame, seed)
            self._found[frame] |= matrix is not None
            self._matrices[frame] = self._matrices[before] if matrix is None else matrix
            back = apply_homography(np.linalg.inv(self._matrices[frame]), xy)
            gap = np.linalg.norm(apply_homography(self._matrices[frame], self._places) - xy, axis=1)
            fits = which & ~(gap >= self._threshold) & np.isfinite(back).all(axis=1)
            count += which
            kept += fits
            total[fits] += back[fits]
            self._places[fits] = total[fits] / kept[fits, None]

    def _outward(self) -> Iterator[tuple[int, int]]:
        """Every frame with its neighbour on the way to the reference, which comes first."""
        frames, reference = len(self._matrices), self._reference
        if frames:
            yield reference, reference
        yield from ((t, t - 1) for t in range(reference + 1, frames))
        yield from ((t, t + 1) for t in range(reference - 1, -1, -1))

    def _robust(self, use: NDArray[np.bool_], frame: int, seed: int) -> Floats | None:
        rows = np.flatnonzero(use)
        rows = rows[:: -(-len(rows) // MOST_POINTS) or 1]
        try:
            matrix, inliers = ransac_homography(
                self._seen.xy[rows, frame], self._places[rows], self._threshold, seed=seed
            )
        except PointsError:  # too few of them, or all on a line
            return None
        return matrix if _is_sound(matrix) and inliers.mean() >= LEAST_AGREED else None

    def refine(self) -> None:
        """Places from all frames at a time, then matrices from all places of the background."""
        self._places = self._middle()
        distance = self._distance()
        use = self._seen.which & (distance < self._threshold) & self._is_background(distance)[:, None]
        for frame in np.flatnonzero(self._found):
            which = use[:, frame]
            try:
                matrix = estimate_homography(self._seen.xy[which, frame], self._places[which])
            except PointsError:
                continue
            if _is_sound(matrix):
                self._matrices[frame] = matrix
        for lost, before in self._outward():
            if not self._found[lost]:
                self._matrices[lost] = self._matrices[before]
        # The reference frame stays what it is, and all others move with it.
        if len(self._matrices):
            self._matrices = _scaled(self._matrices @ np.linalg.inv(self._matrices[self._reference]))

    def _middle(self) -> Floats:
        """[N, 2] medians of where points are in the reference frame."""
        back = apply_homography(np.linalg.inv(self._matrices), self._seen.xy.swapaxes(0, 1)).swapaxes(0, 1)
        good = self._seen.which & np.isfinite(back).all(axis=2)
        places = np.full((len(back), 2), np.nan)
        for point in np.flatnonzero(good.any(axis=1)):
            places[point] = np.median(back[point, good[point]], axis=0)
        return places

    def _distance(self) -> Floats:
        """[N, T] of points from their places, pixels of each frame; infinite where a point has no place in it."""
        there = apply_homography(self._matrices, self._places[None]).swapaxes(0, 1)
        gap = np.linalg.norm(there - self._seen.xy, axis=2)
        return np.where(np.isnan(gap), np.inf, gap)

    def _is_background(self, distance: Floats) -> NDArray[np.bool_]:
        """[N] of distances [N, T] from places."""
        kept = (self._seen.which & (distance < self._threshold)).sum(axis=1)
        background: NDArray[np.bool_] = kept >= BACKGROUND_SHARE * self._seen.which.sum(axis=1)
        return background

    def result(self) -> CameraMotion:
        distance = self._distance()
        return CameraMotion(
            to_reference=_scaled(np.linalg.inv(self._matrices)),
            found=self._found,
            places=self._places,
            distance=np.where(self._seen.which, distance, np.nan).astype(np.float32),
            foreground=~self._is_background(distance),
            reference=self._reference,
        )


def _is_sound(matrix: Floats) -> bool:
    """Whether it keeps left and right apart, as a camera does, and can be turned around."""
    return bool(np.isfinite(matrix).all() and np.linalg.det(matrix) > 1e-9 and matrix[2, 2] > 1e-6)


def _scaled(matrices: NDArray[np.floating]) -> Floats:
    """With 1 as their last elements."""
    return np.asarray(matrices / matrices[..., 2:, 2:], np.float64)
