"""Tracks in three dimensions from depth, object masks and object poses: how TAPVid-3D's of Aria Digital Twin were made.

That is what generate_adt.py of tapnet did until July 2024; its results have been part of the published files since.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.data.errors import DatasetError
from training.data.tracked_video3d import project

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


def tracks_from_poses(
    queries_xyt: ArrayLike,
    depth: ArrayLike,
    segmentation: ArrayLike,
    camera_from_object: Mapping[int, ArrayLike],
    focal: float,
    *,
    tolerance: float = 0.02,
    rotated: bool = True,
) -> tuple[Numbers, Flags, Flags]:
    """Carries query points along with the objects that they lie on.

        xyz, visible, kept = tracks_from_poses(queries, depth, segmentation, {7: poses}, focal=280)

    Args:
        queries_xyt: [N, 3] (x, y, t), pixels of the upright picture, whose sides are exchanged if `rotated`.
        depth: [T, H, W] metres along the line of sight's z, as the sensor has it.
        segmentation: [T, H, W], the number of the object in every pixel.
        camera_from_object: by that number [T, 4, 4], metres; NaN in frames in which nobody knows where the object is.
        focal: pixels; the line of sight goes through the middle of the picture.
        tolerance: metres by which a point may be before or behind what the depth shows and still count as visible.
        rotated: whether the upright picture is the sensor's, turned clockwise by 90 degrees, as Aria's is.
    Returns:
        xyz [T, N, 3], metres in the camera of the upright picture; visible [T, N]; kept [N]: which queries they are of.
        A query on no object, on one whose pose is not known then, or without depth has no track. In frames in which the
        pose is not known xyz is NaN, and the point is not visible.
    Raises:
        DatasetError for arrays that do not fit together, and queries outside of the video.
    """
    depth, segmentation = np.asarray(depth, np.float64), np.asarray(segmentation)
    queries = np.asarray(queries_xyt, np.float64)
    _check(queries, depth, segmentation, camera_from_object, focal)
    frames, height, width = depth.shape
    middle = np.array([width / 2, height / 2])
    poses = {number: np.asarray(matrices, np.float64) for number, matrices in camera_from_object.items()}
    tracks, kept = [], np.zeros(len(queries), bool)
    for index, (xy, t, row, column) in enumerate(_pixels(queries, depth.shape, rotated)):
        pose, z = poses.get(int(segmentation[t, row, column])), depth[t, row, column]
        if pose is None or not np.isfinite(pose[t]).all() or not z > 0:
            continue
        point = np.array([*((xy - middle) * z / focal), z, 1])
        tracks.append((pose @ np.linalg.solve(pose[t], point))[:, :3])
        kept[index] = True
    xyz = np.stack(tracks, axis=1) if tracks else np.zeros((frames, 0, 3))
    visible = _visible(xyz, depth, np.array([focal, focal, *middle]), tolerance)
    if rotated:
        xyz = np.stack([-xyz[..., 1], xyz[..., 0], xyz[..., 2]], axis=-1)
    return xyz, visible, kept


def hide_people(xyz: ArrayLike, visible: ArrayLike, masks: ArrayLike, intrinsics: ArrayLike) -> Flags:
    """Which points are visible if those on a person are not: people are in no scan, so tracks know nothing of them.

    Args:
        xyz: [T, N, 3] metres in the camera. visible: [T, N].
        masks: [T, H, W] bool, where people are in the picture. The published ones are softmax > 0.1 for "person" of
            torchvision's FCN-ResNet50 (COCO), resized to the picture.
        intrinsics: [4] (fx, fy, cx, cy).
    Raises DatasetError for arrays that do not fit together.
    """
    points, seen = np.asarray(xyz, np.float64), np.array(visible, bool)
    people = np.asarray(masks, bool)
    if points.shape != (*seen.shape, 3) or people.ndim != 3 or len(people) != len(points):
        raise DatasetError(
            f"xyz must be [T, N, 3], visible [T, N] and masks [T, H, W], got {list(points.shape)}, "
            f"{list(seen.shape)} and {list(people.shape)}"
        )
    xy = project(points, np.asarray(intrinsics, np.float64))
    t, n = np.nonzero(seen & np.isfinite(xy).all(axis=-1))
    column, row = np.floor(xy[t, n]).astype(int).T
    inside = (row >= 0) & (column >= 0) & (row < people.shape[1]) & (column < people.shape[2])
    t, n, row, column = t[inside], n[inside], row[inside], column[inside]
    seen[t, n] = ~people[t, row, column]
    return seen


def _check(
    queries: Numbers, depth: Numbers, segmentation: NDArray, poses: Mapping[int, ArrayLike], focal: float
) -> None:
    if depth.ndim != 3 or segmentation.shape != depth.shape:
        raise DatasetError(
            f"depth and segmentation must be [T, H, W], got {list(depth.shape)} and {list(segmentation.shape)}"
        )
    if queries.ndim != 2 or queries.shape[1] != 3:
        raise DatasetError(f"queries_xyt must be [N, 3] (x, y, t), got {list(queries.shape)}")
    if not (np.isfinite(focal) and focal > 0):
        raise DatasetError(f"focal must be positive, in pixels, got {focal}")
    for number, matrices in poses.items():
        if np.shape(matrices) != (len(depth), 4, 4):
            raise DatasetError(
                f"camera_from_object[{number}] must be [{len(depth)}, 4, 4], got {list(np.shape(matrices))}"
            )
        known = [matrix for matrix in np.asarray(matrices, np.float64) if np.isfinite(matrix).all()]
        if known and (np.linalg.det(known) == 0).any():
            raise DatasetError(f"camera_from_object[{number}] has a matrix without an inverse")


def _pixels(queries: Numbers, shape: tuple[int, ...], rotated: bool) -> list[tuple[NDArray[np.float64], int, int, int]]:
    """Of each query: where it is in the sensor's picture (x, y), its frame, and the row and column of its pixel."""
    frames, height, width = shape
    found = []
    for number, (x, y, t) in enumerate(queries):
        xy = np.array([y, height - x] if rotated else [x, y])
        if not (0 <= xy[0] <= width and 0 <= xy[1] <= height and 0 <= t < frames):
            raise DatasetError(
                f"query {number} ({x:g}, {y:g}, {t:g}) lies outside of {frames} frames of {width}x{height} pixels"
            )
        column, row = np.clip(np.round(xy - 0.5), 0, [width - 1, height - 1])
        found.append((xy, int(t), int(row), int(column)))
    return found


def _visible(xyz: Numbers, depth: Numbers, intrinsics: Numbers, tolerance: float) -> Flags:
    """[T, N]: inside the picture, and as far away as what the sensor sees there."""
    xy = project(xyz, intrinsics)
    size = np.array([depth.shape[2], depth.shape[1]])
    visible = ((xy > 0) & (xy < size)).all(axis=-1)
    t, _ = np.nonzero(visible)
    visible[visible] = np.abs(xyz[visible][:, 2] - _sample(depth, t, xy[visible])) < tolerance
    return visible


def _sample(depth: Numbers, t: NDArray[np.int64], xy: Numbers) -> Numbers:
    """Depth at points [M, 2] of frames [M], between pixels linearly; beyond their centres the border's is repeated."""
    last = np.array([depth.shape[2], depth.shape[1]]) - 1
    at = np.clip(xy - 0.5, 0, last)
    low = np.minimum(np.floor(at).astype(int), np.maximum(last - 1, 0))
    high = np.minimum(low + 1, last)
    (x0, y0), (x1, y1), (fx, fy) = low.T, high.T, (at - low).T
    above = depth[t, y0, x0] * (1 - fx) + depth[t, y0, x1] * fx
    below = depth[t, y1, x0] * (1 - fx) + depth[t, y1, x1] * fx
    return above * (1 - fy) + below * fy
