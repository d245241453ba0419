"""Videos with true tracks in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapsdk import Tracks3D
from training.data.errors import DatasetError
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

    def spatial(self) -> Tracks3D:
        """Its tracks as `tapsdk.lift` would give them: to be plotted, viewed and saved.

        Where it is known how the camera moves, the world is that of the first frame's camera. Raises DatasetError for a
        pose without an inverse.
        """
        sure, queries = self.visible.astype(np.float32), self.queries_txy.astype(np.float32)
        if self.world_to_camera is None:
            return Tracks3D(self.xyz.astype(np.float32), self.visible, sure, queries)
        if not (np.abs(np.linalg.det(self.world_to_camera)) > 0).all():
            raise DatasetError(f"{self.name}: a matrix of world_to_camera has no inverse")
        poses = self.world_to_camera[0] @ np.linalg.inv(self.world_to_camera)
        xyz = np.einsum("tij,ntj->nti", poses[:, :3, :3], self.xyz) + poses[:, :3, 3]
        return Tracks3D(xyz.astype(np.float32), self.visible, sure, queries, frame="world", camera_to_world=poses)


def project(xyz: Numbers, intrinsics: Numbers) -> Numbers:
    """[..., 2] pixels of points [..., 3] in the camera; NaN for those that are not in front of it."""
    depth = np.where(xyz[..., 2:] > 0, xyz[..., 2:], np.nan)
    with np.errstate(over="ignore"):
        return xyz[..., :2] / depth * intrinsics[:2] + intrinsics[2:]
