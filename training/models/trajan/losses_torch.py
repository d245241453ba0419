"""What TRAJAN is trained on here, in torch. Its authors published no training code: these are TAPIR's losses of one
estimate (arXiv:2306.08637, section 3.4), of which the certainty is the other side."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from training.models.layers.modules_torch import huber
from training.models.trajan.torch import Trajan

LOSS_SIZE = 256
"""Pixels that the sides of a frame are taken for."""
HUBER_DELTA = 4.0
"""Pixels beyond which the position loss grows linearly."""
CERTAIN = 6.0
"""Pixels within which a position counts as right for `certain_logits`."""
POSITION_WEIGHT = 0.05
COMPILED = ()
"""Methods of the model that are worth compiling: it is small, and its shapes are many."""


def batch_losses(model: Trajan, batch: Mapping[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
    """Mean losses over a batch: position (Huber) and certain, of visible frames, and visible (cross-entropies).

    Args:
        batch: `training.run.track_sets.example`, each with an axis B.
        seen: how many positions are visible; where several processes share a batch, the mean over them.
    """
    xy, visible = batch["xy"], batch["visible"].float()
    given = (batch[name] for name in ("given", "given_visible", "frames", "queries_txy"))
    outputs = {name: array[:, :, : xy.shape[2]] for name, array in model.reconstruct(*given).items()}
    squared = ((outputs["tracks"] - xy) * LOSS_SIZE).square().sum(-1)
    right = (squared.detach() <= CERTAIN**2).float()
    certain = F.binary_cross_entropy_with_logits(outputs["certain_logits"], right, reduction="none")
    seen = seen.clamp(min=1)
    return {
        "position": POSITION_WEIGHT * (huber(squared, HUBER_DELTA) * visible).sum() / seen,
        "visible": F.binary_cross_entropy_with_logits(outputs["visible_logits"], visible),
        "certain": (certain * visible).sum() / seen,
    }
