"""Casting rays at boxes: pictures, depth, and what is nearest at any position, all from one intersection."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.config import SceneConfig
from training.data.synthetic.motion import Array
from training.data.synthetic.solids import euler

Image = NDArray[np.uint8]

_SUPERSAMPLING = 2
_MOST_TEXELS = 1024
_ROW = 1024
_LIGHT = np.array([0.3, -0.8, -0.5]) / np.linalg.norm([0.3, -0.8, -0.5])
_AMBIENT = 0.55


@dataclass(frozen=True, eq=False)
class View:
    """A pinhole camera on its way, the principal point in the middle. size: (height, width). focal: pixels.

    positions [T, 3], turns [T, 3, 3]: camera to world.
    """

    size: tuple[int, int]
    focal: float
    positions: Array
    turns: Array

    @property
    def known(self) -> tuple[Array, Array]:
        """Intrinsics (fx, fy, cx, cy) [4], and poses, camera to world [T, 4, 4]."""
        poses = np.tile(np.eye(4), (len(self.positions), 1, 1))
        poses[:, :3, :3], poses[:, :3, 3] = self.turns, self.positions
        return np.array([self.focal, self.focal, self.size[1] / 2, self.size[0] / 2]), poses

    def directions(self, t: int, xy: Array) -> Array:
        """[..., 3] in the world of positions xy [..., 2] of frame t, as long as to depth 1."""
        ahead = (xy - np.array([self.size[1], self.size[0]]) / 2) / self.focal
        return np.concatenate([ahead, np.ones((*xy.shape[:-1], 1))], axis=-1) @ self.turns[t].T

    def to_camera(self, points: Array) -> Array:
        """Points [N, T, 3] of the world in the coordinates of each frame's camera."""
        return np.einsum("tji,ntj->nti", self.turns, points - self.positions)

    def project(self, points: Array) -> Array:
        """Pixels [N, T, 2] of points [N, T, 3] in the coordinates of each frame's camera."""
        ahead = np.maximum(points[..., 2:], 1e-3)
        return points[..., :2] / ahead * self.focal + np.array([self.size[1], self.size[0]]) / 2


@dataclass(frozen=True, eq=False)
class Block:
    """A box of half sides [3] about its centres [T, 3], turned by turns [T, 3, 3]; inside_out: it is seen from within.

    faces: six textures, those of the negative sides first. density: texels per metre.
    """

    half: Array
    centres: Array
    turns: Array
    faces: list[Image]
    density: float
    inside_out: bool

    @classmethod
    def of(
        cls,
        half: Array,
        centres: Array,
        angles: Array,
        density: float,
        rng: np.random.Generator,
        config: SceneConfig,
        *,
        inside_out: bool = False,
    ) -> Block:
        """With random textures, lit from above. angles: [T, 3], see `euler`."""
        turns = euler(angles)
        faces = []
        for face in range(6):
            sides = np.delete(half, face % 3) * 2 * density
            width, height = np.clip(np.ceil(sides).astype(int) + 1, 8, _MOST_TEXELS)
            texture = config.texture(rng, int(height), int(width))
            normal = turns[0][:, face % 3] * (1 if face >= 3 else -1) * (-1 if inside_out else 1)
            shade = _AMBIENT + (1 - _AMBIENT) * abs(float(normal @ _LIGHT))
            faces.append(np.clip(texture * shade, 0, 255).astype(np.uint8))
        return cls(half, centres, turns, faces, density, inside_out)

    def hit(self, t: int, origin: Array, directions: Array) -> tuple[Array, Array]:
        """How far along rays [M, 3] they meet the box, infinite where they miss it; and where, in its coordinates."""
        start, along = (origin - self.centres[t]) @ self.turns[t], directions @ self.turns[t]
        enter, leave = np.full(len(along), -np.inf), np.full(len(along), np.inf)
        for axis in range(3):
            with np.errstate(divide="ignore", invalid="ignore"):
                low, high = ((side * self.half[axis] - start[axis]) / along[:, axis] for side in (-1, 1))
            np.maximum(enter, np.minimum(low, high), out=enter)
            np.minimum(leave, np.maximum(low, high), out=leave)
        far = leave if self.inside_out else enter
        far = np.where((enter < leave) & (far > 1e-6), far, np.inf)
        return far, start + np.where(np.isfinite(far), far, 0)[:, None] * along

    def colours(self, local: Array) -> NDArray[np.uint8]:
        """[M, 3] of points [M, 3] of its surface."""
        face = _face(local, self.half)
        found = np.zeros((len(local), 3), np.uint8)
        for index in np.unique(face):
            mine = face == index
            uv = np.delete(local[mine] + self.half, index % 3, axis=1) * self.density
            # In rows of a length that OpenCV takes.
            u, v = (np.resize(each, (-(-len(uv) // _ROW), _ROW)) for each in (uv - 0.5).astype(np.float32).T)
            texel = cv2.remap(self.faces[index], u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            found[mine] = texel.reshape(-1, 3)[: len(uv)]
        return found


def _face(local: Array, half: Array) -> NDArray[np.intp]:
    """[M] of points of a box's surface: the axis, and 3 more for its positive side."""
    axis = (abs(local) / half).argmax(axis=1)
    return axis + 3 * (local[np.arange(len(local)), axis] > 0)


def cast(blocks: list[Block], view: View, t: int, xy: Array) -> tuple[Array, NDArray[np.intp], Array]:
    """Depth [M], block [M] and place in the block's coordinates [M, 3] of what is nearest at positions xy [M, 2]."""
    directions = view.directions(t, xy)
    depth, which = np.full(len(xy), np.inf), np.zeros(len(xy), np.intp)
    local = np.zeros((len(xy), 3))
    for index, block in enumerate(blocks):
        far, place = block.hit(t, view.positions[t], directions)
        nearer = far < depth
        depth[nearer], which[nearer], local[nearer] = far[nearer], index, place[nearer]
    return depth, which, local


def render(blocks: list[Block], view: View, t: int) -> tuple[Image, NDArray[np.float32]]:
    """The picture [H, W, 3] and the depth map [H, W] of a frame."""
    height, width = view.size
    depth, _, _ = cast(blocks, view, t, _centres(height, width, 1))
    _, which, local = cast(blocks, view, t, _centres(height, width, _SUPERSAMPLING))
    colour = np.zeros((len(which), 3), np.uint8)
    for index, block in enumerate(blocks):
        mine = which == index
        if mine.any():
            colour[mine] = block.colours(local[mine])
    large = colour.reshape(height * _SUPERSAMPLING, width * _SUPERSAMPLING, 3)
    picture = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return picture, depth.reshape(height, width).astype(np.float32)


def _centres(height: int, width: int, times: int) -> Array:
    """[M, 2] of pixels that are so many times smaller."""
    y, x = np.mgrid[: height * times, : width * times]
    return (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / times
