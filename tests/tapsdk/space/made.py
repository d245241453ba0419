"""A scene that can be worked out by hand: a slanted wall, a board that passes before it, a camera that comes nearer.

Everything is a plane, so that depth at any position of the picture is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size
from tapsdk.tracks import Tracks

WALL = np.array([0.3, 0.2, 1.0]), 5.0
"""Normal n and distance d: n . X = d."""
BOARD_Z = 3.0
BOARD = np.array([[-0.35, 0.35], [-0.5, 0.5]])
"""Left and right, top and bottom, about its middle, metres."""


@dataclass(frozen=True)
class Made:
    """A scene in T frames. size: (height, width). intrinsics: (fx, fy, cx, cy). poses: [T, 4, 4], camera to world."""

    size: Size = (60, 90)
    frames: int = 20
    intrinsics: tuple[float, float, float, float] = (80.0, 76.0, 44.0, 31.0)

    @property
    def poses(self) -> NDArray[np.float64]:
        t = np.linspace(0, 1, self.frames)
        poses = np.tile(np.eye(4), (self.frames, 1, 1))
        angle = 0.1 * t
        poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angle)
        poses[:, 0, 2], poses[:, 2, 0] = np.sin(angle), -np.sin(angle)
        poses[:, :3, 3] = np.stack([-0.2 * t, 0.1 * t, 0.8 * t], axis=1)
        return poses

    @property
    def middle(self) -> NDArray[np.float64]:
        """[T, 3] of the board, which passes from left to right."""
        t = np.linspace(-1, 1, self.frames)
        return np.stack([1.3 * t, 0 * t, BOARD_Z + 0 * t], axis=1)

    def depth_at(self, t: int, xy: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Depth [...] of what is seen at xy [..., 2] in a frame, and whether that is the board."""
        fx, fy, cx, cy = self.intrinsics
        ahead = np.stack([(xy[..., 0] - cx) / fx, (xy[..., 1] - cy) / fy, np.ones(xy.shape[:-1])], axis=-1)
        pose = self.poses[t]
        ray, origin = ahead @ pose[:3, :3].T, pose[:3, 3]
        wall = (WALL[1] - WALL[0] @ origin) / (ray @ WALL[0])
        board = (BOARD_Z - origin[2]) / ray[..., 2]
        at = (origin + board[..., None] * ray - self.middle[t])[..., :2]
        on_board = ((at >= BOARD[:, 0]) & (at <= BOARD[:, 1])).all(axis=-1)
        return np.where(on_board, board, wall), on_board

    def depth(self) -> NDArray[np.float32]:
        """[T, H, W], at the centres of pixels."""
        y, x = np.mgrid[: self.size[0], : self.size[1]] + 0.5
        return np.stack([self.depth_at(t, np.stack([x, y], -1))[0] for t in range(self.frames)]).astype(np.float32)

    def tracks(self, count: int = 60, seed: int = 0) -> tuple[Tracks, NDArray[np.float64], NDArray[np.float64]]:
        """True tracks of points anywhere, asked for where they are seen; xyz of the camera and of the world."""
        rng = np.random.default_rng(seed)
        start = rng.integers(self.frames, size=count)
        at = rng.uniform(0, 1, (count, 2)) * (self.size[1], self.size[0])
        world = np.empty((count, self.frames, 3))
        for n, (t, xy) in enumerate(zip(start, at, strict=True)):
            z, on_board = self.depth_at(t, xy)
            fx, fy, cx, cy = self.intrinsics
            ahead = z * np.array([(xy[0] - cx) / fx, (xy[1] - cy) / fy, 1])
            point = self.poses[t, :3, :3] @ ahead + self.poses[t, :3, 3]
            world[n] = point + (self.middle - self.middle[t] if on_board else 0)
        camera = np.einsum("tji,ntj->nti", self.poses[:, :3, :3], world - self.poses[:, :3, 3])
        fx, fy, cx, cy = self.intrinsics
        xy = camera[..., :2] / camera[..., 2:] * (fx, fy) + (cx, cy)
        inside = ((xy >= 0) & (xy <= self.size[::-1])).all(axis=-1)
        first = np.stack([self.depth_at(t, xy[:, t])[0] for t in range(self.frames)], axis=1)
        visible = inside & (first >= camera[..., 2] * (1 - 1e-6))
        queries = np.concatenate([start[:, None], at], axis=1)
        return Tracks(xy, visible, visible.astype(np.float32), queries=queries, fps=10), camera, world


def with_all_seen(tracks: Tracks, size: Size) -> Tracks:
    """As a tracker has it that takes everything within the frame for visible."""
    inside: Any = ((tracks.xy >= 0) & (tracks.xy <= size[::-1])).all(axis=-1)
    return Tracks(tracks.xy, inside, inside.astype(np.float32), queries=tracks.queries)
