"""What TRAJAN is trained on here, in JAX. Its authors published no training code: these are TAPIR's losses of one
estimate (arXiv:2306.08637, section 3.4), of which the certainty is the other side."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array
from optax.losses import sigmoid_binary_cross_entropy

from training.models.layers.modules_jax import huber
from training.models.trajan.jax import Trajan

LOSS_SIZE = 256
"""Pixels that the sides of a frame are taken for."""
HUBER_DELTA = 4.0
"""Pixels beyond which the position loss grows linearly."""
CERTAIN = 6.0
"""Pixels within which a position counts as right for `certain_logits`."""
POSITION_WEIGHT = 0.05


def batch_losses(model: Trajan, batch: Mapping[str, Array], mixed_precision: bool) -> dict[str, Array]:
    """Mean losses over a batch: position (Huber) and certain, of visible frames, and visible (cross-entropies).

    Args:
        batch: `training.run.track_sets.example`, each with an axis B.
        mixed_precision: makes matrix products coarser, as the updater says; nothing here is cast.
    """
    xy, visible = batch["xy"], batch["visible"].astype(jnp.float32)
    given = (batch[name] for name in ("given", "given_visible", "frames", "queries_txy"))
    outputs = {name: array[:, :, : xy.shape[2]] for name, array in model.reconstruct(*given).items()}
    squared = jnp.square((outputs["tracks"] - xy) * LOSS_SIZE).sum(-1)
    right = (jax.lax.stop_gradient(squared) <= CERTAIN**2).astype(jnp.float32)
    certain = sigmoid_binary_cross_entropy(outputs["certain_logits"], right)
    seen = jnp.maximum(visible.sum(), 1)
    return {
        "position": POSITION_WEIGHT * (huber(squared, HUBER_DELTA) * visible).sum() / seen,
        "visible": sigmoid_binary_cross_entropy(outputs["visible_logits"], visible).mean(),
        "certain": (certain * visible).sum() / seen,
    }
