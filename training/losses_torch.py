"""TAPIR's training losses in torch (arXiv:2306.08637, section 3.4), on errors at 256x256 whatever the clip's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.sampling_torch import tent
from training.models.tapir_torch import Estimate, Grids, Query

LOSS_SIZE = 256
HUBER_DELTA = 4.0
"""Pixels at 256x256 beyond which the position loss grows linearly."""
EXPECTED_DIST = 6.0
"""Pixels at 256x256 beyond which an estimate counts as wrong for `expected_dist`."""
POSITION_WEIGHT = 0.05
MATCH_TEMPERATURE = 20.0


def estimate_loss(estimate: Estimate, xy: Tensor, visible: Tensor, size: Sequence[int]) -> dict[str, Tensor]:
    """Losses of one estimate (of one refinement iteration) against true tracks.

    Args:
        estimate: [B, T, N, ...] in pixels of frames of `size` (height, width).
        xy, visible: [B, T, N, 2] and [B, T, N], true positions in the same pixels.
    Returns:
        position (Huber, visible frames), occlusion and expected_dist (sigmoid cross-entropy); means over all frames.
    """
    scale = xy.new_tensor([LOSS_SIZE / size[1], LOSS_SIZE / size[0]])
    seen = visible.float()
    squared = ((estimate.xy.float() - xy) * scale).square().sum(-1)
    distance = (squared + 1e-12).sqrt()
    huber = torch.where(distance < HUBER_DELTA, squared / 2, HUBER_DELTA * (distance - HUBER_DELTA / 2))
    wrong = (squared.detach() > EXPECTED_DIST**2).float()
    uncertain = F.binary_cross_entropy_with_logits(estimate.expected_dist.float(), wrong, reduction="none")
    return {
        "position": POSITION_WEIGHT * (huber * seen).mean(),
        "occlusion": F.binary_cross_entropy_with_logits(estimate.occlusion.float(), 1 - seen),
        "expected_dist": (uncertain * seen).mean(),
    }


def cell_cross_entropy(logits: Tensor, xy: Tensor, visible: Tensor) -> Tensor:
    """Cross-entropy of a heatmap against the true position, shared between the four cells around it.

    Args:
        logits: [B, T, N, h, w] over cells. xy: [B, T, N, 2] true positions in cells. visible: [B, T, N].
    """
    height, width = logits.shape[-2:]
    rows = tent(xy[..., 1].clamp(0.5, height - 0.5), height)
    columns = tent(xy[..., 0].clamp(0.5, width - 0.5), width)
    log_share = logits.float().flatten(-2).log_softmax(-1).reshape(logits.shape)
    target = rows[..., :, None] * columns[..., None, :]
    entropy = -(target * log_share).sum((-1, -2))
    seen = visible.float()
    return (entropy * seen).sum() / seen.sum().clamp(min=1)


def match_loss(grids: Grids, query: Query, xy: Tensor, visible: Tensor) -> Tensor:
    """Asks the high-resolution features themselves to single out the true cell, before any head interprets them."""
    height, width = grids.high.shape[2:4]
    scores = query.high[:, None] @ grids.high.flatten(2, 3).transpose(-1, -2)
    scale = xy.new_tensor([width / grids.size[1], height / grids.size[0]])
    return cell_cross_entropy(MATCH_TEMPERATURE * scores.unflatten(-1, (height, width)), xy * scale, visible)
