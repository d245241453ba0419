"""The camera: where a pixel looks, and where the camera stands.

Camera coordinates are metres, x to the right, y down, z forward, as in OpenCV and TAPVid-3D. Depth is z: the distance
from the plane of the camera, not from its centre.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import DepthError
from tapsdk.geometry import Size, from_pixel_centers, scale_points

Floats = NDArray[np.float64]

ROTATION_SLACK = 1e-3
"""Of the elements of R R^T from those of 1: poses are often written with four digits."""
CENTRAL = 0.25
"""Of the side: no further from the middle is the principal point of a picture that nobody cut."""


def parse_intrinsics(intrinsics: ArrayLike, frames: int, *, pixel_centers: bool = False) -> Floats:
    """(fx, fy, cx, cy) [T, 4] in pixels, of [4], [T, 4], or matrices [3, 3] or [T, 3, 3].

    pixel_centers: (cx, cy) count from the centre of the top-left pixel, not from its outer corner. Raises DepthError.
    """
    array = _numbers(intrinsics, "intrinsics")
    if array.shape[-2:] == (3, 3):
        array = _of_matrices(array)
    if array.shape not in ((4,), (frames, 4)):
        raise DepthError(
            f"intrinsics must be (fx, fy, cx, cy), or a row of these for each of {frames} frames, got shape "
            f"{list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise DepthError("intrinsics must be numbers of pixels, and hold NaN or infinity")
    if (array[..., :2] <= 0).any():
        raise DepthError(
            f"focal lengths must be above 0 pixels, got fx, fy = {_first(array[..., :2], array[..., :2] <= 0)}"
        )
    if pixel_centers:
        array = np.concatenate([array[..., :2], from_pixel_centers(array[..., 2:])], axis=-1)
    return np.array(np.broadcast_to(array, (frames, 4)))


def _of_matrices(matrices: Floats) -> Floats:
    fixed = matrices[..., [0, 1, 2, 2, 2], [1, 0, 0, 1, 2]]
    if not np.array_equal(fixed, np.broadcast_to([0, 0, 0, 0, 1], fixed.shape)):
        raise DepthError(
            "matrices of intrinsics must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; remove skew and distortion from the "
            "video first"
        )
    return np.asarray(matrices[..., [0, 1, 0, 1], [0, 1, 2, 2]])


def check_intrinsics(intrinsics: Floats, size: Size) -> bool:
    """Whether the principal point of (fx, fy, cx, cy) [T, 4] is where it is in frames of (height, width) that nobody
    cut. Raises DepthError where it lies outside of them."""
    share = intrinsics[:, 2:] / (size[1], size[0])
    outside = (share < 0) | (share > 1)
    if outside.any():
        raise DepthError(
            f"the centre cx, cy = {_first(intrinsics[:, 2:], outside)} lies outside of frames of {size[1]} x {size[0]} "
            "pixels; intrinsics are (fx, fy, cx, cy) in pixels of the video"
        )
    return bool((abs(share - 0.5) <= CENTRAL).all())


def scale_intrinsics(intrinsics: Floats, from_size: Size, to_size: Size) -> Floats:
    """(fx, fy, cx, cy) [..., 4] of the same camera when its frames are resized."""
    parts = [scale_points(intrinsics[..., pair], from_size, to_size) for pair in (slice(0, 2), slice(2, 4))]
    return np.concatenate(parts, axis=-1).astype(np.float64)


def parse_poses(camera_to_world: ArrayLike, frames: int) -> Floats:
    """[T, 4, 4] of [4, 4] or [T, 4, 4]. Raises DepthError for what is no pose of a camera, and names its frame."""
    array = _numbers(camera_to_world, "camera_to_world")
    if array.shape not in ((4, 4), (frames, 4, 4)):
        raise DepthError(
            f"camera_to_world must have shape [4, 4] or [{frames}, 4, 4], a pose for each frame, got "
            f"{list(array.shape)}"
        )
    each = np.array(np.broadcast_to(array, (frames, 4, 4)))
    finite = np.isfinite(each).all(axis=(1, 2))
    _refuse(~finite, "holds NaN or infinity")
    _refuse(np.not_equal(each[:, 3], (0, 0, 0, 1)).any(axis=1), "must end in the row 0, 0, 0, 1")
    turn = each[:, :3, :3]
    off = abs(turn @ turn.swapaxes(1, 2) - np.eye(3)).max(axis=(1, 2), initial=0)
    _refuse(off > ROTATION_SLACK, "is no rotation and translation: its rows are not of length 1 and at right angles")
    _refuse(np.linalg.det(turn) < 0, "mirrors the world, which no camera does")
    return each


def _refuse(broken: ArrayLike, why: str) -> None:
    rows = np.flatnonzero(broken)
    if len(rows):
        raise DepthError(f"camera_to_world[{rows[0]}] {why}")


def rays(xy: NDArray[np.floating], intrinsics: Floats) -> Floats:
    """Points [N, T, 3] at depth 1 that pixels xy [N, T, 2] look at, through (fx, fy, cx, cy) [T, 4]."""
    ahead = (np.asarray(xy, np.float64) - intrinsics[:, 2:]) / intrinsics[:, :2]
    return np.concatenate([ahead, np.ones((*ahead.shape[:-1], 1))], axis=-1)


def moved(points: Floats, poses: Floats) -> Floats:
    """Points [N, T, 3] of each frame's coordinates in those that its pose [T, 4, 4] leads to."""
    return np.asarray(np.einsum("tij,ntj->nti", poses[:, :3, :3], points) + poses[:, :3, 3])


def inverse(poses: Floats) -> Floats:
    """The other way round [..., 4, 4]: world to camera of camera to world."""
    back = np.zeros_like(poses)
    turn = poses[..., :3, :3].swapaxes(-1, -2)
    back[..., :3, :3] = turn
    back[..., :3, 3] = -np.einsum("...ij,...j->...i", turn, poses[..., :3, 3])
    back[..., 3, 3] = 1
    return back


def _numbers(value: ArrayLike, name: str) -> Floats:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DepthError(f"{name} must be an array of numbers: {error}") from error


def _first(rows: Floats, broken: NDArray[np.bool_]) -> str:
    """The first row [..., 2] of which something is broken, as text."""
    row: Any = rows.reshape(-1, 2)[int(broken.reshape(-1, 2).any(axis=1).argmax())]
    return f"{row[0]:g}, {row[1]:g}"
