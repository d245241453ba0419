"""TAPIR's lookup as its paper and the reference put it: patches of features are sampled first, then compared.

The reference samples the features of every cell of a 7x7 patch around each estimate, [N, 49, C] of them at every level
and iteration, and takes the dot product of each with the point's descriptor. The model here takes the dot products
first, which gives the same numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.tapir.torch import Tapir


def correlate_literal(grid: Tensor, query: Tensor, xy: Tensor, radius: int) -> Tensor:
    """Patches of scores [F, N, (2 radius + 1)^2] around xy [F, N, 2], in cells, of grid [F, H, W, C] for query
    [F, N, C]; rows (dy) first, and cells outside the grid count as zero."""
    height, width = grid.shape[1:3]
    steps = torch.arange(-radius, radius + 1, device=xy.device, dtype=xy.dtype)
    dy, dx = torch.meshgrid(steps, steps, indexing="ij")
    patch = torch.stack([dx, dy], -1).reshape(-1, 2)
    places = (xy[:, :, None] + patch) * (2 / torch.tensor([width, height], dtype=xy.dtype)) - 1
    features = F.grid_sample(grid.permute(0, 3, 1, 2), places, align_corners=False)
    return torch.einsum("fcnp,fnc->fnp", features, query)


def literal_form(model: Tapir) -> Tapir:
    """The same model, which looks patches up in the literal way from now on."""
    model.correlate = correlate_literal
    return model
