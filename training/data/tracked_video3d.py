"""Videos with true tracks in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.labelled_video import LabelledVideo

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrackedVideo3D:
    """A video and the true tracks of N points of the scene.

    name: of the video in its dataset
    frames: [T, H, W, 3] uint8 RGB
    xyz: [N, T, 3] metres in the camera of each frame: x to the right, y down, z forward; known while hidden, too
    visible: [N, T] bool
    queries_txy: [N, 3] (t, x, y), the point that each track is asked for, in pixels
    intrinsics: [4] (fx, fy, cx, cy) in pixels, (0, 0) = outer corner of the top-left pixel
    world_to_camera: [T, 4, 4], or None where the dataset does not say how the camera moves
    """

    name: str
    frames: NDArray[np.uint8]
    xyz: Numbers
    visible: NDArray[np.bool_]
    queries_txy: Numbers
    intrinsics: Numbers
    world_to_camera: Numbers | None = None

    @property
    def xy(self) -> Numbers:
        """[N, T, 2] pixels: where the points are in the picture; NaN for those behind the camera."""
        return project(self.xyz, self.intrinsics)

    def labelled(self) -> LabelledVideo:
        """What of it is two-dimensional."""
        xy, queries = self.xy.astype(np.float32), self.queries_txy.astype(np.float32)
        visible = self.visible & np.isfinite(xy).all(axis=-1)
        return LabelledVideo(self.frames, xy, visible, queries, name=self.name)


def project(xyz: Numbers, intrinsics: Numbers) -> Numbers:
    """[..., 2] pixels of points [..., 3] in the camera; NaN for those that are not in front of it."""
    depth = np.where(xyz[..., 2:] > 0, xyz[..., 2:], np.nan)
    with np.errstate(over="ignore"):
        return xyz[..., :2] / depth * intrinsics[:2] + intrinsics[2:]


def in_world(points: Numbers, world_to_camera: Numbers) -> Numbers:
    """Points [N, T, 3] in the camera of each frame, in the world of these matrices [T, 4, 4]. Raises LinAlgError for
    matrices without an inverse."""
    to_world = np.linalg.inv(world_to_camera)
    return np.einsum("tij,ntj->nti", to_world[:, :3, :3], points) + to_world[:, :3, 3]
