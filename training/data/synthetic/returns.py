"""Scenes in which points are gone for long and come back: behind a cover that stays, or outside the picture.

Some have bare surfaces, on which there is nothing to recognise a point by.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import silhouettes
from training.data.synthetic.config import SceneConfig
from training.data.synthetic.layers import Layer, premultiply
from training.data.synthetic.motion import Body, Camera, LayerMotion, Spline
from training.data.synthetic.objects import free_object, random_camera
from training.data.synthetic.solids import Solid

ROOM = 2.5
"""Sides of the background's texture in sides of the frame: the camera that looks away sees other things there."""
BARE = 0.4
"""Share of scenes in which a part of the background is bare."""


def returning_scene(rng: np.random.Generator, config: SceneConfig) -> list[Layer | Solid]:
    """Layers from back to front: a background, one to three objects, and a cover unless the camera looks away."""
    looks_away = rng.random() < 0.5
    camera = _looking_away(rng, config) if looks_away else random_camera(rng, config)
    ground, texture = _ground(rng, config, camera)
    depths = np.sort(rng.uniform(1.0, 1.2, int(rng.integers(1, 4))))
    objects = [free_object(rng, config, camera, float(depth), texture) for depth in depths]
    covers = [] if looks_away else [_cover(rng, config, camera) for _ in range(int(rng.integers(1, 3)))]
    return [ground, *objects, *covers]


def _looking_away(rng: np.random.Generator, config: SceneConfig) -> Camera:
    """A camera that turns to one side by most of the frame, stays there, and comes back for the last third."""
    share = np.array([0.0, 0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0])
    far = rng.uniform(0.5, 0.75) * config.side * rng.choice([-1.0, 1.0])
    pose = np.zeros((len(share), 6))
    pose[:, int(rng.integers(2))] = far * share
    still = np.zeros((2, 1, 3))
    return Camera(np.array([config.width / 2, config.height / 2]), Spline(pose, config.frames), still)


def _ground(rng: np.random.Generator, config: SceneConfig, camera: Camera) -> tuple[Layer, NDArray[np.uint8]]:
    """The background, and its texture."""
    height, width = int(ROOM * config.height), int(ROOM * config.width)
    texture = config.texture(rng, height, width)
    if rng.random() < BARE:
        _lay_bare(rng, config, texture)
    pose = np.array([config.width / 2, config.height / 2, 0.0, 0.0, 0.0, 0.0])
    body = Body(Spline.constant(pose, config.frames))
    motion = LayerMotion(camera, 1.0, body, (width / 2, height / 2))
    opaque = np.full((height, width, 1), 255, np.uint8)
    return Layer(np.concatenate([texture, opaque], axis=2), motion, bounded=False), texture


def _lay_bare(rng: np.random.Generator, config: SceneConfig, texture: NDArray[np.uint8]) -> None:
    """Fills a tilted square near the middle with one colour that gets a little lighter to one side."""
    height, width = texture.shape[:2]
    middle = np.array([width, height]) / 2 + rng.uniform(-0.25, 0.25, 2) * config.side
    side = rng.uniform(0.5, 0.9) * config.side
    corners = cv2.boxPoints((tuple(middle), (side, side), float(rng.uniform(0, 90))))
    mask = silhouettes.fill([corners], height, width)[..., None]
    slope = np.linspace(0, rng.uniform(0, 40), width)[None, :, None]
    texture[:] = np.clip(texture * (1 - mask) + (rng.uniform(30, 215, 3) + slope) * mask, 0, 255)


def _cover(rng: np.random.Generator, config: SceneConfig, camera: Camera) -> Layer:
    """Something large that comes in from one side, stays over the picture, and leaves by the other or the same."""
    radius = config.side * rng.uniform(0.25, 0.45)
    mask = silhouettes.random_silhouette(rng, radius)
    texture = config.texture(rng, *mask.shape)
    at = rng.uniform(0.3, 0.7, 2) * (config.width, config.height)
    away = (0.5 * config.side + 1.5 * radius) * _direction(rng)
    leaves = away if rng.random() < 0.5 else -away
    share = np.array([1.0, 0.5, 0.0, 0.0, 0.0, -0.5, -1.0, -1.0])[:, None]
    path = at + np.where(share > 0, share * away, -share * leaves)
    pose = np.concatenate([path, np.zeros((len(path), 4))], axis=1)
    pose[:, 2] = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.1) * np.arange(len(path))
    motion = LayerMotion(camera, 1.3, Body(Spline(pose, config.frames)), (mask.shape[1] / 2, mask.shape[0] / 2))
    return Layer(premultiply(texture, mask), motion)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)]) * 1.5
