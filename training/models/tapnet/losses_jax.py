"""TAP-Net's training losses in JAX (arXiv:2211.03726, section 4.2), on errors at 256x256 whatever the clip's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from optax.losses import sigmoid_binary_cross_entropy

from training.models.family import MOVED
from training.models.layers.modules_jax import Moved, coarse_convs, huber, running_means
from training.models.tapnet.jax import Estimate, Tapnet

LOSS_SIZE = 256
HUBER_DELTA = 4.0
"""Pixels at 256x256 beyond which the position loss grows linearly."""
POSITION_WEIGHT = 0.05


def batch_losses(model: Tapnet, batch: Mapping[str, Array], mixed_precision: bool) -> dict[str, Any]:
    """Mean losses over a batch, by name; under MOVED the running means as it moves them.

    Args:
        batch: video [B, T, H, W, 3] in [-1, 1], queries_tyx [B, N, 3], xy [B, T, N, 2], visible [B, T, N]; positions
            in pixels of the video; known [B, T, N], where `visible` is known.
        mixed_precision: the encoder's convolutions, which are most of the arithmetic, compute in bfloat16.
    """
    video, size = batch["video"], batch["video"].shape[2:4]
    working = eqx.tree_at(lambda m: m.encoder, model, coarse_convs(model.encoder)) if mixed_precision else model
    moved: Moved = []
    estimate = working.trajectories(working.encode(video, moved), batch["queries_tyx"], size)
    losses = estimate_loss(estimate, batch["xy"], batch["visible"], size, batch["known"])
    return {**losses, MOVED: running_means(model, moved)}


def estimate_loss(
    estimate: Estimate, xy: Array, visible: Array, size: Sequence[int], known: Array | None = None
) -> dict[str, Array]:
    """Losses of estimates against true tracks.

    Args:
        estimate: [B, T, N, ...] in pixels of frames of `size` (height, width).
        xy, visible: [B, T, N, 2] and [B, T, N], true positions in the same pixels.
        known: [B, T, N], where `visible` is known; None: everywhere.
    Returns:
        position (Huber, visible frames) and occlusion (sigmoid cross-entropy); means over all frames.
    """
    scale = jnp.array([LOSS_SIZE / size[1], LOSS_SIZE / size[0]])
    seen = visible.astype(jnp.float32)
    squared = jnp.square((estimate.xy.astype(jnp.float32) - xy) * scale).sum(-1)
    hidden = sigmoid_binary_cross_entropy(estimate.occlusion.astype(jnp.float32), 1 - seen)
    return {
        "position": POSITION_WEIGHT * (huber(squared, HUBER_DELTA) * seen).mean(),
        "occlusion": (hidden if known is None else hidden * known).mean(),
    }
