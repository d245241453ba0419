"""Textures: crops of photographs and procedural patterns, uint8 RGB."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tapsdk.system.reading import reading
from training.data.errors import DatasetError

Image = NDArray[np.uint8]

PHOTOGRAPH_SIDE = 480
"""Pixels of the longer side at which a photograph stays in memory, 0.5 MB, unless more are asked for."""
_PHOTOGRAPH_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def is_held_out(name: str) -> bool:
    """Whether a photograph belongs to the held-out tenth; decided by its file name alone."""
    return zlib.crc32(name.encode()) % 10 == 0


@lru_cache(maxsize=16)
def list_photographs(folder: str, split: str) -> tuple[str, ...]:
    """Sorted paths of the photographs of `split` ("train", "heldout" or "all") in `folder`."""
    if split not in ("train", "heldout", "all"):
        raise ValueError(f'split is {split!r}; allowed: "train", "heldout", "all"')
    paths = [p for p in sorted(Path(folder).glob("*")) if p.suffix.lower() in _PHOTOGRAPH_SUFFIXES]
    if split != "all":
        paths = [p for p in paths if is_held_out(p.name) == (split == "heldout")]
    if not paths:
        raise ValueError(f"no photographs ({', '.join(sorted(_PHOTOGRAPH_SUFFIXES))}) for split {split!r} in {folder}")
    return tuple(str(p) for p in paths)


@lru_cache(maxsize=512)
def _photograph(path: str, side: int) -> Image:
    with reading(path, "is not a photograph", DatasetError):
        image = cv2.imread(path, cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError("it cannot be decoded")
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def photograph_crop(
    rng: np.random.Generator, paths: tuple[str, ...], height: int, width: int, side: int = PHOTOGRAPH_SIDE
) -> Image:
    """A random crop of a random photograph, turned, flipped and resized to [height, width, 3].

    side: the most pixels of the photograph's longer side.
    """
    image = _photograph(paths[int(rng.integers(len(paths)))], side)
    image = np.rot90(image, int(rng.choice([0, 0, 1, 3])))
    if rng.random() < 0.5:
        image = image[:, ::-1]
    h, w = image.shape[:2]
    largest = min(h / height, w / width)
    zoom = largest * rng.uniform(0.35, 1.0)
    # Crops smaller than the target would only be blurred enlargements.
    zoom = min(max(zoom, 0.6), largest)
    ch, cw = max(2, int(height * zoom)), max(2, int(width * zoom))
    y, x = int(rng.integers(h - ch + 1)), int(rng.integers(w - cw + 1))
    crop = np.ascontiguousarray(image[y : y + ch, x : x + cw])
    method = cv2.INTER_AREA if zoom > 1 else cv2.INTER_LINEAR
    return cv2.resize(crop, (width, height), interpolation=method)


def _noise(rng: np.random.Generator, height: int, width: int, cell_y: float, cell_x: float) -> NDArray[np.float32]:
    """Smooth noise with cells of the given size, about in [-1, 1]."""
    grid = rng.uniform(-1, 1, (max(2, round(height / cell_y) + 1), max(2, round(width / cell_x) + 1)))
    return cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def _octaves(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    cell = max(height, width) * rng.uniform(0.15, 0.5)
    persistence = rng.uniform(0.4, 0.85)
    level, total = 1.0, np.zeros((height, width), np.float32)
    while cell > 1.5:
        total += level * _noise(rng, height, width, cell, cell)
        level, cell = level * persistence, cell / 2
    return total


def _coordinates(rng: np.random.Generator, height: int, width: int) -> tuple[NDArray, NDArray]:
    """A turned and gently warped coordinate grid, so that regular patterns are not quite regular."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    warp = rng.uniform(0, 0.08) * max(height, width)
    x += warp * _noise(rng, height, width, height / 2, width / 2)
    y += warp * _noise(rng, height, width, height / 2, width / 2)
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _stripes(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    x, _ = _coordinates(rng, height, width)
    return np.clip(np.sin(x * 2 * np.pi / rng.uniform(6, 32)) * rng.uniform(1, 5), -1, 1)


def _checks(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    x, y = _coordinates(rng, height, width)
    period = 2 * np.pi / rng.uniform(8, 36)
    return np.clip(np.sin(x * period) * np.sin(y * period) * rng.uniform(2, 8), -1, 1)


def _cells(rng: np.random.Generator, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    count = max(4, int(height * width / rng.uniform(80, 900)))
    seeds = np.full((height, width), 255, np.uint8)
    seeds[rng.integers(height, size=count), rng.integers(width, size=count)] = 0
    return cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)


def _spots(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    distance, _ = _cells(rng, height, width)
    return np.clip((distance - rng.uniform(2, 6)) / rng.uniform(0.7, 4), -1, 1)


def _voronoi(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    distance, label = _cells(rng, height, width)
    shade = rng.uniform(-1, 1, int(label.max()) + 1).astype(np.float32)[label]
    return cv2.GaussianBlur(shade, (0, 0), 0.7) - rng.uniform(0, 0.04) * distance


def _fur(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Short strands that follow a slowly turning direction."""
    side = int(1.3 * np.hypot(height, width)) + 8
    thickness, length = rng.uniform(1.2, 2.5), rng.uniform(6, 16)
    strands = _noise(rng, side, side, thickness, length) + 0.5 * _noise(rng, side, side, 2 * thickness, length)
    x, y = _coordinates(rng, height, width)
    curl = rng.uniform(0.02, 0.1) * side
    x = x + curl * _noise(rng, height, width, height / 2, width / 2) - x.mean() + side / 2
    y = y + curl * _noise(rng, height, width, height / 2, width / 2) - y.mean() + side / 2
    strands = cv2.remap(
        strands, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return 0.6 * strands + rng.uniform(0.2, 1) * _noise(rng, height, width, height / 3, width / 3)


def _gradient(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    x, _ = _coordinates(rng, height, width)
    return (x - x.mean()) / (np.abs(x - x.mean()).max() + 1e-6) + 0.1 * _octaves(rng, height, width)


_PATTERNS: dict[str, tuple[float, Callable[[np.random.Generator, int, int], NDArray[np.float32]]]] = {
    "octaves": (0.3, _octaves),
    "fur": (0.25, _fur),
    "stripes": (0.08, _stripes),
    "checks": (0.07, _checks),
    "spots": (0.09, _spots),
    "voronoi": (0.11, _voronoi),
    "gradient": (0.1, _gradient),
}


def pattern(rng: np.random.Generator, height: int, width: int, kind: str | None = None) -> Image:
    """A procedural texture [height, width, 3]: a pattern between two hues, finer variation on top."""
    if kind is None:
        names = list(_PATTERNS)
        kind = str(rng.choice(names, p=[_PATTERNS[n][0] for n in names]))
    value = _PATTERNS[kind][1](rng, height, width)
    value = (value - value.min()) / (float(np.ptp(value)) + 1e-6)
    dark, light = np.sort(rng.uniform(10, 245, (2, 1)) + rng.normal(0, 45, (2, 3)), axis=0).astype(np.float32)
    image = dark + value[..., None] * (light - dark)
    if rng.random() < 0.6:
        image += (rng.uniform(4, 30) * _octaves(rng, height, width))[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def jitter_colour(rng: np.random.Generator, image: Image, strength: float) -> Image:
    """Random contrast, brightness, channel gains and saturation."""
    gain = np.exp(rng.normal(0, 0.25 * strength)) * np.exp(rng.normal(0, 0.12 * strength, 3))
    bias = rng.normal(0, 18 * strength)
    saturation = np.clip(1 + rng.normal(0, 0.35 * strength), 0, 2)
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    matrix = np.concatenate([gain[:, None] * mix, (128 * (1 - gain) + bias)[:, None]], axis=1)
    return cv2.transform(image, matrix)


def roughen(rng: np.random.Generator, image: Image, strength: float) -> Image:
    """Fine grain of up to `strength` grey levels: something to hold on to where a photograph is flat."""
    h, w = image.shape[:2]
    cell = rng.uniform(1.2, 3.0)
    grain = rng.uniform(0.2, 1.0) * strength * (_noise(rng, h, w, cell, cell) + _noise(rng, h, w, 3 * cell, 3 * cell))
    return cv2.add(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U)


def random_texture(
    rng: np.random.Generator,
    photographs: tuple[str, ...],
    photo_share: float,
    height: int,
    width: int,
    side: int = PHOTOGRAPH_SIDE,
) -> Image:
    """A texture [height, width, 3]: a photograph with probability `photo_share`, otherwise a pattern.

    side: as in `photograph_crop`.
    """
    if photographs and rng.random() < photo_share:
        image = photograph_crop(rng, photographs, height, width, side)
        if rng.random() < 0.35:
            image = roughen(rng, image, 25.0)
    else:
        image = pattern(rng, height, width)
    return jitter_colour(rng, image, 1.0)


def random_bare(rng: np.random.Generator, image: Image) -> Image:
    """The image with nothing on it, or on a tilted part of it, but one colour that gets lighter to one side."""
    height, width = image.shape[:2]
    slope = rng.uniform(-40, 40) * np.linspace(-0.5, 0.5, width)[None, :, None]
    plain = np.clip(rng.uniform(30, 225, 3) + slope + np.zeros((height, 1, 1)), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        return plain
    sides = rng.uniform(0.3, 0.9, 2) * (width, height)
    middle = rng.uniform(0.2, 0.8, 2) * (width, height)
    corners = cv2.boxPoints((tuple(middle), tuple(sides), float(rng.uniform(0, 90))))
    mask = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), corners.astype(np.int32), 1)
    return np.where(mask[..., None] > 0, plain, image)
