"""Videos with true point tracks in space, depth and the camera's motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.labelled_video import LabelledVideo


@dataclass(frozen=True, eq=False)
class SpatialVideo:
    """A video of which all is known that a renderer knows, and the true tracks of N points in it.

    Camera coordinates are metres, x to the right, y down, z forward; the world's are those of the poses.

    frames: [T, H, W, 3] uint8 RGB
    xy: [N, T, 2] float32, pixels, (0, 0) = outer corner of the top-left pixel
    xyz: [N, T, 3] float32, metres, in the camera's coordinates of each frame; xyz_world: in the world's. Both are true
        where points are hidden, too
    visible: [N, T] bool: inside the frame and covered by nothing
    queries: [N, 3] float32 (t, x, y)
    depth: [T, H, W] float32, metres from the plane of the camera, at the centres of pixels
    intrinsics: [4] float64 (fx, fy, cx, cy), pixels
    camera_to_world: [T, 4, 4] float64
    name: of the video in its dataset
    """

    frames: NDArray[np.uint8]
    xy: NDArray[np.float32]
    xyz: NDArray[np.float32]
    xyz_world: NDArray[np.float32]
    visible: NDArray[np.bool_]
    queries: NDArray[np.float32]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    camera_to_world: NDArray[np.float64]
    name: str = ""

    def flat(self) -> LabelledVideo:
        """The video and its tracks in the picture alone."""
        return LabelledVideo(self.frames, self.xy, self.visible, self.queries, name=self.name)
