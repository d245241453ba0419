"""Choosing points on the visible surfaces of a scene and following them exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.layers import PosedLayer
from training.data.synthetic.motion import Array
from training.data.synthetic.solids import PosedSolid

Posed = PosedLayer | PosedSolid

_EDGE = 1.0  # pixels that a point keeps from its own layer's silhouette
_RING = _EDGE * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)
_BORDER = 0.01  # pixels from the frame's border, so that rounding does not push a point out
_CANDIDATES_PER_POINT = 16
_FEWEST_CANDIDATES = 2400
_ROUNDS = 20


def topmost(layers: list[Posed], x: Array, frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the layer that is seen at screen points `x [M, 2]` in frames [M]."""
    owner = np.zeros(len(x), int)
    remaining = np.arange(len(x))
    for index in range(len(layers) - 1, 0, -1):
        hit = layers[index].covers(x[remaining], frame[remaining])
        owner[remaining[hit]] = index
        remaining = remaining[~hit]
    return owner


def clear_of_edges(
    layers: list[Posed], owner: NDArray[np.int64], x: Array, frame: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the owner's silhouette is a pixel or more from points `x [M, 2]` in frames [M]."""
    clear = np.empty(len(x), bool)
    for index in np.unique(owner):
        mine = owner == index
        ring = x[mine, None] + _RING
        clear[mine] = layers[index].covers(ring, frame[mine, None]).all(axis=1)
    return clear


def choose(owner: NDArray[np.int64], foreground: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """All candidates in a random order that favours the wanted share off the background and small layers.

    A layer weighs as the root of its area.
    """
    area = np.bincount(owner)
    weight = np.sqrt(area)
    if area[0] > 0 and weight[1:].sum() > 0:
        weight[0] = weight[1:].sum() * (1 - foreground) / max(foreground, 1e-6)
    # An exponential race is a weighted draw without replacement (Efraimidis and Spirakis).
    chance = (weight / np.maximum(area, 1))[owner]
    return np.argsort(rng.exponential(size=len(owner)) / np.maximum(chance, 1e-12))


def follow(
    layers: list[Posed], owner: NDArray[np.int64], p: Array, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Tracks xy [N, T, 2] and visibility [N, T] of surface points `p [N, ...]` on layers `owner [N]`."""
    frames = np.arange(len(layers[0].times))
    xy = np.empty((len(p), len(frames), 2))
    shown = np.ones(xy.shape[:2], bool)
    for index in np.unique(owner):
        mine, layer = owner == index, layers[index]
        xy[mine] = layer.to_screen(p[mine, : layer.coordinates])
        shown[mine] = layer.shows(p[mine, : layer.coordinates])
    height, width = size
    x, y = xy[..., 0], xy[..., 1]
    visible = shown & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    for index in range(1, len(layers)):
        below = np.flatnonzero(owner < index)
        if len(below):
            visible[below] &= ~layers[index].covers(xy[below], frames)
    return xy.astype(np.float32), visible


def sample_tracks(
    layers: list[Posed],
    size: tuple[int, int],
    count: int,
    foreground: float,
    first_frame: bool,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Exactly `count` tracks, each visible at least once (in the first frame if `first_frame`).

    Candidates are random screen points at random times, so that what is seen is what is sampled.
    """
    height, width = size
    tracks: list[NDArray[np.float32]] = []
    visibilities: list[NDArray[np.bool_]] = []
    missing = count
    for _ in range(_ROUNDS):
        total = max(_FEWEST_CANDIDATES, _CANDIDATES_PER_POINT * missing)
        x = _BORDER + rng.random((total, 2)) * (np.array([width, height]) - 2 * _BORDER)
        frame = np.zeros(total, int) if first_frame else rng.integers(len(layers[0].times), size=total)
        owner = topmost(layers, x, frame)
        chosen = choose(owner, foreground, rng)[: 2 * missing]
        chosen = chosen[clear_of_edges(layers, owner[chosen], x[chosen], frame[chosen])][:missing]
        p = np.zeros((len(chosen), max(layer.coordinates for layer in layers)))
        for index in np.unique(owner[chosen]):
            mine, layer = owner[chosen] == index, layers[index]
            p[mine, : layer.coordinates] = layer.to_texture(x[chosen][mine], frame[chosen][mine])
        xy, visible = follow(layers, owner[chosen], p, size)
        # A hair's breadth from an occluder's edge, rounding may have turned the verdict.
        kept = visible[np.arange(len(chosen)), frame[chosen]]
        tracks.append(xy[kept])
        visibilities.append(visible[kept])
        missing -= int(kept.sum())
        if missing == 0:
            break
    else:
        raise RuntimeError(f"found only {count - missing} of {count} points to track; the layers leave too little room")
    order = rng.permutation(count)
    return np.concatenate(tracks)[order], np.concatenate(visibilities)[order]
