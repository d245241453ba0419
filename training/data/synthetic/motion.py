"""Smooth motion that can be evaluated, and inverted, exactly at any time.

A layer's texture coordinates `p` reach the screen in two steps, both written as functions of time:

    q + Waves(q, t) = p    a smooth non-rigid displacement, given backwards, as rendering reads it
    x = H(t) q             a homography: joints, placement, tilt and camera

Times are frames, continuous, so that motion blur can look between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

_INVERSION_STEPS = 40
_INVERSION_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Spline:
    """A Catmull-Rom curve through `values [K, P]`, knots spread evenly over the frames [-1, frames]."""

    values: Array
    frames: int

    @classmethod
    def constant(cls, value: Array, frames: int) -> Spline:
        """A curve [P] that stays where it is; same knots as `wander` gives, so that the two can be joined."""
        return cls(np.tile(np.asarray(value, np.float64), (_knots(frames), 1)), frames)

    @classmethod
    def join(cls, *curves: Spline) -> Spline:
        """One curve with the channels of all: a single evaluation costs no more than one of them."""
        return cls(np.concatenate([c.values for c in curves], axis=1), curves[0].frames)

    def __call__(self, t: Array) -> Array:
        """Values [..., P] at times `t [...]`; beyond the last knots the curve ends."""
        knots = len(self.values)
        position = (np.asarray(t, np.float64) + 1.0) * ((knots - 1) / (self.frames + 1.0))
        position = np.minimum(np.maximum(position, 0.0), knots - 1.0)
        index = np.minimum(position.astype(int), knots - 2)
        u = position - index
        weight = np.stack(
            [((2 - u) * u - 1) * u, (3 * u - 5) * u * u + 2, ((4 - 3 * u) * u + 1) * u, (u - 1) * u * u], -1
        )
        before, after = 2 * self.values[:1] - self.values[1:2], 2 * self.values[-1:] - self.values[-2:-1]
        padded = np.concatenate([before, self.values, after])
        return 0.5 * (weight[..., None, :] @ padded[index[..., None] + np.arange(4)])[..., 0, :]


def _knots(frames: int) -> int:
    return max(3, 2 + (frames + 1) // 6)


def wander(
    rng: np.random.Generator,
    frames: int,
    speed: float,
    channels: int = 1,
    reach: Array | float = np.inf,
    start: Array | float = 0.0,
    drift: float = 0.5,
) -> Spline:
    """A random smooth curve of about `speed` units per frame that passes `start` at a random time.

    reach: once further than this from zero, the curve turns back; it never gets half as far again.
    drift: 0 changes direction at every knot, 1 keeps one direction throughout.
    """
    knots = _knots(frames)
    gap = (frames + 1.0) / (knots - 1)
    heading = rng.normal(size=channels)
    start_values = np.broadcast_to(np.asarray(start, np.float64), (channels,))
    values = np.empty((knots, channels))
    anchor = int(rng.integers(knots))
    values[anchor] = start_values
    for direction in (1, -1):
        last = anchor
        while 0 <= last + direction < knots:
            step = drift * heading * direction + (1 - drift) * rng.normal(size=channels)
            outside = np.abs(values[last]) > reach
            step = np.where(outside, -np.sign(values[last]) * np.abs(step), step)
            values[last + direction] = values[last] + step * speed * gap
            last += direction
    return Spline(np.clip(values, -1.5 * reach, 1.5 * reach), frames)


def translation(offset: Array) -> Array:
    """Matrices [..., 3, 3] that shift by `offset [..., 2]`."""
    matrix = np.zeros((*offset.shape[:-1], 3, 3))
    matrix[..., 0, 0] = matrix[..., 1, 1] = matrix[..., 2, 2] = 1.0
    matrix[..., :2, 2] = offset
    return matrix


def rotation(angle: Array, scale: Array | float = 1.0) -> Array:
    """Matrices [..., 3, 3] that turn by `angle [...]` radians and scale about the origin."""
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., 0, 0] = matrix[..., 1, 1] = np.cos(angle) * scale
    matrix[..., 1, 0] = np.sin(angle) * scale
    matrix[..., 0, 1] = -matrix[..., 1, 0]
    matrix[..., 2, 2] = 1.0
    return matrix


def tilt(slope: Array) -> Array:
    """Matrices [..., 3, 3] of the projective map x / (1 + slope . x), `slope [..., 2]`."""
    matrix = np.zeros((*slope.shape[:-1], 3, 3))
    matrix[..., 0, 0] = matrix[..., 1, 1] = matrix[..., 2, 2] = 1.0
    matrix[..., 2, :2] = slope
    return matrix


def apply_homography(matrix: Array, points: Array) -> Array:
    """Map `points [..., 2]` by `matrix [..., 3, 3]`, the two broadcast against each other."""
    x, y = points[..., 0], points[..., 1]
    w = matrix[..., 2, 0] * x + matrix[..., 2, 1] * y + matrix[..., 2, 2]
    u = matrix[..., 0, 0] * x + matrix[..., 0, 1] * y + matrix[..., 0, 2]
    v = matrix[..., 1, 0] * x + matrix[..., 1, 1] * y + matrix[..., 1, 2]
    return np.stack([u / w, v / w], axis=-1)


def _placed(pose: Array, scale: float = 1.0) -> tuple[Array, Array, Array]:
    """Shift, turn (with scale) and tilt matrices of poses [..., 6]: x, y, angle, log scale, slope x, y."""
    turn = rotation(pose[..., 2], np.exp(scale * pose[..., 3]))
    return translation(scale * pose[..., :2]), turn, tilt(pose[..., 4:6])


@dataclass(frozen=True)
class Body:
    """A free object. pose: six channels, x, y (pixels), angle, log scale, slope x, y (per pixel)."""

    pose: Spline

    def frame(self, t: Array) -> Array:
        """Matrices [..., 3, 3] from the object's own coordinates (origin at its centre) to the world."""
        shift, turn, lean = _placed(self.pose(t))
        return shift @ turn @ lean


@dataclass(frozen=True)
class Joint:
    """A part that swings about `at` (parent's coordinates): rest angle + swing * sin(rate t + phase)."""

    parent: Body | Joint
    at: tuple[float, float]
    rest: float
    swing: float
    rate: float
    phase: float

    def frame(self, t: Array) -> Array:
        """Matrices [..., 3, 3] from the part's own coordinates (origin at the joint) to the world."""
        angle = self.rest + self.swing * np.sin(self.rate * t + self.phase)
        return self.parent.frame(t) @ translation(np.array(self.at)) @ rotation(angle)


@dataclass(frozen=True)
class Camera:
    """One camera for all layers. pose: as a body's; pan and zoom scale with a layer's parallax.

    shake: [axis, term, (amplitude, rate, phase)], a sum of sines in pixels, the same for all layers.
    """

    centre: Array
    pose: Spline
    shake: Array

    def frame(self, t: Array, parallax: float) -> Array:
        """Matrices [..., 3, 3] from world pixels to screen pixels."""
        t = np.asarray(t, np.float64)
        amplitude, rate, phase = np.moveaxis(self.shake, -1, 0)
        trembling = (amplitude * np.sin(rate * t[..., None, None] + phase)).sum(-1)
        shift, turn, lean = _placed(self.pose(t), parallax)
        return translation(self.centre) @ lean @ turn @ shift @ translation(trembling - self.centre)


@dataclass(frozen=True)
class Waves:
    """Smooth displacement sum_k amplitude_k cos(rate_k t + start_k) sin(wave_k . q + phase_k).

    The sum of |amplitude| |wave| stays below 1/2 (see `random`), so q -> q + Waves(q, t) never folds and the
    fixed-point inversion converges.
    """

    amplitude: Array  # [K, 2]
    wave: Array  # [K, 2]
    phase: Array  # [K]
    rate: Array  # [K]
    start: Array  # [K]

    @classmethod
    def random(cls, rng: np.random.Generator, size: float, strength: float, rate: float) -> Waves:
        """Waves over a layer of `size` texels; strength: the share in [0, 1] of the non-folding limit."""
        count = int(rng.integers(2, 4))
        turns = rng.uniform(0.3, 1.2, count) / size
        direction = rng.uniform(0, 2 * np.pi, count)
        wave = 2 * np.pi * turns[:, None] * np.stack([np.cos(direction), np.sin(direction)], -1)
        share = rng.dirichlet(np.ones(count)) * 0.45 * strength
        bend = direction + rng.choice([0.0, np.pi / 2], count) + rng.normal(0, 0.3, count)
        length = np.minimum(share / np.linalg.norm(wave, axis=-1), 0.12 * size * strength)
        amplitude = length[:, None] * np.stack([np.cos(bend), np.sin(bend)], -1)
        phase, start = rng.uniform(0, 2 * np.pi, (2, count))
        return cls(amplitude, wave, phase, rate * rng.uniform(0.5, 1.5, count), start)

    @property
    def bound(self) -> float:
        """No displacement is longer than this, in texels."""
        return float(np.linalg.norm(self.amplitude, axis=-1).sum())

    def offset_xy(self, x: Array, y: Array, t: Array | float) -> tuple[Array, Array]:
        """Displacements along x and y at (x, y), in their dtype; all three broadcast."""
        dx = dy = x.dtype.type(0)
        for amplitude, wave, phase, rate, start in zip(
            self.amplitude, self.wave, self.phase, self.rate, self.start, strict=True
        ):
            ax, ay, wx, wy, ph = (x.dtype.type(v) for v in (*amplitude, *wave, phase))
            level = np.sin(wx * x + (wy * y + ph)) * np.cos(rate * t + start).astype(x.dtype)
            dx, dy = dx + ax * level, dy + ay * level
        return dx, dy

    def offset(self, q: Array, t: Array | float) -> Array:
        """Displacement [..., 2] at `q [..., 2]`; t broadcasts against q's leading axes."""
        return np.stack(self.offset_xy(q[..., 0], q[..., 1], t), axis=-1)

    def invert(self, p: Array, t: Array | float) -> Array:
        """The q with q + offset(q, t) = p."""
        q = p - self.offset(p, t)
        for _ in range(_INVERSION_STEPS):
            following = p - self.offset(q, t)
            moved = np.abs(following - q).max(initial=0.0)
            q = following
            if moved < _INVERSION_TOLERANCE:
                break
        return q


@dataclass(frozen=True)
class LayerMotion:
    """Where a layer's texture is on the screen at time t, and back."""

    camera: Camera
    parallax: float
    node: Body | Joint
    origin: tuple[float, float]  # texture coordinates of the node's origin
    waves: Waves | None = None

    def homography(self, t: Array) -> Array:
        """Matrices [..., 3, 3] from (undisplaced) texture coordinates to the screen."""
        t = np.asarray(t, np.float64)
        return self.camera.frame(t, self.parallax) @ self.node.frame(t) @ translation(-np.array(self.origin))
