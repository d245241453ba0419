"""TAPNext's training losses in torch, in the model's space whatever the clip's size (arXiv:2504.05579, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.tapnext.torch import Tapnext

HUBER_DELTA = 1.0
"""Bins beyond which the position loss grows linearly."""
POSITION_WEIGHT = 0.1
CERTAIN = 1.0
"""Bins within which an estimate counts as certain."""
COMPILED = ("predictions",)
"""Methods of the model in which training spends its time."""


def batch_losses(model: Tapnext, batch: Mapping[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
    """Mean losses over a batch, by name: of what every block predicts.

    Args:
        batch: see `training.run.batches.Batch`, its video in [-1, 1].
        seen: not looked at: of several processes each takes the mean over its own share, as published.
    """
    video, queries = batch["video"], batch["queries_tyx"]
    xy, visible, known = (batch[name].transpose(1, 2) for name in ("xy", "visible", "known"))
    predictions = model.predictions(video, queries, batch["hidden_from"])
    size = (video.shape[2], video.shape[3])
    parts = [tapnext_losses(outputs, xy, visible, queries, size, known) for outputs in predictions]
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


def tapnext_losses(
    outputs: Mapping[str, Tensor],
    xy: Tensor,
    visible: Tensor,
    queries_tyx: Tensor,
    size: Sequence[int],
    known: Tensor | None = None,
) -> dict[str, Tensor]:
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
    scale = xy.new_tensor([bins / size[1], bins / size[0]])
    later = torch.arange(xy.shape[2], device=xy.device) >= queries_tyx[..., :1].round()
    seen, known = later & visible.bool(), later if known is None else later & known.bool()
    tracks, target = outputs["tracks"].float() * scale, xy * scale
    return {
        "coordinate": masked_mean(coordinate_loss(outputs["coordinate_logits"], target), seen),
        "position": POSITION_WEIGHT * masked_mean(position_loss(tracks, target, bins), seen),
        "visibility": masked_mean(visibility_loss(outputs["visible_logits"], visible), known),
    }


def coordinate_loss(logits: Tensor, xy: Tensor) -> Tensor:
    """Cross-entropy [...] of logits [..., 2, bins] against the bins of xy [..., 2], over both axes."""
    label = (xy - 0.5).clamp(0, logits.shape[-1] - 1).round().long()
    log_share = logits.float().log_softmax(-1)
    return -log_share.gather(-1, label[..., None])[..., 0].sum(-1)


def position_loss(tracks: Tensor, xy: Tensor, bins: int, delta: float = HUBER_DELTA) -> Tensor:
    """Huber loss [...] of the distance between tracks [..., 2] and xy [..., 2].

    Targets end at bins - 1, as published: half a bin short of the last bin's centre.
    """
    squared = (tracks - xy.clamp(0, bins - 1)).square().sum(-1)
    distance = (squared + 1e-12).sqrt()
    return torch.where(distance < delta, squared / 2, delta * (distance - delta / 2))


def visibility_loss(logits: Tensor, visible: Tensor) -> Tensor:
    """Sigmoid cross-entropy [...] of logits [...] against visible [...]."""
    return F.binary_cross_entropy_with_logits(logits.float(), visible.float(), reduction="none")


def certainty_loss(logits: Tensor, tracks: Tensor, xy: Tensor, within: float = CERTAIN) -> Tensor:
    """Sigmoid cross-entropy [...] of logits [...] against whether tracks [..., 2] are near xy [..., 2].

    For a head that says how far its estimates can be trusted; the published models have none.
    """
    certain = (tracks.detach() - xy).square().sum(-1) <= within**2
    return F.binary_cross_entropy_with_logits(logits.float(), certain.float(), reduction="none")


def patch_loss(patches: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference [...] of patches [..., h, w, C].

    For a head that paints hidden patches; the published models have none.
    """
    return (patches.float() - true.float()).abs().mean((-3, -2, -1))


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Over where [...] holds; 0 if that is nowhere. The published code leaves the mask of the coordinates out."""
    where = where.float()
    return (values * where).sum() / where.sum().clamp(min=1)
