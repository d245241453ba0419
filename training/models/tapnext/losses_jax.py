"""TAPNext's training losses in JAX, in the model's space whatever the clip's size (arXiv:2504.05579, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from optax.losses import sigmoid_binary_cross_entropy

from training.models.tapnext.jax import Tapnext

HUBER_DELTA = 1.0
"""Bins beyond which the position loss grows linearly."""
POSITION_WEIGHT = 0.1
CERTAIN = 1.0
"""Bins within which an estimate counts as certain."""


def batch_losses(model: Tapnext, batch: Mapping[str, Array], mixed_precision: bool) -> dict[str, Array]:
    """Mean losses over a batch, by name: of what every block predicts.

    Args:
        batch: see `training.run.batches.Batch`, its video in [-1, 1].
        mixed_precision: not looked at; nearly all is matrix products, which are then coarse already.
    """
    video, queries = batch["video"], batch["queries_tyx"]
    xy, visible, known = (batch[name].swapaxes(1, 2) for name in ("xy", "visible", "known"))
    predictions = model.predictions(video, queries, batch["hidden_from"])
    size = video.shape[2:4]
    parts = [tapnext_losses(outputs, xy, visible, queries, size, known) for outputs in predictions]
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


def tapnext_losses(
    outputs: Mapping[str, Array],
    xy: Array,
    visible: Array,
    queries_tyx: Array,
    size: Sequence[int],
    known: Array | None = None,
) -> dict[str, Array]:
    """Losses of a clip against true tracks; frames before a query, of which the model knows nothing, do not count.

    Args:
        outputs: of `Tapnext.clip`, for frames of `size` (height, width).
        xy, visible: [B, N, T, 2] and [B, N, T], true positions in pixels of those frames.
        queries_tyx: [B, N, 3], what the model was given.
        known: [B, N, T], where `visible` is known; None: everywhere.
    Returns:
        coordinate (cross-entropy of the bins, visible frames), position (Huber, visible frames) and visibility
        (sigmoid cross-entropy); their sum is TAPNext's loss.
    """
    bins = outputs["coordinate_logits"].shape[-1]
    scale = jnp.array([bins / size[1], bins / size[0]])
    later = jnp.arange(xy.shape[2]) >= queries_tyx[..., :1].round()
    seen, known = later & visible.astype(bool), later if known is None else later & known.astype(bool)
    tracks, target = outputs["tracks"].astype(jnp.float32) * scale, xy * scale
    return {
        "coordinate": masked_mean(coordinate_loss(outputs["coordinate_logits"], target), seen),
        "position": POSITION_WEIGHT * masked_mean(position_loss(tracks, target, bins), seen),
        "visibility": masked_mean(visibility_loss(outputs["visible_logits"], visible), known),
    }


def coordinate_loss(logits: Array, xy: Array) -> Array:
    """Cross-entropy [...] of logits [..., 2, bins] against the bins of xy [..., 2], over both axes."""
    label = (xy - 0.5).clip(0, logits.shape[-1] - 1).round().astype(jnp.int32)
    log_share = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_share, label[..., None], -1)[..., 0].sum(-1)


def position_loss(tracks: Array, xy: Array, bins: int, delta: float = HUBER_DELTA) -> Array:
    """Huber loss [...] of the distance between tracks [..., 2] and xy [..., 2].

    Targets end at bins - 1, as published: half a bin short of the last bin's centre.
    """
    squared = jnp.square(tracks - xy.clip(0, bins - 1)).sum(-1)
    distance = jnp.sqrt(squared + 1e-12)
    return jnp.where(distance < delta, squared / 2, delta * (distance - delta / 2))


def visibility_loss(logits: Array, visible: Array) -> Array:
    """Sigmoid cross-entropy [...] of logits [...] against visible [...]."""
    return sigmoid_binary_cross_entropy(logits.astype(jnp.float32), visible.astype(jnp.float32))


def certainty_loss(logits: Array, tracks: Array, xy: Array, within: float = CERTAIN) -> Array:
    """Sigmoid cross-entropy [...] of logits [...] against whether tracks [..., 2] are near xy [..., 2].

    For a head that says how far its estimates can be trusted; the published models have none.
    """
    certain = jnp.square(jax.lax.stop_gradient(tracks) - xy).sum(-1) <= within**2
    return sigmoid_binary_cross_entropy(logits.astype(jnp.float32), certain.astype(jnp.float32))


def patch_loss(patches: Array, true: Array) -> Array:
    """Mean absolute difference [...] of patches [..., h, w, C].

    For a head that paints hidden patches; the published models have none.
    """
    return jnp.abs(patches.astype(jnp.float32) - true.astype(jnp.float32)).mean((-3, -2, -1))


def masked_mean(values: Array, where: Array) -> Array:
    """Over where [...] holds; 0 if that is nowhere. The published code leaves the mask of the coordinates out."""
    where = where.astype(jnp.float32)
    return (values * where).sum() / jnp.maximum(where.sum(), 1)
