"""A scene that can be worked out by hand, rendered by casting a ray through the centre of every pixel.

A box turns and moves before two walls, and the camera moves too. Where a point of the box is, and whether it can be
seen, is known exactly; so are the segmentation, depth, normals and boxes that a renderer of MOVi gives.
"""

from dataclasses import dataclass

import numpy as np

from training.data.readers.kubric_tracks import CORNERS, Camera, Scene, rotations

WALL_Z = -6.0
FLOOR_Y = -1.5
EPSILON = 1e-6


def turn(axis, angle):
    """Quaternions [T, 4] (w, x, y, z) for angles [T] about an axis."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    angle = np.asarray(angle, float)
    return np.concatenate([np.cos(angle / 2)[:, None], np.sin(angle / 2)[:, None] * axis], axis=1)


@dataclass(frozen=True)
class Box:
    """A box of some sides that is somewhere, turned somehow, in each frame."""

    sides: np.ndarray
    positions: np.ndarray
    quaternions: np.ndarray

    def corners(self):
        """[T, 8, 3]"""
        return np.einsum("tij,cj->tci", rotations(self.quaternions), CORNERS * self.sides) + self.positions[:, None]

    def hit(self, t, origin, directions):
        """Distances [...] at which rays enter the box in frame t, inf where they miss it; and normals [..., 3]."""
        rotation = rotations(self.quaternions)[t]
        start, along = (origin - self.positions[t]) @ rotation, directions @ rotation
        with np.errstate(divide="ignore"):
            bounds = np.sort(np.stack([(side * self.sides / 2 - start) / along for side in (-1, 1)]), axis=0)
        enter, leave = bounds[0].max(axis=-1), bounds[1].min(axis=-1)
        face = bounds[0].argmax(axis=-1)
        normal = -np.sign(np.take_along_axis(along, face[..., None], -1)) * np.eye(3)[face]
        return np.where((enter < leave) & (enter > EPSILON), enter, np.inf), normal @ rotation.T


def background(origin, directions):
    """Distances [...] and normals [..., 3] of the walls behind and below."""
    with np.errstate(divide="ignore"):
        wall = (WALL_Z - origin[2]) / directions[..., 2]
        floor = (FLOOR_Y - origin[1]) / directions[..., 1]
    wall, floor = (np.where(d > EPSILON, d, np.inf) for d in (wall, floor))
    normal = np.where((wall < floor)[..., None], [0, 0, 1.0], [0, 1.0, 0])
    return np.minimum(wall, floor), normal


@dataclass(frozen=True)
class Truth:
    camera: Camera
    objects: tuple

    def nearest(self, t, directions):
        """Label, distance and normal of what rays from the camera meet first in frame t."""
        origin = self.camera.positions[t]
        hits = [background(origin, directions), *(box.hit(t, origin, directions) for box in self.objects)]
        distances = np.stack([distance for distance, _ in hits])
        label = distances.argmin(axis=0)
        pick = [np.take_along_axis(np.stack([n for _, n in hits]), label[None, ..., None], 0)[0]]
        return label, distances.min(axis=0), pick[0]

    def render(self):
        height, width = self.camera.size
        frames = len(self.camera.positions)
        y, x = np.mgrid[:height, :width] + 0.5
        centres = np.stack([x, y], -1).reshape(-1, 2)
        layers = []
        for t in range(frames):
            rays = self.camera.rays(np.full(len(centres), t), centres).reshape(height, width, 3)
            layers.append(self.nearest(t, rays))
        label, depth, normal = (np.stack(layer) for layer in zip(*layers, strict=True))
        boxes = np.stack([box.corners() for box in self.objects])
        return Scene(label.astype(np.uint8), depth, normal, boxes, self.camera)

    def tracks(self, scene, pixels):
        """xy [N, T, 2] and visible [N, T] of what is at the centres of pixels, by following it and casting rays."""
        xy, visible = [], []
        for t, y, x in pixels:
            ray = self.camera.rays(np.array([t]), np.array([[x + 0.5, y + 0.5]]))[0]
            label, distance, _ = (value[0] for value in self.nearest(t, ray[None]))
            point = self.camera.positions[t] + distance * ray
            if label:
                box = self.objects[label - 1]
                turns = rotations(box.quaternions)
                path = (point - box.positions[t]) @ turns[t] @ turns.swapaxes(-1, -2) + box.positions
            else:
                path = np.repeat(point[None], len(scene.depth), 0)
            at, ahead = self.camera.project(path[None])
            away = path - self.camera.positions
            far = np.linalg.norm(away, axis=-1)
            nearest = [self.nearest(k, (away[k] / far[k])[None])[1][0] for k in range(len(path))]
            inside = ((at[0] >= 0) & (at[0] <= self.camera.size[::-1])).all(axis=-1)
            xy.append(at[0])
            visible.append(ahead[0] & inside & (np.array(nearest) > far - 1e-4))
        return np.array(xy), np.array(visible)


def moving_box(frames=6, size=(48, 80)):
    """A turning box that passes before another one, seen by a camera that travels and turns."""
    t = np.linspace(0, 1, frames)
    travel = np.stack([0.4 * t, 0.1 * t, 2 - 0.5 * t], -1)
    camera = Camera(35.0, 32.0, travel, turn([0.2, 1, 0.1], 0.15 * t), size)
    near = Box(
        np.array([1.0, 0.8, 0.6]), np.stack([-0.8 + 1.4 * t, 0 * t, -1 + 0.3 * t], -1), turn([0.3, 1, 0.2], 2.2 * t)
    )
    far = Box(np.array([1.2, 1.2, 0.5]), np.tile([0.3, 0.1, -3.0], (frames, 1)), turn([0, 0, 1], 0.6 * t))
    return Truth(camera, (near, far))
