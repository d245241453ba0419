"""What synthetic clips are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.textures import list_photographs, random_texture


@dataclass(frozen=True)
class SceneConfig:
    """What clips look like. A field named after an effect is the probability that a clip or a layer has it.

    query: "random" asks for each point at any frame where it is visible, "first" at the first such frame,
        "frame0" samples points that are visible in frame 0 and asks for them there.
    scene: "free" objects under one camera, or points that are gone for long and "return" (`synthetic.returns`).
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
    scene: Literal["free", "return"] = "free"
    textures: str | None = None
    split: Literal["train", "heldout", "all"] = "train"
    photo_share: float = 0.7  # of layers, when there is a folder
    layers: tuple[int, int] = (3, 9)
    creatures: float = 0.55
    foreground: float = 0.65
    motion: float = 1.0  # scales all speeds
    camera: float = 1.0  # scales the camera's
    deformation: float = 0.5
    camouflage: float = 0.15
    motion_blur: float = 0.3
    shadows: float = 0.4
    lighting: float = 0.5
    colour: float = 0.6
    defocus: float = 0.15
    noise: float = 0.4
    jpeg: float = 0.3
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
        if self.scene not in ("free", "return"):
            raise ValueError(f'scene is {self.scene!r}; allowed: "free", "return"')
        if not 0 <= self.layers[0] <= self.layers[1]:
            raise ValueError(f"layers is {self.layers}; it must be (fewest, most) with 0 <= fewest <= most")

    @property
    def side(self) -> float:
        """The shorter side of the frame in pixels: the unit of sizes and speeds."""
        return float(min(self.height, self.width))

    def without_appearance(self) -> SceneConfig:
        """The same scenes with constant colours: no motion blur, light, shadow, noise or compression."""
        odds = ("motion_blur", "shadows", "lighting", "colour", "defocus", "noise", "jpeg", "greyscale")
        return replace(self, channel_shuffle=0.0, **dict.fromkeys(odds, 0.0))

    def texture(self, rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
        """A random texture [height, width, 3] of the kinds that the config allows."""
        photographs = () if self.textures is None else list_photographs(self.textures, self.split)
        return random_texture(rng, photographs, self.photo_share, height, width)
