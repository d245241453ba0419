"""TAPNext's training losses in JAX, in the model's space whatever the clip's size (arXiv:2504.05579, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array

HUBER_DELTA = 1.0
"""Bins beyond which the position loss grows linearly."""
POSITION_WEIGHT = 0.1
CERTAIN = 1.0
"""Bins within which an estimate counts as certain."""


def tapnext_losses(
    outputs: Mapping[str, Array], xy: Array, visible: Array, queries_tyx: Array, size: Sequence[int]
) -> dict[str, Array]:
    """Losses of a clip against true tracks; frames before a query, of which the model knows nothing, do not count.

    Args:
        outputs: of `Tapnext.clip`, for frames of `size` (height, width).
        xy, visible: [B, N, T, 2] and [B, N, T], true positions in pixels of those frames.
        queries_tyx: [B, N, 3], what the model was given.
    Returns:
        coordinate (cross-entropy of the bins, visible frames), position (Huber, visible frames) and visibility
        (sigmoid cross-entropy); their sum is TAPNext's loss.
    """
    bins = outputs["coordinate_logits"].shape[-1]
    scale = jnp.array([bins / size[1], bins / size[0]])
    known = jnp.arange(xy.shape[2]) >= queries_tyx[..., :1].round()
    seen = known & visible.astype(bool)
    tracks, target = outputs["tracks"].astype(jnp.float32) * scale, (xy * scale).clip(0.5, bins - 0.5)
    return {
        "coordinate": coordinate_loss(outputs["coordinate_logits"], target, seen),
        "position": POSITION_WEIGHT * position_loss(tracks, target, seen),
        "visibility": visibility_loss(outputs["visible_logits"], visible, known),
    }


def coordinate_loss(logits: Array, xy: Array, seen: Array) -> Array:
    """Cross-entropy of logits [..., 2, bins] against the bins of xy [..., 2], over both axes, where seen [...]."""
    label = (xy - 0.5).round().astype(jnp.int32)
    log_share = jax.nn.log_softmax(logits.astype(jnp.float32))
    return _mean(-jnp.take_along_axis(log_share, label[..., None], -1)[..., 0].sum(-1), seen)


def position_loss(tracks: Array, xy: Array, seen: Array) -> Array:
    """Huber loss of the distance between tracks [..., 2] and xy [..., 2], where seen [...]."""
    squared = jnp.square(tracks - xy).sum(-1)
    distance = jnp.sqrt(squared + 1e-12)
    huber = jnp.where(distance < HUBER_DELTA, squared / 2, HUBER_DELTA * (distance - HUBER_DELTA / 2))
    return _mean(huber, seen)


def visibility_loss(logits: Array, visible: Array, known: Array) -> Array:
    """Sigmoid cross-entropy of logits [...] against visible [...], where known [...]."""
    return _mean(_binary_cross_entropy(logits.astype(jnp.float32), visible), known)


def certainty_loss(logits: Array, tracks: Array, xy: Array, seen: Array) -> Array:
    """Sigmoid cross-entropy of logits [...] against whether tracks [..., 2] are near xy [..., 2], where seen [...].

    For a head that says how far its estimates can be trusted; the published models have none.
    """
    certain = jnp.square(jax.lax.stop_gradient(tracks) - xy).sum(-1) <= CERTAIN**2
    return _mean(_binary_cross_entropy(logits.astype(jnp.float32), certain), seen)


def _binary_cross_entropy(logits: Array, target: Array) -> Array:
    return jax.nn.softplus(logits) - logits * target


def _mean(values: Array, where: Array) -> Array:
    where = where.astype(jnp.float32)
    return (values * where).sum() / jnp.maximum(where.sum(), 1)
