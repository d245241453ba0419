"""A TRAJAN as small as shows everything at work, in either framework, from numpy to numpy."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.training.models.frameworks import spread
from training.models.trajan.config import TrajanConfig

SMALL = TrajanConfig(
    frames=6,
    frequencies=4,
    heads=2,
    head_width=4,
    track_transformer=(12, 1, 16),
    latent_transformer=(16, 2, 16),
    latents=5,
    channels=3,
    decompress_transformer=(20, 1, 16),
    readout_transformer=(28, 2, 16),
    window_step=3,
)


def small(framework: str) -> Any:
    """The model; skips where the framework is not installed."""
    for package in {"torch": ("torch",), "jax": ("jax", "equinox")}[framework]:
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[train,jax]'")
    return _made(framework)


@cache
def _made(framework: str) -> Any:
    if framework == "torch":
        import torch

        from training.models.trajan.torch import Trajan

        model = Trajan(SMALL).eval().requires_grad_(False)
        weights = spread(dict(sorted(model.state_dict().items())))
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        return model
    import equinox
    import jax

    from training.models.layers.modules_jax import named_parameters
    from training.models.trajan.jax import Trajan as JaxTrajan

    skeleton = equinox.filter_eval_shape(JaxTrajan, SMALL, jax.random.key(0))
    return JaxTrajan.from_weights(SMALL, spread(dict(sorted(named_parameters(skeleton).items()))))


def some_tracks(videos: int = 2, points: int = 4, frames: int = 5, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Tracks [B, S, T, 2] in [0, 1], visible [B, S, T], of which no track is without any, and frames [B]."""
    rng = np.random.default_rng(seed)
    tracks = rng.random((videos, points, frames, 2), np.float32)
    visible = rng.random((videos, points, frames)) < 0.7
    visible[..., 1] = True
    return tracks, visible, np.full(videos, frames)


def some_queries(videos: int = 2, points: int = 4, seed: int = 0) -> np.ndarray:
    """[B, Q, 3], the last of each video in the model's last frame."""
    queries = np.random.default_rng(seed).random((videos, points, 3), np.float32)
    queries[..., 0] = np.floor(queries[..., 0] * SMALL.frames)
    queries[:, -1:, 0] = SMALL.frames - 1
    return queries


def some_latents(videos: int = 2, seed: int = 0) -> np.ndarray:
    """[B, latents, channels], some of them beyond 1."""
    shape = (videos, SMALL.latents, SMALL.channels)
    return np.random.default_rng(seed).uniform(-1.2, 1.2, shape).astype(np.float32)


def decoded(model: Any, *arguments: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in model.decode(*arguments).items()}
