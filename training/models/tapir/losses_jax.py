"""TAPIR's training losses in JAX (arXiv:2306.08637, section 3.4), on errors at 256x256 whatever the clip's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from optax.losses import sigmoid_binary_cross_entropy

from training.models.layers.modules_jax import coarse_convs, huber
from training.models.layers.sampling_jax import tent
from training.models.tapir.jax import Estimate, Grids, Query, Tapir

LOSS_SIZE = 256
HUBER_DELTA = 4.0
"""Pixels at 256x256 beyond which the position loss grows linearly."""
EXPECTED_DIST = 6.0
"""Pixels at 256x256 beyond which an estimate counts as wrong for `expected_dist`."""
POSITION_WEIGHT = 0.05
MATCH_TEMPERATURE = 20.0


def batch_losses(model: Tapir, batch: Mapping[str, Array], mixed_precision: bool) -> dict[str, Array]:
    """Mean losses over a batch, by name: of every estimate, of the heatmap and of the features alone.

    Args:
        model: of the resolution of the batch's video.
        batch: video [B, T, H, W, 3] in [-1, 1], queries_tyx [B, N, 3], xy and previous [B, T, N, 2], visible
            [B, T, N]; positions in pixels of the video; known [B, T, N], where `visible` is known.
        mixed_precision: the encoder's convolutions, which are most of the arithmetic, compute in bfloat16.
    """
    video, xy, visible, known = (batch[name] for name in ("video", "xy", "visible", "known"))
    size = video.shape[2:4]
    if mixed_precision:
        model = _with_coarse_encoder(model)
    grids = model.feature_grids(video)
    queries = model.clip_queries(grids, batch["queries_tyx"], size)
    previous = batch["previous"] if model.config.motion_prior else None
    estimates, _, heatmap = model.trajectories(grids, queries, previous=previous)
    parts = [estimate_loss(estimate, xy, visible, size, occlusion_mask=known) for estimate in estimates]
    losses = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
    losses["heatmap"] = cell_cross_entropy(heatmap, xy, visible, size)
    losses["match"] = cell_cross_entropy(match_logits(grids[0], queries[0]), xy, visible, size)
    return losses


def estimate_loss(
    estimate: Estimate,
    xy: Array,
    visible: Array,
    size: Sequence[int],
    mask: Array | None = None,
    rebalance: float | None = None,
    occlusion_mask: Array | None = None,
    *,
    huber_delta: float = HUBER_DELTA,
    expected_dist: float = EXPECTED_DIST,
    position_weight: float = POSITION_WEIGHT,
) -> dict[str, Array]:
    """Losses of one estimate (of one refinement iteration) against true tracks.

    Args:
        estimate: [B, T, N, ...] in pixels of frames of `size` (height, width).
        xy, visible: [B, T, N, 2] and [B, T, N], true positions in the same pixels.
        mask: [B, T, N], which points count in which frames, 1 or 0; the others still count among those that a mean is
            taken over. None: all.
        rebalance: by how much more than a hidden point a visible one counts for occlusion; None: as much.
        occlusion_mask: [B, T, N], as `mask`, for occlusion alone.
        huber_delta, expected_dist, position_weight: in place of this module's.
    Returns:
        position (Huber, visible frames), occlusion and expected_dist (sigmoid cross-entropy); means over all frames.
    """
    scale = jnp.array([LOSS_SIZE / size[1], LOSS_SIZE / size[0]])
    seen = visible.astype(jnp.float32)
    squared = jnp.square((estimate.xy.astype(jnp.float32) - xy) * scale).sum(-1)
    wrong = (jax.lax.stop_gradient(squared) > expected_dist**2).astype(jnp.float32)
    uncertain = sigmoid_binary_cross_entropy(estimate.expected_dist.astype(jnp.float32), wrong)
    hidden = sigmoid_binary_cross_entropy(estimate.occlusion.astype(jnp.float32), 1 - seen)
    if rebalance is not None:
        hidden = hidden * (1 + rebalance * seen)
    if occlusion_mask is not None:
        hidden = hidden * occlusion_mask
    parts = {
        "position": position_weight * huber(squared, huber_delta) * seen,
        "occlusion": hidden,
        "expected_dist": uncertain * seen,
    }
    return {name: (part if mask is None else part * mask).mean() for name, part in parts.items()}


def cell_cross_entropy(logits: Array, xy: Array, visible: Array, size: Sequence[int]) -> Array:
    """Cross-entropy of a heatmap against the true position, shared between the four cells around it.

    Args:
        logits: [B, T, N, h, w] over the cells of a grid on frames of `size` (height, width).
        xy, visible: [B, T, N, 2] and [B, T, N], true positions in pixels of those frames.
    """
    height, width = logits.shape[-2:]
    cells = xy * jnp.array([width / size[1], height / size[0]])
    rows = tent(cells[..., 1].clip(0.5, height - 0.5), height)
    columns = tent(cells[..., 0].clip(0.5, width - 0.5), width)
    log_share = jax.nn.log_softmax(logits.astype(jnp.float32), (-2, -1))
    target = rows[..., :, None] * columns[..., None, :]
    entropy = -(target * log_share).sum((-1, -2))
    return (entropy * visible).sum() / jnp.maximum(visible.sum(), 1)


def match_logits(grids: Grids, query: Query) -> Array:
    """A heatmap [B, T, N, H, W] of the high-resolution features alone.

    Training on it asks the features themselves to single out the true cell, before any head interprets them.
    """
    batch, frames, height, width, channels = grids.high.shape
    cells = grids.high.reshape(batch, frames, height * width, channels)
    scores = query.high[:, None] @ cells.swapaxes(-1, -2)
    return MATCH_TEMPERATURE * scores.reshape(batch, frames, -1, height, width)


def _with_coarse_encoder(model: Tapir) -> Tapir:
    def parts(tapir: Tapir) -> tuple[object, ...]:
        return tapir.resnet, tapir.lite, tapir.extra_convs

    return eqx.tree_at(parts, model, coarse_convs(parts(model)), is_leaf=lambda part: part is None)
