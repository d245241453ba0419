"""Tracks whose camera, and whose foreground, are known."""

from dataclasses import dataclass

import numpy as np

from tapsdk.motion import apply_homography

SIZE = (480, 640)


@dataclass
class Scene:
    """Points of a flat background, and then others that move over it. to_frame: [T, 3, 3] from the first frame."""

    xy: np.ndarray
    visible: np.ndarray
    foreground: np.ndarray
    to_frame: np.ndarray

    def between(self, source, target):
        matrix = self.to_frame[target] @ np.linalg.inv(self.to_frame[source])
        return matrix / matrix[2, 2]


def pan(frames, step=(6.0, 2.0), turn=0.01, zoom=0.004, lean=2e-6):
    """A camera [T, 3, 3] that travels, turns and zooms evenly, and tilts a little."""
    centre = np.array([[1, 0, 320], [0, 1, 240], [0, 0, 1.0]])
    motions = []
    for t in range(frames):
        size, angle = np.exp(zoom * t), turn * t
        c, s = size * np.cos(angle), size * np.sin(angle)
        motions.append(np.array([[c, -s, -step[0] * t], [s, c, -step[1] * t], [lean * t, 0, 1.0]]))
    return centre @ np.stack(motions) @ np.linalg.inv(centre)


def scene(still=40, moving=10, frames=12, camera=None, hidden=0.0, noise=0.0, seed=0):
    """Tracks of all points, seen while they are in the frame, if they are not hidden."""
    rng = np.random.default_rng(seed)
    camera = pan(frames) if camera is None else camera
    far = np.linalg.inv(camera) @ np.array([320, 240, 1.0])
    reach = np.ptp(far[:, :2] / far[:, 2:], axis=0)
    corner = np.minimum(0, far[-1, :2] - (320, 240))
    places = rng.uniform(-0.1, 1.1, (still + moving, 2)) * (SIZE[::-1] + reach) + corner
    speed = np.zeros((still + moving, 2))
    angle = rng.uniform(0, 2 * np.pi, moving)
    speed[still:] = rng.uniform(7, 14, (moving, 1)) * np.stack([np.cos(angle), np.sin(angle)], 1)
    places[still:] = rng.uniform(0.25, 0.75, (moving, 2)) * SIZE[::-1]
    world = places[:, None] + speed[:, None] * np.arange(frames)[:, None]
    xy = apply_homography(camera, world.swapaxes(0, 1)).swapaxes(0, 1)
    xy = xy + rng.normal(0, noise, xy.shape)
    visible = ((xy >= 0) & (xy <= SIZE[::-1])).all(axis=2) & (rng.random(xy.shape[:2]) >= hidden)
    return Scene(xy, visible, np.arange(still + moving) >= still, camera)
