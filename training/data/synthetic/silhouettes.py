"""Silhouettes: antialiased alpha masks, float32 in [0, 1], zero along the border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float32]

_SUBPIXEL_BITS = 4
_SUPERSAMPLING = 4
MARGIN = 3.0


def fill(polygons: list[NDArray[np.floating]], height: int, width: int) -> Mask:
    """Antialiased mask of closed polygons, vertices [V, 2] in raster pixels; overlaps are even-odd."""
    scale = _SUPERSAMPLING * (1 << _SUBPIXEL_BITS)
    offset = 0.5 * (1 << _SUBPIXEL_BITS)
    outlines = [np.round(p * scale - offset).astype(np.int32) for p in polygons]
    canvas = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8)
    cv2.fillPoly(canvas, outlines, 255, cv2.LINE_8, _SUBPIXEL_BITS)
    mask = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    return mask


def _harmonic_outline(rng: np.random.Generator, roughness: float, vertices: int = 96) -> NDArray[np.float64]:
    """A closed wavy curve [V, 2] within the unit disc."""
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    order = np.arange(2, 8)
    strength = rng.normal(size=6) * roughness / order
    radius = 1 + (strength * np.cos(order * angle[:, None] + rng.uniform(0, 2 * np.pi, 6))).sum(-1)
    radius = np.maximum(radius, 0.25)
    radius /= radius.max()
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _polygon(rng: np.random.Generator) -> NDArray[np.float64]:
    corners = int(rng.integers(3, 8))
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners) * 0.35 + np.arange(corners) * 2 * np.pi / corners)
    return rng.uniform(0.5, 1.0, corners)[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _bars(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """One to four thin parallel bars."""
    count = int(rng.integers(1, 5))
    thickness = rng.uniform(0.05, 0.16)
    centres = np.linspace(-0.7, 0.7, count) if count > 1 else np.zeros(1)
    return [
        np.array([[-1, y - thickness], [1, y - thickness], [1, y + thickness], [-1, y + thickness]]) for y in centres
    ]


def _star(rng: np.random.Generator) -> NDArray[np.float64]:
    """A star or flower: arms that others can be seen between."""
    arms = int(rng.integers(3, 8))
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radius = 1 - rng.uniform(0.35, 0.7) * (0.5 + 0.5 * np.cos(arms * angle)) ** rng.uniform(0.5, 2)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _outlines(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    kind = rng.choice(
        ["blob", "rough", "ellipse", "polygon", "box", "bars", "star", "holes"],
        p=[0.25, 0.12, 0.12, 0.12, 0.08, 0.1, 0.08, 0.13],
    )
    if kind == "bars":
        return _bars(rng)
    if kind == "polygon":
        return [_polygon(rng)]
    if kind == "box":
        return [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.7]
    if kind == "star":
        return [_star(rng)]
    roughness = {"blob": 0.35, "rough": 0.9, "ellipse": 0.0, "holes": 0.25}[str(kind)]
    outlines = [_harmonic_outline(rng, roughness)]
    if kind == "holes":
        for side in (-1, 1)[: int(rng.integers(1, 3))]:
            centre = np.array([side * rng.uniform(0.2, 0.4), rng.uniform(-0.25, 0.25)])
            outlines.append(_harmonic_outline(rng, 0.3) * rng.uniform(0.15, 0.3) + centre)
    return outlines


def random_silhouette(rng: np.random.Generator, radius: float) -> Mask:
    """A random shape of about `radius` pixels: blob, ellipse, polygon, bars, star or one with holes."""
    size = int(np.ceil(2 * (radius + MARGIN)))
    outlines = _outlines(rng)
    stretch = np.array([1.0, rng.uniform(0.35, 1.0)])
    return fill([o * stretch * radius + size / 2 for o in outlines], size, size)


def body(rng: np.random.Generator, length: float, height: float) -> Mask:
    """A rounded trunk of `length` by `height` pixels."""
    outline = _harmonic_outline(rng, 0.15) * np.array([length / 2, height / 2])
    h, w = int(np.ceil(height + 2 * MARGIN)), int(np.ceil(length + 2 * MARGIN))
    return fill([outline + np.array([w / 2, h / 2])], h, w)


def limb(length: float, start_radius: float, end_radius: float) -> tuple[Mask, tuple[float, float]]:
    """A tapered capsule hanging down, and its upper centre (the joint) in the mask's pixels."""
    widest = max(start_radius, end_radius)
    w = int(np.ceil(2 * (widest + MARGIN)))
    h = int(np.ceil(length + start_radius + end_radius + 2 * MARGIN))
    joint = np.array([w / 2, start_radius + MARGIN])
    half = np.linspace(0, np.pi, 24)
    arc = np.stack([np.cos(half), np.sin(half)], -1)
    lower = arc * end_radius + joint + np.array([0, length])
    upper = -arc * start_radius + joint
    return fill([np.concatenate([lower, upper])], h, w), (float(joint[0]), float(joint[1]))


def soften(mask: Mask, sigma: float) -> Mask:
    """Feather the edge by `sigma` pixels, keeping the border at zero."""
    soft = cv2.GaussianBlur(mask, (0, 0), sigma)
    soft[[0, -1]] = 0
    soft[:, [0, -1]] = 0
    return soft
