"""Point tracks of a rendered scene of rigid objects, from what the renderer knows of it: plain numpy.

A pixel of a frame shows a point of the scene, in the direction of the pixel's centre, as far away as the depth map
says. The point belongs to the object that the segmentation says, and moves as the object's box does. In any other
frame it is where that motion and the camera put it, and it is visible there if it lies in the frame, no surface is
nearer, and its own side of the object faces the camera.

Units are the scene's (metres in Kubric); quaternions are (w, x, y, z); the camera looks along its own -z, y up, and
its horizontal field of view is that of `sensor_width` at `focal_length`, as in Blender.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DEPTH_SLACK = 0.01
"""The share of its distance by which a surface may be nearer than a point and still be taken for the point's own:
depth is known at the centres of pixels only, and to 16 bits."""
NORMAL_SLACK = 0.05
"""Difference between the normals of neighbouring pixels above which they come from a bumpy texture, not a shape."""
LARGEST_SHARE = 0.1
"""Of the candidates on an object that become points, as long as there are others."""
FLAT = 1e-6
"""Thickness over length below which a box is flat."""
FAR = 10.0
"""Frame sides beyond which hidden points are not told apart."""

CORNERS = np.array(list(product((-0.5, 0.5), repeat=3)))
"""[8, 3]: the corners of a box in its own coordinates, in the order in which Kubric lists them."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera that moves."""

    focal_length: float
    sensor_width: float
    positions: Array
    """[T, 3]"""
    quaternions: Array
    """[T, 4], camera to world"""
    size: tuple[int, int]
    """(height, width) of its frames in pixels"""

    def project(self, points: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Positions [N, T, 2] in pixels of points [N, T, 3] of the world, and whether each is in front [N, T]."""
        seen = np.einsum("tji,ntj->nti", rotations(self.quaternions), points - self.positions)
        ahead = -seen[..., 2]
        slope = seen[..., :2] / np.maximum(ahead, 1e-9)[..., None]
        height, width = self.size
        xy = np.array([width, height]) / 2 + slope * (self._pixels, -self._pixels)
        return np.clip(xy, -FAR * max(self.size), FAR * max(self.size)), ahead > 0

    def rays(self, t: NDArray[np.integer], xy: Array) -> Array:
        """Directions [N, 3] in the world, of length 1, of positions xy [N, 2] in pixels of frames t [N]."""
        height, width = self.size
        slope = (xy - np.array([width, height]) / 2) / (self._pixels, -self._pixels)
        direction = np.concatenate([slope, -np.ones((len(xy), 1))], axis=1)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return np.einsum("nij,nj->ni", rotations(self.quaternions)[t], direction)

    @property
    def intrinsics(self) -> Array:
        """(fx, fy, cx, cy) [4] in pixels, (0, 0) = outer corner of the top-left one."""
        return np.array([self._pixels, self._pixels, self.size[1] / 2, self.size[0] / 2])

    @property
    def camera_to_world(self) -> Array:
        """Poses [T, 4, 4] of a camera that looks along its z, y down, as OpenCV's do."""
        matrices = np.tile(np.eye(4), (len(self.positions), 1, 1))
        matrices[:, :3, :3], matrices[:, :3, 3] = rotations(self.quaternions) * (1, -1, -1), self.positions
        return matrices

    def depth_of(self, distance: NDArray[np.floating]) -> NDArray[np.float32]:
        """Depth [T, H, W] from the plane of the camera, of distances from its centre at the pixels' centres."""
        height, width = self.size
        y, x = np.mgrid[:height, :width] + 0.5
        slope = np.hypot(x - width / 2, y - height / 2) / self._pixels
        return (distance / np.sqrt(1 + slope**2)).astype(np.float32)

    @property
    def _pixels(self) -> float:
        """The focal length in pixels, the same both ways: pixels are square, whatever the frame is."""
        return self.focal_length / self.sensor_width * self.size[1]


@dataclass(frozen=True, eq=False)
class Scene:
    """What a renderer knows of a video of T frames with I objects.

    segmentation: [T, H, W] int, 0 for the background, which stands still, and i for object i - 1
    depth: [T, H, W] float, distance from the camera's centre, not from its plane
    normals: [T, H, W, 3] float, of the surface, in the world; or None
    boxes: [I, T, 8, 3] float, corners of the box that moves with each object, in the world, in the order of CORNERS
    """

    segmentation: NDArray[np.integer]
    depth: NDArray[np.floating]
    normals: NDArray[np.floating] | None
    boxes: NDArray[np.floating]
    camera: Camera


def rotations(quaternions: Array) -> Array:
    """Matrices [..., 3, 3] of quaternions [..., 4] (w, x, y, z) of any length but 0."""
    q = np.asarray(quaternions, np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def poses(boxes: NDArray[np.floating], frames: int) -> tuple[Array, Array]:
    """How coordinates of each box become the world's: matrices [1 + I, T, 3, 3] and offsets [1 + I, T, 3].

    The first is the background's, whose coordinates are the world's. The corners determine the rest, as the best
    fit to all eight: CORNERS are orthogonal, so that it is a sum.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, frames, 8, 3)
    matrices = np.einsum("itcw,cb->itwb", boxes, CORNERS) / np.square(CORNERS).sum(axis=0)
    still = np.broadcast_to(np.eye(3), (1, frames, 3, 3))
    return np.concatenate([still, matrices]), np.concatenate([np.zeros((1, frames, 3)), boxes.mean(axis=2)])


def choose_pixels(
    segmentation: NDArray[np.integer], count: int, rng: np.random.Generator, stride: int = 4
) -> NDArray[np.intp]:
    """Pixels [count, 3] (t, y, x) to track, about as many on each object and on the background.

    Candidates are a grid of every `stride`th frame, row and column, at random offsets. The smaller an object, the
    earlier its turn: it gets its equal share of what is left, but at most LARGEST_SHARE of its candidates. What that
    leaves over is filled from anywhere, and a video with too few candidates has some of them twice.
    """
    offset = [int(rng.integers(min(stride, side))) for side in segmentation.shape]
    grid = segmentation[tuple(slice(start, None, stride) for start in offset)]
    labels = grid.ravel()
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chosen: list[NDArray[np.intp]] = []
    left = count
    for turn, label in enumerate(np.argsort(counts, kind="stable")):
        share = min(round(left / (len(counts) - turn)), round(LARGEST_SHARE * counts[label]))
        chosen.append(rng.choice(np.flatnonzero(index == label), share, replace=False))
        left -= share
    others = np.setdiff1d(np.arange(len(labels)), np.concatenate(chosen))
    chosen.append(rng.choice(others, min(left, len(others)), replace=False))
    left -= len(chosen[-1])
    if left:
        chosen.append(rng.choice(len(labels), left))
    pixels = np.stack(np.unravel_index(rng.permutation(np.concatenate(chosen)), grid.shape), axis=1)
    return pixels * stride + offset


@dataclass(frozen=True, eq=False)
class PixelTracks:
    """What is at the centres of N pixels, followed through T frames.

    points: [N, T, 3] of the world. xy: [N, T, 2] pixels. visible: [N, T].
    """

    points: Array
    xy: Array
    visible: NDArray[np.bool_]


def track_pixels(scene: Scene, pixels: NDArray[np.integer]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Tracks of what is at the centres of pixels [N, 3] (t, y, x): xy [N, T, 2] in pixels, and visible [N, T]."""
    tracks = follow_pixels(scene, pixels)
    return tracks.xy.astype(np.float32), tracks.visible


def follow_pixels(scene: Scene, pixels: NDArray[np.integer]) -> PixelTracks:
    """Of pixels [N, 3] (t, y, x)."""
    t, y, x = pixels.T
    frames = len(scene.segmentation)
    camera, label = scene.camera, scene.segmentation[t, y, x].astype(int)
    matrices, offsets = poses(scene.boxes, frames)
    centres = np.stack([x, y], axis=1) + 0.5
    there = camera.positions[t] + camera.rays(t, centres) * scene.depth[t, y, x].astype(np.float64)[:, None]
    # A flat box has no inverse, and no thickness to lose.
    inverses = np.linalg.pinv(matrices, rcond=FLAT)
    motion = matrices[label] @ inverses[label, t][:, None]
    points = np.einsum("ntij,nj->nti", motion, there - offsets[label, t]) + offsets[label]
    xy, visible = camera.project(points)
    xy[np.arange(len(t)), t] = centres
    visible &= _is_nearest(scene, xy, np.linalg.norm(points - camera.positions, axis=-1), label)
    if scene.normals is not None:
        # Normals turn as the object does, and its box is a turned and stretched cube: M = R S, so that the
        # rotation between two times is the inverse of M at one times M at the other, both transposed.
        rotation = inverses[label].swapaxes(-1, -2) @ matrices[label, t].swapaxes(-1, -2)[:, None]
        visible &= ~_faces_away(scene, pixels, points, label, rotation)
    visible[np.arange(len(t)), t] = True
    return PixelTracks(points, xy, visible)


def _is_nearest(scene: Scene, xy: Array, distance: Array, label: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether points at xy [N, T, 2], so far from the camera [N, T], are in the frame with no surface before them.

    Of the four pixels around a point, one must show its object, and the farthest must be no nearer than the point.
    That takes a point near the outline of its object for visible even if its face is seen at a low angle there, and
    so would it a point on the back: normals tell the two apart.
    """
    height, width = scene.camera.size
    inside = ((xy >= 0) & (xy <= (width, height))).all(axis=-1)
    low = np.floor(xy - 0.5).astype(int)
    time = np.arange(len(scene.segmentation))
    farthest, shown = np.zeros(distance.shape), np.zeros(distance.shape, bool)
    for right, down in product((0, 1), repeat=2):
        column = np.clip(low[..., 0] + right, 0, width - 1)
        row = np.clip(low[..., 1] + down, 0, height - 1)
        shown |= scene.segmentation[time, row, column] == label[:, None]
        farthest = np.maximum(farthest, scene.depth[time, row, column])
    return inside & shown & (farthest >= distance * (1 - DEPTH_SLACK))


def _faces_away(
    scene: Scene, pixels: NDArray[np.integer], points: Array, label: NDArray[np.integer], rotation: Array
) -> NDArray[np.bool_]:
    """Whether the surface at points [N, T, 3] shows its back [N, T], where its normal is to be trusted.

    It is not on the background, which surrounds the camera; where normals jump from pixel to pixel; and where the
    surface showed its back already when it was seen: the mesh is inside out there.
    """
    assert scene.normals is not None
    t, y, x = pixels.T
    height, width = scene.camera.size
    normal = scene.normals[t, y, x].astype(np.float64)
    jumps = np.zeros(len(t), int)
    for down, right in product((-1, 1), repeat=2):
        neighbour = scene.normals[t, np.clip(y + down, 0, height - 1), np.clip(x + right, 0, width - 1)]
        jumps += np.square(neighbour - normal).sum(axis=-1) > NORMAL_SLACK**2
    outward = np.einsum("ntij,nj->nti", rotation, normal)
    away = np.einsum("nti,nti->nt", outward, points - scene.camera.positions) > 0
    trusted = (label > 0) & (jumps <= 2) & ~away[np.arange(len(t)), t]
    return away & trusted[:, None]
