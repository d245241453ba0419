"""TAPNext's training losses in torch, in the model's space whatever the clip's size (arXiv:2504.05579, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

HUBER_DELTA = 1.0
"""Bins beyond which the position loss grows linearly."""
POSITION_WEIGHT = 0.1
CERTAIN = 1.0
"""Bins within which an estimate counts as certain."""


def tapnext_losses(
    outputs: Mapping[str, Tensor], xy: Tensor, visible: Tensor, queries_tyx: Tensor, size: Sequence[int]
) -> dict[str, Tensor]:
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
    scale = xy.new_tensor([bins / size[1], bins / size[0]])
    known = torch.arange(xy.shape[2], device=xy.device) >= queries_tyx[..., :1].round()
    seen = known & visible.bool()
    tracks, target = outputs["tracks"].float() * scale, (xy * scale).clamp(0.5, bins - 0.5)
    return {
        "coordinate": coordinate_loss(outputs["coordinate_logits"], target, seen),
        "position": POSITION_WEIGHT * position_loss(tracks, target, seen),
        "visibility": visibility_loss(outputs["visible_logits"], visible, known),
    }


def coordinate_loss(logits: Tensor, xy: Tensor, seen: Tensor) -> Tensor:
    """Cross-entropy of logits [..., 2, bins] against the bins of xy [..., 2], over both axes, where seen [...]."""
    label = (xy - 0.5).round().long()
    log_share = logits.float().log_softmax(-1)
    return _mean(-log_share.gather(-1, label[..., None])[..., 0].sum(-1), seen)


def position_loss(tracks: Tensor, xy: Tensor, seen: Tensor) -> Tensor:
    """Huber loss of the distance between tracks [..., 2] and xy [..., 2], where seen [...]."""
    squared = (tracks - xy).square().sum(-1)
    distance = (squared + 1e-12).sqrt()
    huber = torch.where(distance < HUBER_DELTA, squared / 2, HUBER_DELTA * (distance - HUBER_DELTA / 2))
    return _mean(huber, seen)


def visibility_loss(logits: Tensor, visible: Tensor, known: Tensor) -> Tensor:
    """Sigmoid cross-entropy of logits [...] against visible [...], where known [...]."""
    return _mean(F.binary_cross_entropy_with_logits(logits.float(), visible.float(), reduction="none"), known)


def certainty_loss(logits: Tensor, tracks: Tensor, xy: Tensor, seen: Tensor) -> Tensor:
    """Sigmoid cross-entropy of logits [...] against whether tracks [..., 2] are near xy [..., 2], where seen [...].

    For a head that says how far its estimates can be trusted; the published models have none.
    """
    certain = (tracks.detach() - xy).square().sum(-1) <= CERTAIN**2
    return _mean(F.binary_cross_entropy_with_logits(logits.float(), certain.float(), reduction="none"), seen)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    where = where.float()
    return (values * where).sum() / where.sum().clamp(min=1)
