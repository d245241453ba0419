"""Videos with true tracks, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import SceneConfig, make_clip

HELD_OUT_SEED = 1_000_000
"""Training draws 32-bit seeds at random; evaluation counts up from here."""


@dataclass(frozen=True)
class Sample:
    """A video to be tracked, and what is true of it."""

    name: str
    frames: NDArray[np.uint8]
    """[T, H, W, 3]"""
    queries: NDArray[np.float32]
    """[N, 3] (t, x, y) in pixels"""
    xy: NDArray[np.float32]
    """[N, T, 2] in pixels"""
    visible: NDArray[np.bool_]
    """[N, T]"""


def synthetic(textures: str | None, videos: int = 30) -> Iterator[Sample]:
    """Generated clips of 24 frames at 256x256 with fixed seeds, on photographs that training leaves out."""
    config = SceneConfig(256, 256, frames=24, points=64, query="first", textures=textures, split="heldout")
    for index in range(videos):
        clip = make_clip(config, HELD_OUT_SEED + index)
        yield Sample(f"synthetic-{index:03d}", clip.frames, clip.queries, clip.xy, clip.visible)


DATASETS: dict[str, Callable[[str | None], Iterator[Sample]]] = {"synthetic": synthetic}
"""By name: a function of the folder that the dataset needs."""
