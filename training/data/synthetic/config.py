"""What synthetic clips are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.textures import PHOTOGRAPH_SIDE, list_photographs, random_bare, random_texture

SCENES = ("free", "returns")
"""Kinds of scenes; `training.data.synthetic.scene` has a function for each."""
FIGURES = ("animal", "person", "hand", "thing")
"""Kinds of solid figures; `training.data.synthetic.figures` has a function for each."""


@dataclass(frozen=True)
class SceneConfig:
    """What clips look like. A field named after an effect is the probability that a clip or a layer has it.

    query: "random" asks for each point at any frame where it is visible, "first" at the first such frame,
        "frame0" samples points that are visible in frame 0 and asks for them there.
    scenes: the share of each kind of scene, see SCENES: "free" objects under one camera, or points that are gone for
        long and come back ("returns").
    figures: likewise the share of each kind of solid figure, see FIGURES.
    textures: a folder of photographs; None leaves procedural textures only.
    split: which photographs; a tenth, picked by file name, is held out.
    layers: fewest and most free objects, beside the background and the creatures.
    foreground: the share of points on anything but the background.
    """

    height: int = 128
    width: int = 128
    frames: int = 16
    points: int = 48
    query: Literal["random", "first", "frame0"] = "random"
    scenes: Mapping[str, float] = field(default_factory=lambda: {"free": 1.0})
    textures: str | None = None
    split: Literal["train", "heldout", "all"] = "train"
    photo_share: float = 0.7  # of layers, when there is a folder
    layers: tuple[int, int] = (3, 9)
    creatures: float = 0.55
    solid: float = 0.0  # share of creatures that are solid figures, not flat ones
    figures: Mapping[str, float] = field(
        default_factory=lambda: {"animal": 0.45, "person": 0.2, "hand": 0.1, "thing": 0.25}
    )
    bare: float = 0.0  # of backgrounds and objects: no texture at all
    dim: float = 0.0  # too little light: dark, and noisy
    foreground: float = 0.65
    motion: float = 1.0  # scales all speeds
    camera: float = 1.0  # scales the camera's
    rolling: float = 0.0  # of cameras: it turns about the line of sight, as far as it likes
    deformation: float = 0.5
    camouflage: float = 0.15
    motion_blur: float = 0.3
    shadows: float = 0.4
    lighting: float = 0.5
    colour: float = 0.6
    defocus: float = 0.15
    noise: float = 0.4
    jpeg: float = 0.3
    jpeg_quality: tuple[int, int] = (30, 95)
    greyscale: float = 0.05
    channel_shuffle: float = 0.1
    flip: float = 0.5
    reverse: float = 0.3

    def __post_init__(self) -> None:
        for name, least in (("height", 16), ("width", 16), ("frames", 1), ("points", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.query not in ("random", "first", "frame0"):
            raise ValueError(f'query is {self.query!r}; allowed: "random", "first", "frame0"')
        for name, kinds in (("scenes", SCENES), ("figures", FIGURES)):
            shares = dict(getattr(self, name))
            if not set(shares) <= set(kinds) or min(shares.values(), default=0) < 0 or sum(shares.values()) <= 0:
                raise ValueError(f"{name} is {shares}; give the shares, some above 0, of any of {', '.join(kinds)}")
        if not 0 <= self.layers[0] <= self.layers[1]:
            raise ValueError(f"layers is {self.layers}; it must be (fewest, most) with 0 <= fewest <= most")

    @property
    def side(self) -> float:
        """The shorter side of the frame in pixels: the unit of sizes and speeds."""
        return float(min(self.height, self.width))

    def scene(self, rng: np.random.Generator) -> str:
        """A kind of scene."""
        return _drawn(rng, self.scenes)

    def figure(self, rng: np.random.Generator) -> str:
        """A kind of solid figure."""
        return _drawn(rng, self.figures)

    def without_appearance(self) -> SceneConfig:
        """The same scenes with constant colours: no motion blur, light, shadow, noise or compression."""
        odds = ("motion_blur", "shadows", "lighting", "colour", "defocus", "noise", "jpeg", "greyscale", "dim")
        return replace(self, channel_shuffle=0.0, **dict.fromkeys(odds, 0.0))

    def texture(self, rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
        """A random texture [height, width, 3] of the kinds that the config allows."""
        photographs = () if self.textures is None else list_photographs(self.textures, self.split)
        # As many pixels for each of the frame's as at 256x256, whose photographs have PHOTOGRAPH_SIDE.
        side = max(PHOTOGRAPH_SIDE, 15 * max(self.height, self.width) // 8)
        texture = random_texture(rng, photographs, self.photo_share, height, width, side)
        return random_bare(rng, texture) if self.bare and rng.random() < self.bare else texture


def _drawn(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """One of the names; nothing is drawn where there is no choice."""
    names = [name for name, share in shares.items() if share]
    odds = np.array([shares[name] for name in names])
    return names[0] if len(names) == 1 else str(rng.choice(names, p=odds / odds.sum()))
