"""The random parts of a scene: its camera, its background and its free objects."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import silhouettes, textures
from training.data.synthetic.config import SceneConfig
from training.data.synthetic.layers import Layer, Shadow, cast_shadow, premultiply
from training.data.synthetic.motion import Body, Camera, LayerMotion, Spline, Waves, wander

# Share of objects, and speed range in frame sides per frame (log-uniform), of each pace.
_PACES = ((0.2, 0.0, 0.0), (0.35, 0.001, 0.006), (0.32, 0.006, 0.02), (0.13, 0.02, 0.06))


def _pace(rng: np.random.Generator, config: SceneConfig) -> float:
    """A speed in pixels per frame."""
    _, low, high = _PACES[int(rng.choice(len(_PACES), p=[p[0] for p in _PACES]))]
    speed = 0.0 if high == 0 else float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return speed * config.side * config.motion


def random_camera(rng: np.random.Generator, config: SceneConfig) -> Camera:
    """Still in a fifth of the clips; otherwise it pans, zooms, rolls, tilts and may shake."""
    strength = 0.0 if rng.random() < 0.2 else config.camera * config.motion * rng.uniform(0.2, 1.0)
    side, frames = config.side, config.frames
    shake = np.zeros((2, 3, 3))
    if rng.random() < 0.35:
        shake[..., 0] = rng.normal(0, 0.004 * side * strength, (2, 3))
        shake[..., 1] = 2 * np.pi / rng.uniform(4, 14, (2, 3))
        shake[..., 2] = rng.uniform(0, 2 * np.pi, (2, 3))
    return Camera(
        centre=np.array([config.width / 2, config.height / 2]),
        pose=Spline.join(
            wander(rng, frames, 0.013 * side * strength, 2, reach=0.35 * side, drift=0.7),
            _roll(rng, config, strength),
            wander(rng, frames, 0.008 * strength, reach=0.2),
            wander(rng, frames, 0.01 / side * strength, 2, reach=0.06 / side),
        ),
        shake=shake,
    )


def _roll(rng: np.random.Generator, config: SceneConfig, strength: float) -> Spline:
    if config.rolling and rng.random() < config.rolling:
        return wander(rng, config.frames, float(np.exp(rng.uniform(np.log(0.01), np.log(0.08)))), drift=0.8)
    return wander(rng, config.frames, 0.006 * strength, reach=0.2)


def random_body(rng: np.random.Generator, config: SceneConfig, radius: float, upright: bool = False) -> Body:
    """A free motion that crosses the frame at some time; radius: the object's extent in pixels."""
    frames, side = config.frames, config.side
    speed = _pace(rng, config)
    at = rng.uniform(-0.5, 0.5, 2) * [config.width, config.height]
    reach = np.array([0.6 * config.width, 0.6 * config.height]) + radius
    position = wander(rng, frames, speed, 2, reach=reach, start=at, drift=rng.uniform(0.3, 1.0))
    position = Spline(position.values + np.array([config.width / 2, config.height / 2]), frames)
    spin = config.motion * (0.004 if upright else float(rng.choice([0.0, 0.006, 0.02, 0.06])))
    angle = wander(rng, frames, spin, reach=0.4 if upright else np.inf)
    if not upright:
        angle = Spline(angle.values + rng.uniform(0, 2 * np.pi), frames)
    else:
        angle = Spline(angle.values + rng.normal(0, 0.15), frames)
    growth = config.motion * float(rng.choice([0.0, 0.004, 0.015]))
    lean = config.motion * 0.02 / max(radius, 0.05 * side) * float(rng.choice([0.0, 1.0]))
    log_scale = wander(rng, frames, growth, reach=0.35, start=rng.normal(0, 0.1))
    slope = wander(rng, frames, lean, 2, reach=0.15 / radius)
    return Body(Spline.join(position, angle, log_scale, slope))


def background(rng: np.random.Generator, config: SceneConfig, camera: Camera) -> tuple[Layer, NDArray[np.uint8]]:
    """The lowest layer, and its texture for others to hide in."""
    h, w = int(1.5 * config.height) + 2, int(1.5 * config.width) + 2
    texture = config.texture(rng, h, w)
    if rng.random() < 0.25:
        texture = cv2.GaussianBlur(texture, (0, 0), rng.uniform(0.5, 2.0))
    elif rng.random() < 0.4:
        texture = textures.roughen(rng, texture, 20.0)
    pose = np.array([config.width / 2, config.height / 2, rng.normal(0, 0.1), 0, 0, 0])
    node = Body(Spline.constant(pose, config.frames))
    waves = None
    if rng.random() < 0.3 * config.deformation:
        waves = Waves.random(rng, max(h, w), rng.uniform(0.05, 0.4) * min(config.motion, 1.0), rng.uniform(0.02, 0.25))
    motion = LayerMotion(camera, rng.uniform(0.3, 1.0), node, (w / 2, h / 2), waves)
    opaque = np.full((h, w, 1), 255, np.uint8)
    return Layer(np.concatenate([texture, opaque], axis=2), motion, bounded=False), texture


def _hide(rng: np.random.Generator, surroundings: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A texture cut from the background's own: an object that hardly stands out."""
    h, w = surroundings.shape[:2]
    ch, cw = min(h, height), min(w, width)
    y, x = int(rng.integers(h - ch + 1)), int(rng.integers(w - cw + 1))
    crop = cv2.resize(surroundings[y : y + ch, x : x + cw], (width, height))
    return textures.jitter_colour(rng, crop, 0.4)


def shade(
    rng: np.random.Generator, config: SceneConfig, mask: NDArray[np.float32]
) -> tuple[Spline | None, Shadow | None]:
    """Light on one layer over time, and the shadow it casts."""
    # Drawn whatever the odds: turning an effect off leaves the rest of the scene as it was.
    log_gain = wander(rng, config.frames, 0.015, reach=0.25)
    distance = config.side * 0.04
    shift = (float(rng.normal(0, distance)), float(abs(rng.normal(0, distance))))
    sigma, strength = rng.uniform(1, 0.03 * config.side + 1.5), rng.uniform(0.15, 0.6)
    is_lit, is_casting = rng.random(2) < (0.4 * config.lighting, config.shadows)
    return log_gain if is_lit else None, cast_shadow(mask, sigma, strength, shift) if is_casting else None


def free_object(
    rng: np.random.Generator,
    config: SceneConfig,
    camera: Camera,
    parallax: float,
    surroundings: NDArray[np.uint8],
) -> Layer:
    """One object of random shape, texture and motion."""
    radius = config.side * float(np.exp(rng.uniform(np.log(0.07), np.log(0.4))))
    if rng.random() < 0.1:
        radius *= 2  # something large that passes close to the camera
    mask = silhouettes.random_silhouette(rng, radius)
    if rng.random() < 0.2:
        mask = silhouettes.soften(mask, rng.uniform(0.5, 1.5))
    h, w = mask.shape
    hidden = rng.random() < config.camouflage
    texture = _hide(rng, surroundings, h, w) if hidden else config.texture(rng, h, w)
    body = random_body(rng, config, radius)
    smallest = float(np.exp(body.pose.values[:, 3].min()))
    if smallest < 0.8:
        texture = cv2.GaussianBlur(texture, (0, 0), 0.45 / smallest)
    waves = None
    if rng.random() < config.deformation:
        strength, rate = rng.uniform(0.2, 1.0), rng.uniform(0.03, 0.35)
        waves = Waves.random(rng, 2 * radius, strength, rate * config.motion)
    log_gain, shadow = shade(rng, config, mask)
    motion = LayerMotion(camera, parallax, body, (w / 2, h / 2), waves)
    return Layer(premultiply(texture, mask), motion, log_gain=log_gain, shadow=shadow)
