"""Articulated creatures: a trunk with jointed legs, a head and a tail, all in one coat."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import silhouettes, textures
from training.data.synthetic.config import SceneConfig
from training.data.synthetic.layers import Layer, premultiply
from training.data.synthetic.motion import Body, Camera, Joint, LayerMotion, Spline, Waves
from training.data.synthetic.objects import random_body, shade

_COATS = ("fur", "fur", "octaves", "spots", "stripes", "gradient")


@dataclass(frozen=True)
class _Maker:
    """Cuts the parts of one creature from one coat and hangs them on their joints."""

    rng: np.random.Generator
    config: SceneConfig
    camera: Camera
    parallax: float
    coat: NDArray[np.uint8]
    piebald: float  # how much parts differ in colour

    def part(self, mask: NDArray[np.float32], origin: tuple[float, float], node: Body | Joint) -> Layer:
        """A part with its origin (texture pixels) at the node's."""
        h, w = mask.shape
        height, width = self.coat.shape[:2]
        y, x = int(self.rng.integers(height - h + 1)), int(self.rng.integers(width - w + 1))
        texture = textures.jitter_colour(self.rng, self.coat[y : y + h, x : x + w], self.piebald)
        motion = LayerMotion(self.camera, self.parallax, node, origin)
        return Layer(premultiply(_rounded(texture, mask), mask), motion)

    def trunk(self, body: Body, length: float, height: float, rate: float) -> Layer:
        """The trunk: it may bend, be lit and cast a shadow, unlike the limbs."""
        mask = silhouettes.body(self.rng, length, height)
        layer = self.part(mask, (mask.shape[1] / 2, mask.shape[0] / 2), body)
        waves = Waves.random(self.rng, length, self.rng.uniform(0.05, 0.35), rate)
        is_bending = self.rng.random() < self.config.deformation
        log_gain, shadow = shade(self.rng, self.config, mask)
        motion = replace(layer.motion, waves=waves if is_bending else None)
        return replace(layer, motion=motion, log_gain=log_gain, shadow=shadow)

    def segment(self, joint: Joint, length: float, radii: tuple[float, float], softness: float = 0.7) -> Layer:
        """A tapered limb of `length` pixels between its two radii, hanging from the joint."""
        mask, origin = silhouettes.limb(length, *radii)
        return self.part(silhouettes.soften(mask, softness), origin, joint)

    def leg(self, hip: Joint, length: float, girth: float) -> list[Layer]:
        """Two segments, the shin behind the thigh; the knee swings later than the hip."""
        rng = self.rng
        thigh = rng.uniform(0.42, 0.58) * length
        lag = rng.uniform(0.6, 2.0)
        knee = Joint(hip, (0.0, thigh), rng.normal(0, 0.2), rng.uniform(0.15, 0.7), hip.rate, hip.phase + lag)
        return [
            self.segment(knee, length - thigh, (0.65 * girth, 0.45 * girth)),
            self.segment(hip, thigh, (girth, 0.65 * girth)),
        ]


def _rounded(texture: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Darken towards the silhouette and the underside, as a round body is."""
    h, w = mask.shape
    thickness = cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.12 * min(h, w)))
    gain = (0.55 + 0.45 * thickness) * np.linspace(1.08, 0.8, h, dtype=np.float32)[:, None]
    return cv2.multiply(texture, cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def random_coat(
    rng: np.random.Generator, config: SceneConfig, size: int, surroundings: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """A texture [size, size, 3] for all parts of one creature: fur and the like, a photograph, or its surroundings."""
    if rng.random() < config.camouflage:
        h, w = min(size, surroundings.shape[0]), min(size, surroundings.shape[1])
        y = int(rng.integers(surroundings.shape[0] - h + 1))
        x = int(rng.integers(surroundings.shape[1] - w + 1))
        return textures.jitter_colour(rng, cv2.resize(surroundings[y : y + h, x : x + w], (size, size)), 0.5)
    if rng.random() < 0.6 or not config.textures:
        image = textures.pattern(rng, size, size, str(rng.choice(_COATS)))
        return textures.jitter_colour(rng, image, 0.6)
    return config.texture(rng, size, size)


def followed(trunk: Body, camera: Camera, parallax: float) -> Body:
    """The same body with the camera's pan taken out: it stays in view, the background moves instead."""
    values = trunk.pose.values.copy()
    values[:, :2] -= parallax * camera.pose.values[:, :2]
    return Body(Spline(values, trunk.pose.frames))


def _legs(maker: _Maker, body: Body, length: float, height: float) -> list[list[Layer]]:
    """Pairs of legs, the two of a pair and neighbouring pairs in opposite phase."""
    rng = maker.rng
    pairs = int(rng.choice([1, 2, 2, 2, 3]))
    reach = height * rng.uniform(0.8, 1.8)
    girth = max(1.8, height * rng.uniform(0.12, 0.24))
    rate = 2 * np.pi / rng.uniform(9, 40) * maker.config.motion * float(rng.choice([1.0, 0.1], p=[0.8, 0.2]))
    legs = []
    for pair in range(pairs):
        x = (pair / (pairs - 1) - 0.5) * 0.72 * length if pairs > 1 else rng.normal(0, 0.1) * length
        for side in range(2):
            at = (x + rng.normal(0, 0.03) * length, 0.22 * height)
            phase = np.pi * (side + pair) + rng.normal(0, 0.4)
            hip = Joint(body, at, rng.normal(0, 0.15), rng.uniform(0.15, 0.6), rate, phase)
            legs.append(maker.leg(hip, reach, girth))
    return legs


def _tail(maker: _Maker, body: Body, length: float, height: float, rate: float, facing: float) -> Layer:
    rng = maker.rng
    at = (-facing * 0.44 * length, -0.1 * height)
    root = Joint(body, at, facing * rng.uniform(0.5, 1.6), rng.uniform(0.1, 0.5), 2 * rate, rng.uniform(0, 6))
    radii = max(1.8, 0.1 * height), max(1.2, 0.05 * height)
    return maker.segment(root, length * rng.uniform(0.2, 0.6), radii)


def _head(maker: _Maker, body: Body, length: float, height: float, rate: float, facing: float) -> list[Layer]:
    """Neck and head, each nodding a little."""
    rng = maker.rng
    swing, phase = rng.uniform(0.05, 0.3, 2), rng.uniform(0, 6, 2)
    shoulder = (facing * 0.4 * length, -0.2 * height)
    neck = Joint(body, shoulder, -facing * rng.uniform(1.6, 2.6), swing[0], rate, phase[0])
    neck_length = length * rng.uniform(0.12, 0.35)
    head = Joint(neck, (0.0, neck_length), facing * rng.uniform(0.6, 1.4), swing[1], rate, phase[1])
    return [
        maker.segment(neck, neck_length, (0.3 * height, 0.2 * height)),
        maker.segment(head, length * rng.uniform(0.1, 0.25), (0.24 * height, 0.14 * height)),
    ]


def creature(
    rng: np.random.Generator,
    config: SceneConfig,
    camera: Camera,
    parallax: float,
    surroundings: NDArray[np.uint8],
) -> list[Layer]:
    """The layers of one creature from back to front: far legs, tail, trunk, head, near legs."""
    length = config.side * float(np.exp(rng.uniform(np.log(0.25), np.log(0.8))))
    height = length * rng.uniform(0.28, 0.6)
    body = random_body(rng, config, length, upright=rng.random() < 0.8)
    if rng.random() < 0.5:
        body = followed(body, camera, parallax)
    coat = random_coat(rng, config, int(np.ceil(1.1 * length)) + 16, surroundings)
    maker = _Maker(rng, config, camera, parallax, coat, piebald=float(rng.choice([0.03, 0.1, 0.3])))
    rate = 2 * np.pi / rng.uniform(10, 50) * config.motion
    facing = float(rng.choice([-1.0, 1.0]))

    trunk = maker.trunk(body, length, height, rate)
    legs = _legs(maker, body, length, height)
    near = [layer for leg in legs[::2] for layer in leg]
    far = [layer for leg in legs[1::2] for layer in leg]
    tail = _tail(maker, body, length, height, rate, facing)
    head = _head(maker, body, length, height, rate, facing)
    return [*far, tail, trunk, *head, *near]
