"""Reading feature grids at sub-pixel positions, in torch.

Grids are [..., H, W, C]; positions are raster coordinates of the grid: (0, 0) is the outer corner of the first
cell, a cell's centre lies at +0.5. The numpy specification of the lookup is `tapkernels.reference.local_correlation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def tent(position: Tensor, size: int) -> Tensor:
    """Weights [..., size] of linear interpolation at position [...] between cell centres; zero outside the grid."""
    centres = torch.arange(size, device=position.device, dtype=position.dtype) + 0.5
    return F.relu(1 - (position[..., None] - centres).abs())


def first_peak(values: Tensor) -> Tensor:
    """Index [..., 1], as a float, of the largest of values [..., n], the first of them if there are several.

    What argmax says, in operators that accelerators have.
    """
    count = values.shape[-1]
    backwards = torch.arange(count, 0, -1, device=values.device, dtype=values.dtype)
    return count - ((values >= values.amax(-1, keepdim=True)) * backwards).amax(-1, keepdim=True)


def soft_argmax(heatmap: Tensor, radius: int) -> Tensor:
    """Mean cell centre [M, 2] (x, y) of probabilities [M, h, w], over the cells less than `radius` from the largest."""
    height, width = heatmap.shape[-2:]
    peak_x, peak_y = first_peak(heatmap.amax(-2)), first_peak(heatmap.amax(-1))
    x = torch.arange(width, device=heatmap.device, dtype=heatmap.dtype)
    y = torch.arange(height, device=heatmap.device, dtype=heatmap.dtype)
    near = ((x - peak_x) ** 2)[:, None, :] + ((y - peak_y) ** 2)[:, :, None] < radius**2
    weights = heatmap * near
    # Sums, not a matrix product: autocast would compute that in half precision, which is too coarse for pixels. Over
    # whole maps: engines add up a single row of cells in an order that depends on where in memory it begins, and with
    # that on how many points there are.
    mean = torch.stack([(weights * (x + 0.5)).sum((-2, -1)), (weights * (y + 0.5)[:, None]).sum((-2, -1))], -1)
    return mean / weights.sum((-2, -1))[:, None].clamp(min=1e-12)


def unit(x: Tensor) -> Tensor:
    """Features [..., C] at length 1."""
    return x * x.square().sum(-1, keepdim=True).clamp(min=1e-12).rsqrt()


def rescale(xy: Tensor, size: Sequence[int], to: Sequence[int]) -> Tensor:
    """Positions (x, y) in frames or grids of (height, width) `size`, in those of `to`."""
    # One axis at a time: the sizes are symbols where a graph is traced for frames of any size.
    return torch.stack([xy[..., 0] * (to[1] / size[1]), xy[..., 1] * (to[0] / size[0])], -1)


def correlate_dense(grid: Tensor, query: Tensor, xy: Tensor, radius: int) -> Tensor:
    """Patches of scores around xy by matrix products alone: every cell is scored, then tents pick the patch.

    Differentiable and made of plain operators, hence for training, small grids and accelerators that dislike
    gathers. Bilinear sampling and the dot product are linear, so the order does not matter.

    Args:
        grid: [F, H, W, C] features of F frames.
        query: [F, N, C].
        xy: [F, N, 2] raster coordinates of the grid.
    Returns:
        [F, N, (2 radius + 1)^2], rows (dy) first; cells outside the grid count as zero.
    """
    frames, height, width, channels = grid.shape
    scores = query @ grid.reshape(frames, height * width, channels).transpose(1, 2)
    scores = scores.reshape(frames, -1, height, width)
    offsets = torch.arange(-radius, radius + 1, device=xy.device, dtype=xy.dtype)
    rows = tent(xy[..., 1:] + offsets, height)
    columns = tent(xy[..., :1] + offsets, width)
    return (rows @ scores @ columns.transpose(-1, -2)).flatten(-2)


def correlate_gather(grid: Tensor, query: Tensor, xy: Tensor, radius: int) -> Tensor:
    """The same patches by scoring only the (2 radius + 2)^2 cells around xy, then interpolating the scores.

    A fifth of the arithmetic of sampling features first, and no [N, 49, C] intermediate; cost does not grow with
    the grid. Shapes as in `correlate_dense`.
    """
    frames, height, width, channels = grid.shape
    side = 2 * radius + 2
    corner = (xy - 0.5).floor()
    fraction = xy - 0.5 - corner
    offsets = torch.arange(-radius, radius + 2, device=xy.device, dtype=xy.dtype)
    columns = corner[..., :1] + offsets
    rows = corner[..., 1:] + offsets
    inside = ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    index = (rows.clamp(0, height - 1)[..., :, None] * width + columns.clamp(0, width - 1)[..., None, :]).long()
    frame = torch.arange(frames, device=xy.device)[:, None, None, None] * (height * width)
    cells = F.embedding(index + frame, grid.reshape(frames * height * width, channels))
    scores = (cells.flatten(2, 3) @ query[..., None]).reshape(*index.shape[:2], side, side) * inside
    fx, fy = fraction[..., 0, None, None], fraction[..., 1, None, None]
    scores = scores[..., :-1, :] * (1 - fy) + scores[..., 1:, :] * fy
    scores = scores[..., :-1] * (1 - fx) + scores[..., 1:] * fx
    return scores.flatten(-2)


def sample_frame(grid: Tensor, xy: Tensor) -> Tensor:
    """Features [F, N, C] of grid [F, H, W, C] at xy [F, N, 2]; positions beyond the border read the border."""
    frames, height, width, channels = grid.shape
    x = tent(xy[..., 0].clamp(0.5, width - 0.5), width)
    y = tent(xy[..., 1].clamp(0.5, height - 0.5), height)
    weights = (y[..., :, None] * x[..., None, :]).flatten(-2)
    return weights @ grid.reshape(frames, height * width, channels)


def sample_clip(grid: Tensor, tyx: Tensor) -> Tensor:
    """Features [B, N, C] of grid [B, T, H, W, C] at tyx [B, N, 3]; t in frames, between two of them blended."""
    size = torch.tensor(grid.shape[1:4], device=tyx.device, dtype=tyx.dtype)
    half = torch.tensor([0.5, 0.0, 0.0], device=tyx.device, dtype=tyx.dtype)
    place = ((tyx + half) / size * 2 - 1).flip(-1)[:, :, None, None]
    sampled = F.grid_sample(
        grid.permute(0, 4, 1, 2, 3), place, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[..., 0, 0].transpose(1, 2)
