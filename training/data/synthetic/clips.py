"""Synthetic clips with exact point tracks: textured layers that move, bend and hide one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.labelled_video import LabelledVideo
from training.data.synthetic.appearance import Appearance
from training.data.synthetic.config import SceneConfig
from training.data.synthetic.layers import Layer, PosedLayer
from training.data.synthetic.rendering import Exposure
from training.data.synthetic.sampling import Posed, sample_tracks
from training.data.synthetic.scene import random_scene
from training.data.synthetic.solid_rendering import SolidExposure
from training.data.synthetic.solids import PosedSolid, Solid

EVALUATION_SEED = 1_000_000
VALIDATION_SEED = 2_000_000
"""First seeds of held-out clips, for what is reported and for watching a run. Training draws 32-bit seeds at random."""

POSED: dict[type, Any] = {Layer: PosedLayer, Solid: PosedSolid}
EXPOSURES: dict[type, Any] = {PosedLayer: Exposure, PosedSolid: SolidExposure}
"""How each kind of layer is followed through the frames, and drawn."""


def render(
    layers: list[Posed],
    size: tuple[int, int],
    shutter: float,
    appearance: Appearance,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Frames [T, H, W, 3] of the layers, given from back to front."""
    times = layers[0].times
    frames = np.empty((len(times), *size, 3), np.uint8)
    canvas = np.empty((*size, 4), np.uint8)
    exposures = [EXPOSURES[type(layer)](layer, shutter, size) for layer in layers]
    for index, t in enumerate(times):
        for exposure in exposures:
            exposure.draw(canvas, index)
        frames[index] = appearance.apply(cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB), float(t), rng)
    return frames


def _queries(
    config: SceneConfig, xy: NDArray[np.float32], visible: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    if config.query == "random":
        frame = np.where(visible, rng.random(visible.shape), -1).argmax(axis=1)
    else:
        frame = visible.argmax(axis=1)
    at = xy[np.arange(len(xy)), frame]
    return np.concatenate([frame[:, None], at], axis=1).astype(np.float32)


def make_clip(config: SceneConfig, seed: int) -> LabelledVideo:
    """The clip that `config` and `seed` determine."""
    scene_rng, look_rng, point_rng = _streams(seed)
    layers, is_flipped = _posed(config, scene_rng)
    shutter = look_rng.uniform(0.3, 0.9) if look_rng.random() < config.motion_blur else 0.0
    appearance = Appearance.random(look_rng, config)
    frames = render(layers, (config.height, config.width), shutter, appearance, look_rng)
    if is_flipped:
        frames = np.ascontiguousarray(frames[:, :, ::-1])
    return LabelledVideo(frames, *_tracks(config, layers, is_flipped, point_rng))


def make_tracks(config: SceneConfig, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """xy [N, T, 2], visible [N, T] and queries [N, 3] of `make_clip`, of which nothing is drawn."""
    scene_rng, _, point_rng = _streams(seed)
    return _tracks(config, *_posed(config, scene_rng), point_rng)


def _streams(seed: int) -> list[np.random.Generator]:
    """For scene, look and points: changing an effect of appearance leaves the scene and the points as they were."""
    return [np.random.default_rng([seed, stream]) for stream in range(3)]


def _posed(config: SceneConfig, rng: np.random.Generator) -> tuple[list[Posed], bool]:
    """A random scene, its layers from back to front in every frame, and whether left and right change places."""
    scene = random_scene(rng, config)
    times = np.arange(config.frames, dtype=np.float64)
    is_reversed, is_flipped = rng.random(2) < (config.reverse, config.flip)
    if is_reversed:
        times = times[::-1].copy()
    return [POSED[type(layer)].of(layer, times) for layer in scene], bool(is_flipped)


def _tracks(
    config: SceneConfig, layers: list[Posed], is_flipped: bool, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    size = (config.height, config.width)
    xy, visible = sample_tracks(layers, size, config.points, config.foreground, config.query == "frame0", rng)
    if is_flipped:
        xy[..., 0] = config.width - xy[..., 0]
    return xy, visible, _queries(config, xy, visible, rng)


def held_out(config: SceneConfig, count: int, seed: int = EVALUATION_SEED) -> Iterator[LabelledVideo]:
    """Clips that nothing was trained on, the same every time: of `count` seeds from `seed` on.

    Their photographs are those that training leaves out. Raises ValueError where the folder has none.
    """
    config = replace(config, split="heldout")
    return (make_clip(config, seed + index) for index in range(count))
