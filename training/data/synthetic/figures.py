"""Random solid figures: animals, people, hands, and things of a few lumps. One function a kind.

Lengths are shares of the figure's own; x is where an animal or a person looks, y down, z to its right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from training.data.synthetic.config import SceneConfig
from training.data.synthetic.creatures import followed, random_coat
from training.data.synthetic.layers import Image
from training.data.synthetic.motion import Array, Camera, Spline, wander
from training.data.synthetic.objects import random_body
from training.data.synthetic.solids import Part, Solid

Parts = list[Part]
Vector = tuple[float, float, float]


def solid_figure(
    rng: np.random.Generator, config: SceneConfig, camera: Camera, parallax: float, surroundings: Image
) -> Solid:
    """One figure of a random kind, coat and motion, in half of the cases followed by the camera."""
    make, upright = KINDS[config.figure(rng)]
    length = config.side * float(np.exp(rng.uniform(np.log(0.25), np.log(1.0))))
    parts = [_scaled(part, length) for part in make(rng, _stride(rng, config))]
    coat = random_coat(rng, config, int(np.ceil(1.5 * length)) + 32, surroundings)
    piebald = float(rng.choice([0.02, 0.1, 0.25]))
    patches = rng.uniform(0, coat.shape[0], (len(parts), 2))
    tones = np.exp(rng.normal(0, piebald, len(parts)))
    dressed = [
        replace(part, patch=(float(x), float(y)), tone=float(tone))
        for part, (x, y), tone in zip(parts, patches, tones, strict=True)
    ]
    body = random_body(rng, config, 0.6 * length, upright=upright)
    body = replace(body, pose=Spline(body.pose.values * np.array([1, 1, 1, 1, 0, 0]), body.pose.frames))
    if rng.random() < 0.5:
        body = followed(body, camera, parallax)
    direction = rng.normal(size=3) + np.array([0.0, -1.2, -1.2])
    return Solid(
        tuple(dressed),
        coat,
        camera,
        parallax,
        body,
        _turning(rng, config, upright),
        light=_vector(direction / np.linalg.norm(direction)),
        ambient=float(rng.uniform(0.35, 0.9)),
        shadow=float(rng.uniform(0.1, 0.5)) if rng.random() < config.shadows else 0.0,
    )


def _turning(rng: np.random.Generator, config: SceneConfig, upright: bool) -> Spline:
    """Turns of the whole figure: about the upright axis above all, for what stands upright."""
    speed = config.motion * float(rng.choice([0.0, 0.01, 0.03, 0.08], p=[0.15, 0.35, 0.35, 0.15]))
    yaw = wander(rng, config.frames, speed, start=rng.uniform(-np.pi, np.pi), drift=rng.uniform(0.4, 1.0))
    slow = 0.2 * speed if upright else speed
    others = wander(rng, config.frames, slow, 2, reach=0.3 if upright else np.inf)
    start = rng.normal(0, 0.15, 2) if upright else rng.uniform(-np.pi, np.pi, 2)
    values = others.values + start
    return Spline(np.stack([values[:, 0], yaw.values[:, 0], values[:, 1]], axis=1), config.frames)


def _stride(rng: np.random.Generator, config: SceneConfig) -> float:
    """Radians a frame at which limbs swing; seldom hardly at all."""
    return 2 * np.pi / rng.uniform(10, 45) * config.motion * float(rng.choice([1.0, 0.1], p=[0.8, 0.2]))


def _limb(
    parent: int,
    at: Vector,
    length: float,
    radius: float,
    rest: Vector,
    swing: Vector = (0.0, 0.0, 0.0),
    rate: float = 0.0,
    phase: float = 0.0,
    flat: float = 1.0,
) -> Part:
    """A part that hangs down from its joint; flat: its depth beside its width."""
    axes = (radius, 0.58 * length, radius * flat)
    return Part(parent, at, (0.0, length / 2, 0.0), axes, rest, swing, rate, phase)


def _end(part: Part) -> Vector:
    """Where the next part of a chain hangs, in the part's own coordinates."""
    return 0.0, part.centre[1] * 0.95, 0.0


def _animal(rng: np.random.Generator, rate: float) -> Parts:
    """On four legs, with a neck, a head with a snout and ears, and a tail."""
    deep, wide = rng.uniform(0.1, 0.2), rng.uniform(0.08, 0.16)
    bend = (0.0, rng.uniform(0, 0.25), rng.uniform(0, 0.12))
    sway = 0.5 * rate
    parts = [
        Part(-1, (0, 0, 0), (0, 0, 0), (0.19, deep, wide), (0, 0, 0)),
        Part(0, (0.1, 0, 0), (0.12, 0, 0), (0.22, 0.95 * deep, wide), (0, 0, 0), bend, sway, rng.uniform(0, 6)),
        Part(1, (0.1, 0, 0), (0.12, 0, 0), (0.19, 1.1 * deep, wide), (0, 0, 0), bend, sway, rng.uniform(0, 6)),
    ]
    reach, thick = rng.uniform(0.12, 0.4), rng.uniform(0.05, 0.1)
    rest = (0.0, 0.0, rng.uniform(-2.6, -1.7))
    nod = tuple(rng.uniform(0, 0.35, 3))
    neck = _limb(2, (0.12, -0.4 * deep, 0), reach, thick, rest, _vector(nod), sway, rng.uniform(0, 6))
    parts.append(neck)
    skull = rng.uniform(0.12, 0.22)
    rest = (0.0, 0.0, rng.uniform(0.5, 1.4))
    head = _limb(3, _end(neck), skull, rng.uniform(0.3, 0.5) * skull, rest, _vector(nod), rate, rng.uniform(0, 6))
    parts.append(head)
    parts.append(_limb(4, (0, 0.3 * skull, 0), 0.5 * skull, 0.2 * skull, (0, 0, rng.normal(0, 0.2))))
    ear = rng.uniform(0.3, 0.9) * skull
    for side in (-1, 1):
        at = (0.3 * skull, -0.4 * skull, side * 0.2 * skull)
        parts.append(_limb(4, at, ear, 0.3 * ear, (side * 0.5, 0, rng.uniform(-2.6, -1.2)), flat=0.4))
    parts += _four_legs(rng, rate, deep, wide)
    length, rest = rng.uniform(0.1, 0.3), (0.0, 0.0, rng.uniform(0.3, 1.8))
    wag = (rng.uniform(0, 0.6), 0.0, rng.uniform(0, 0.4))
    tail = _limb(0, (-0.17, -0.3 * deep, 0), length, rng.uniform(0.015, 0.04), rest, wag, 2 * rate, rng.uniform(0, 6))
    parts.append(tail)
    parts.append(_limb(len(parts) - 1, _end(tail), length, tail.axes[0], (0, 0, rng.normal(0, 0.4)), wag, 2 * rate))
    return parts


def _four_legs(rng: np.random.Generator, rate: float, deep: float, wide: float) -> Parts:
    """Of an animal whose parts 0 and 2 are hips and chest, and which has 8 parts so far."""
    reach, girth = rng.uniform(0.3, 0.6), rng.uniform(0.03, 0.07)
    swing, bend, gait = rng.uniform(0.15, 0.6), rng.uniform(0.1, 0.6), rng.uniform(0.5, np.pi)
    parts: Parts = []
    for parent, x in ((0, -0.06), (2, 0.03)):
        for side in (-1, 1):
            phase = (np.pi if side > 0 else 0.0) + (gait if parent else 0.0) + rng.normal(0, 0.2)
            at = (x, 0.4 * deep, side * 0.7 * wide)
            rest = (side * -0.05, 0.0, rng.normal(0, 0.1))
            thigh = _limb(parent, at, 0.5 * reach, 1.4 * girth, rest, (0, 0, swing), rate, phase)
            parts.append(thigh)
            knee = 8 + len(parts) - 1
            rest = (0.0, 0.0, rng.uniform(-0.3, 0.3))
            shin = _limb(knee, _end(thigh), 0.45 * reach, 0.8 * girth, rest, (0, 0, bend), rate, phase + 1.2)
            parts.append(shin)
            foot = _limb(knee + 1, _end(shin), 2.2 * girth, 0.8 * girth, (0, 0, -1.3), (0, 0, 0.3), rate, phase)
            parts.append(foot)
    return parts


def _person(rng: np.random.Generator, rate: float) -> Parts:
    """Upright, with arms and legs of three parts each."""
    broad = rng.uniform(0.09, 0.14)
    lean = (rng.uniform(0, 0.15), rng.uniform(0, 0.4), rng.uniform(0, 0.3))
    up = (0.0, 0.0, np.pi + rng.normal(0, 0.15))
    chest = _limb(0, (0, -0.03, 0), 0.27, 0.08, up, lean, 0.5 * rate, rng.uniform(0, 6), flat=broad / 0.08)
    parts = [Part(-1, (0, 0, 0), (0, 0, 0), (0.075, 0.08, broad), (0, 0, 0)), chest]
    neck = _limb(1, _end(chest), 0.07, 0.035, (0, 0, 0))
    head = _limb(2, _end(neck), 0.15, 0.062, (0, 0, 0), _vector(rng.uniform(0, 0.4, 3)), rate, rng.uniform(0, 6))
    parts += [neck, head]
    raised = rng.uniform(-2.5, 1.0) if rng.random() < 0.3 else 0.0
    for side in (-1, 1):
        phase = np.pi * (side > 0) + rng.normal(0, 0.3)
        # The chest hangs upwards: its arms turn by half a turn to hang down.
        rest = (side * rng.uniform(0.05, 0.4), 0.0, np.pi + raised)
        swing = (rng.uniform(0, 0.3), 0.0, rng.uniform(0.2, 0.9))
        parts += _chain(len(parts), (1, (0, 0.1, side * broad)), (0.16, 0.15, 0.09), 0.035, rest, swing, rate, phase)
    for side in (-1, 1):
        phase = np.pi * (side < 0) + rng.normal(0, 0.3)
        rest, swing = (side * -0.03, 0.0, rng.normal(0, 0.1)), (0.0, 0.0, rng.uniform(0.15, 0.7))
        parts += _chain(len(parts), (0, (0, 0.04, side * 0.06)), (0.24, 0.23, 0.1), 0.055, rest, swing, rate, phase)
    return parts


def _chain(
    first: int,
    hangs: tuple[int, Vector],
    lengths: tuple[float, float, float],
    radius: float,
    rest: Vector,
    swing: Vector,
    rate: float,
    phase: float,
) -> Parts:
    """Three parts that bend the same way, the first of index `first`, each thinner than the one before."""
    upper = _limb(*hangs, lengths[0], radius, rest, swing, rate, phase)
    bend = (0.0, 0.0, 0.6 * swing[2])
    middle = _limb(first, _end(upper), lengths[1], 0.75 * radius, (0, 0, bend[2]), bend, rate, phase + 1.0)
    last = _limb(first + 1, _end(middle), lengths[2], 0.6 * radius, (0, 0, 0.3), (0.2, 0.0, 0.2), rate, phase)
    return [upper, middle, last]


def _hand(rng: np.random.Generator, rate: float) -> Parts:
    """A palm, four fingers and a thumb that curl, and a forearm."""
    rate = 0.6 * rate
    thick = rng.uniform(0.05, 0.08)
    parts = [
        Part(-1, (0, 0, 0), (0, 0, 0), (0.15, 0.19, thick), (0, 0, 0)),
        _limb(0, (0, 0.1, 0), 0.6, 0.1, (0, 0, 0), (0.3, 0, 0.3), 0.4 * rate, rng.uniform(0, 6), flat=0.8),
    ]
    curl, rest_curl = rng.uniform(0.1, 0.8), rng.uniform(0, 0.6)
    for finger in range(5):
        thumb = finger == 4
        x = 0.13 if thumb else -0.105 + 0.07 * finger
        at = (x, 0.02, 0.0) if thumb else (x, -0.14, 0.0)
        long = float(np.array([0.1, 0.125, 0.13, 0.11, 0.1])[finger])
        spread = -2.2 if thumb else np.pi + (finger - 1.5) * rng.uniform(0.02, 0.12)
        phase = rng.normal(0, 0.5) + 0.3 * finger
        parent = 0
        for joint in range(2 if thumb else 3):
            rest = (rest_curl, 0.0, spread if joint == 0 else 0.0)
            length = long * (1.0, 0.75, 0.6)[joint]
            radius = 0.037 * (1.0, 0.9, 0.8)[joint]
            parts.append(_limb(parent, at, length, radius, rest, (curl, 0.0, 0.0), rate, phase + 0.4 * joint))
            parent, at = len(parts) - 1, _end(parts[-1])
    return parts


def _thing(rng: np.random.Generator, rate: float) -> Parts:
    """One to six lumps that are fixed to one another."""
    axes = rng.uniform(0.12, 0.4, 3)
    parts = [Part(-1, (0, 0, 0), (0, 0, 0), _vector(axes), _vector(rng.uniform(-np.pi, np.pi, 3)))]
    for _ in range(int(rng.integers(0, 6))):
        direction = rng.normal(size=3)
        at = direction / np.linalg.norm(direction) * axes
        parts.append(
            Part(0, _vector(at), (0, 0, 0), _vector(rng.uniform(0.05, 0.25, 3)), _vector(rng.uniform(-3, 3, 3)))
        )
    return parts


def _scaled(part: Part, by: float) -> Part:
    at, centre, axes = (_vector(np.array(each) * by) for each in (part.at, part.centre, part.axes))
    return replace(part, at=at, centre=centre, axes=axes)


def _vector(values: Array | tuple[float, ...]) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


KINDS: dict[str, tuple[Callable[[np.random.Generator, float], Parts], bool]] = {
    "animal": (_animal, True),
    "person": (_person, True),
    "hand": (_hand, False),
    "thing": (_thing, False),
}
"""Maker of parts, and whether it stands upright. A new kind is a row here and its name in the config."""
