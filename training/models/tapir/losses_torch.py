"""TAPIR's training losses in torch (arXiv:2306.08637, section 3.4), on errors at 256x256 whatever the clip's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from training.models.layers.modules_torch import huber
from training.models.layers.sampling_torch import tent
from training.models.tapir.torch import Estimate, Grids, Query, Tapir

LOSS_SIZE = 256
HUBER_DELTA = 4.0
"""Pixels at 256x256 beyond which the position loss grows linearly."""
EXPECTED_DIST = 6.0
"""Pixels at 256x256 beyond which an estimate counts as wrong for `expected_dist`."""
POSITION_WEIGHT = 0.05
MATCH_TEMPERATURE = 20.0
COMPILED = ("encode", "trajectories")
"""Methods of the model in which training spends its time."""


def batch_losses(model: Tapir, batch: Mapping[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
    """Mean losses over a batch, by name: of every estimate, of the heatmap and of the features alone.

    Args:
        model: of the resolution of the batch's video.
        batch: video [B, T, H, W, 3] in [-1, 1], queries_tyx [B, N, 3], xy and previous [B, T, N, 2], visible
            [B, T, N]; positions in pixels of the video; known [B, T, N], where `visible` is known.
        seen: how many positions are visible; where several processes share a batch, the mean over them.
    """
    video, xy, visible, known = (batch[name] for name in ("video", "xy", "visible", "known"))
    size = (video.shape[2], video.shape[3])
    grids = model.feature_grids(video)
    queries = model.clip_queries(grids, batch["queries_tyx"], size)
    previous = batch["previous"] if model.config.motion_prior else None
    estimates, _, heatmap = model.trajectories(grids, queries, previous=previous)
    parts = [estimate_loss(estimate, xy, visible, size, occlusion_mask=known) for estimate in estimates]
    losses = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
    losses["heatmap"] = cell_cross_entropy(heatmap, xy, visible, size, seen)
    losses["match"] = cell_cross_entropy(match_logits(grids[0], queries[0]), xy, visible, size, seen)
    return losses


def estimate_loss(
    estimate: Estimate,
    xy: Tensor,
    visible: Tensor,
    size: Sequence[int],
    mask: Tensor | None = None,
    rebalance: float | None = None,
    occlusion_mask: Tensor | None = None,
    *,
    huber_delta: float = HUBER_DELTA,
    expected_dist: float = EXPECTED_DIST,
    position_weight: float = POSITION_WEIGHT,
) -> dict[str, Tensor]:
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
    scale = xy.new_tensor([LOSS_SIZE / size[1], LOSS_SIZE / size[0]])
    seen = visible.float()
    squared = ((estimate.xy.float() - xy) * scale).square().sum(-1)
    wrong = (squared.detach() > expected_dist**2).float()
    uncertain = F.binary_cross_entropy_with_logits(estimate.expected_dist.float(), wrong, reduction="none")
    hidden = F.binary_cross_entropy_with_logits(estimate.occlusion.float(), 1 - seen, reduction="none")
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


def cell_cross_entropy(logits: Tensor, xy: Tensor, visible: Tensor, size: Sequence[int], seen: Tensor) -> Tensor:
    """Cross-entropy of a heatmap against the true position, shared between the four cells around it.

    Args:
        logits: [B, T, N, h, w] over the cells of a grid on frames of `size` (height, width).
        xy, visible: [B, T, N, 2] and [B, T, N], true positions in pixels of those frames.
        seen: how many are visible; where several processes share a batch, the mean over them.
    """
    height, width = logits.shape[-2:]
    cells = xy * xy.new_tensor([width / size[1], height / size[0]])
    rows = tent(cells[..., 1].clamp(0.5, height - 0.5), height)
    columns = tent(cells[..., 0].clamp(0.5, width - 0.5), width)
    log_share = logits.float().flatten(-2).log_softmax(-1).reshape(logits.shape)
    target = rows[..., :, None] * columns[..., None, :]
    entropy = -(target * log_share).sum((-1, -2))
    return (entropy * visible).sum() / seen.clamp(min=1)


def match_logits(grids: Grids, query: Query) -> Tensor:
    """A heatmap [B, T, N, H, W] of the high-resolution features alone.

    Training on it asks the features themselves to single out the true cell, before any head interprets them.
    """
    scores = query.high[:, None] @ grids.high.flatten(2, 3).transpose(-1, -2)
    return MATCH_TEMPERATURE * scores.unflatten(-1, grids.high.shape[2:4])
