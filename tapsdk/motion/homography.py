"""Homographies: how a plane, or anything seen by a camera that only turns, moves from one picture to another.

Hartley and Zisserman, Multiple View Geometry, chapter 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import PointsError

Floats = NDArray[np.float64]

FEWEST = 4
"""Points that determine a homography, if no three of them lie on a line."""
SAMPLES = 256
"""With half of the points astray, all of so many samples of four hold one of these once in ten million times."""
REFITS = 5
DEGENERATE = 1e-7
"""A singular value, of the largest, below which equations say nothing more."""


def apply_homography(matrix: ArrayLike, xy: ArrayLike) -> Floats:
    """Points xy [..., N, 2] mapped by a matrix [..., 3, 3]; NaN for those at or beyond its horizon.

    The matrix's sign is such that points before the camera have a positive third coordinate, as
    `estimate_homography` gives it.
    """
    matrix, points = np.asarray(matrix, np.float64), _as_points(xy, "xy")
    if matrix.shape[-2:] != (3, 3):
        raise PointsError(f"a homography must have shape [..., 3, 3], got {list(matrix.shape)}")
    mapped = points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]
    depth = mapped[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(depth > 0, mapped[..., :2] / depth, np.nan)


def estimate_homography(target: ArrayLike, source: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """The matrix [3, 3] that maps points source [N, 2] (x, y) onto target [N, 2] as well as may be.

    Normalised direct linear transform. The matrix's last element is 1, unless it is next to none, and then its norm is.
    weights: [N], how much each pair counts; 0 leaves it out.
    Raises PointsError for fewer than four pairs, or where all but one lie on a line.
    """
    source, target = _pair(source, target)
    weight = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != (len(source),) or not (weight >= 0).all():
        raise PointsError(f"weights must be {len(source)} numbers from 0 up, one for each pair of points")
    counted = weight > 0
    if counted.sum() < FEWEST:
        raise PointsError(f"a homography needs {FEWEST} pairs of points, got {int(counted.sum())}")
    source, target, weight = source[counted], target[counted], weight[counted]
    into, out_of = _normaliser(source, weight), _normaliser(target, weight)
    matrix = _linear_solution(apply_homography(out_of, target), apply_homography(into, source), np.sqrt(weight))
    matrix = np.linalg.inv(out_of) @ matrix @ into
    # Most of the points are before the camera.
    depth = source @ matrix[2, :2] + matrix[2, 2]
    matrix *= (-1 if (weight * np.sign(depth)).sum() < 0 else 1) / np.linalg.norm(matrix)
    return matrix / matrix[2, 2] if matrix[2, 2] > 1e-12 else matrix


def ransac_homography(
    target: ArrayLike, source: ArrayLike, threshold: float, *, seed: int = 0
) -> tuple[Floats, NDArray[np.bool_]]:
    """A homography that holds for most pairs of points, whatever the others do, and [N] for which ones it holds.

        matrix, inliers = ransac_homography(tracks.xy[:, 9], tracks.xy[:, 0], threshold=3)

    target, source: [N, 2] (x, y). threshold: how far a mapped source may be from its target. seed: of the samples that
    are tried; the same seed gives the same matrix.
    Raises PointsError as `estimate_homography` does.
    """
    source, target = _pair(source, target)
    if not threshold > 0:
        raise PointsError(f"threshold must be a positive distance, got {threshold}")
    if len(source) < FEWEST:
        raise PointsError(f"a homography needs {FEWEST} pairs of points, got {len(source)}")
    matrix = _best_sample(source, target, threshold, np.random.default_rng(seed))
    inliers = _distance(matrix, source, target) < threshold
    if inliers.sum() < FEWEST:
        inliers[:] = True
    for _ in range(REFITS):
        before, matrix = inliers, estimate_homography(target, source, inliers)
        inliers = _distance(matrix, source, target) < threshold
        if inliers.sum() < FEWEST or (inliers == before).all():
            break
    return matrix, inliers


def _best_sample(source: Floats, target: Floats, threshold: float, rng: np.random.Generator) -> Floats:
    """Of homographies through four pairs each: the one with the least error, which counts up to the threshold."""
    chosen = rng.random((SAMPLES, len(source))).argpartition(FEWEST - 1, axis=1)[:, :FEWEST]
    weight = np.ones(len(source))
    into, out_of = _normaliser(source, weight), _normaliser(target, weight)
    near, far = apply_homography(into, source)[chosen], apply_homography(out_of, target)[chosen]
    matrices = np.linalg.inv(out_of) @ _basis(far) @ _adjugate(_basis(near)) @ into
    # The points of a sample are before the camera.
    depth = source[chosen] @ matrices[:, 2, :2, None] + matrices[:, 2, 2, None, None]
    matrices *= np.where((depth < 0).all(axis=(1, 2)), -1, 1)[:, None, None]
    errors = np.minimum(_distance(matrices, source, target), threshold) ** 2
    best: Floats = matrices[errors.sum(axis=1).argmin()]
    return best


def _distance(matrix: Floats, source: Floats, target: Floats) -> Floats:
    """[..., N] of mapped sources from targets; infinite for those that the matrix does not map."""
    gap = np.linalg.norm(apply_homography(matrix, source) - target, axis=-1)
    return np.where(np.isnan(gap), np.inf, gap)


def _linear_solution(target: Floats, source: Floats, row_weights: Floats) -> Floats:
    x, y = source.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = [
        np.stack([x, y, one, zero, zero, zero, *(-target[:, 0] * each for each in (x, y, one))], axis=1),
        np.stack([zero, zero, zero, x, y, one, *(-target[:, 1] * each for each in (x, y, one))], axis=1),
    ]
    equations = np.concatenate(rows) * np.tile(row_weights, 2)[:, None]
    _, sizes, solutions = np.linalg.svd(equations, full_matrices=len(equations) < 9)
    if sizes[7] < DEGENERATE * sizes[0]:
        raise PointsError("a homography needs four points of which no three lie on a line")
    solution: Floats = solutions[8].reshape(3, 3)
    return solution


def _normaliser(points: Floats, weight: Floats) -> Floats:
    """The matrix that centres points and makes their mean distance from there sqrt(2): rounding then hurts least."""
    centre = np.average(points, axis=0, weights=weight)
    spread = np.average(np.linalg.norm(points - centre, axis=1), weights=weight)
    scale = np.sqrt(2) / spread if spread > 0 else 1.0
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])


def _basis(points: Floats) -> Floats:
    """[S, 3, 3] that map the corners of the projective plane onto four points [S, 4, 2] each."""
    corners = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1).swapaxes(-1, -2)
    basis: Floats = corners[..., :3] * (_adjugate(corners[..., :3]) @ corners[..., 3:]).swapaxes(-1, -2)
    return basis


def _adjugate(matrix: Floats) -> Floats:
    """The inverse but for its scale, also of matrices that have none."""
    a, b, c = np.moveaxis(matrix, -1, 0)
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-2)


def _pair(source: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    one, other = _as_points(source, "source"), _as_points(target, "target")
    if one.shape != other.shape or one.ndim != 2:
        raise PointsError(f"source and target must both be [N, 2], got {list(one.shape)} and {list(other.shape)}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise PointsError("source and target must be finite; leave out points that are not seen")
    return one, other


def _as_points(xy: ArrayLike, name: str) -> Floats:
    points = np.asarray(xy, np.float64)
    if points.ndim < 2 or points.shape[-1] != 2:
        raise PointsError(f"{name} must have shape [..., N, 2] (x, y), got {list(points.shape)}")
    return points
