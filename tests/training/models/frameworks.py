"""What tests of both frameworks share: one model twice, on the same weights and inputs."""

from __future__ import annotations

from typing import Any

import numpy as np


def random_clip(batch: int, frames: int, height: int, width: int, points: int, seed: int = 0) -> tuple[Any, Any]:
    """A video [B, T, H, W, 3] in [-1, 1] and queries [B, N, 3] (t, y, x), one of them on a corner; float32."""
    rng = np.random.default_rng(seed)
    video = rng.uniform(-1, 1, (batch, frames, height, width, 3)).astype(np.float32)
    queries = rng.uniform(0, (frames, height, width), (batch, points, 3)).astype(np.float32)
    queries[..., 0] = np.floor(queries[..., 0])
    queries[0, :1] = 0, 0, width
    return video, queries


def spread(state: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights with the names and shapes of a torch state_dict under which every parameter matters."""
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        fan_in = max(1, int(np.prod(shape[1:])))
        return (rng.standard_normal(shape) * (fan_in**-0.5 if len(shape) > 1 else 0.3)).astype(np.float32)

    return {name: draw(tuple(tensor.shape)) for name, tensor in state.items()}
