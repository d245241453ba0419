"""TAP-Net's training losses in torch (arXiv:2211.03726, section 4.2), on errors at 256x256 whatever the clip's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from training.models.layers.modules_torch import huber
from training.models.tapnet.torch import Estimate, Tapnet

LOSS_SIZE = 256
HUBER_DELTA = 4.0
"""Pixels at 256x256 beyond which the position loss grows linearly."""
POSITION_WEIGHT = 0.05
COMPILED = ("encode",)
"""Methods of the model in which training spends its time."""


def batch_losses(model: Tapnet, batch: Mapping[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
    """Mean losses over a batch, by name.

    Args:
        model: in training mode, in which the batch moves the running means of its batch normalisation.
        batch: video [B, T, H, W, 3] in [-1, 1], queries_tyx [B, N, 3], xy [B, T, N, 2], visible [B, T, N]; positions
            in pixels of the video; known [B, T, N], where `visible` is known.
        seen: of no account: means are over all frames.
    """
    video = batch["video"]
    size = (video.shape[2], video.shape[3])
    estimate = model.trajectories(model.encode(video), batch["queries_tyx"], size)
    return estimate_loss(estimate, batch["xy"], batch["visible"], size, batch["known"])


def estimate_loss(
    estimate: Estimate, xy: Tensor, visible: Tensor, size: Sequence[int], known: Tensor | None = None
) -> dict[str, Tensor]:
    """Losses of estimates against true tracks.

    Args:
        estimate: [B, T, N, ...] in pixels of frames of `size` (height, width).
        xy, visible: [B, T, N, 2] and [B, T, N], true positions in the same pixels.
        known: [B, T, N], where `visible` is known; None: everywhere.
    Returns:
        position (Huber, visible frames) and occlusion (sigmoid cross-entropy); means over all frames.
    """
    scale = xy.new_tensor([LOSS_SIZE / size[1], LOSS_SIZE / size[0]])
    seen = visible.float()
    squared = ((estimate.xy.float() - xy) * scale).square().sum(-1)
    hidden = F.binary_cross_entropy_with_logits(estimate.occlusion.float(), 1 - seen, reduction="none")
    return {
        "position": POSITION_WEIGHT * (huber(squared, HUBER_DELTA) * seen).mean(),
        "occlusion": (hidden if known is None else hidden * known).mean(),
    }
