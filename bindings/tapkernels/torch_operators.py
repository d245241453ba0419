"""What the ops compute, in PyTorch's own operators, for graphs that must do without the kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkernels.mixer_weights import parameter_panels
from tapkernels.reference import REACH


def local_correlation(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    """Scores of the (2 radius + 2)^2 cells around each point, interpolated."""
    height, width, channels = grid.shape
    side = 2 * radius + 2
    # Beyond this there is no cell in reach; nearer, a float's whole part is an index.
    far = radius + 2
    finite = torch.isfinite(xy).all(1)
    x, y = (torch.where(finite, each, -far) for each in xy.unbind(1))
    xy = torch.stack([x.clamp(-far, width + far), y.clamp(-far, height + far)], 1)
    corner = (xy - 0.5).floor()
    offsets = torch.arange(-radius, radius + 2, device=xy.device, dtype=xy.dtype)
    columns, rows = corner[:, :1] + offsets, corner[:, 1:] + offsets
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    cells = F.embedding(index.long(), grid.reshape(height * width, channels)).flatten(1, 2)
    scores = (cells @ query[:, :, None]).reshape(-1, side, side) * inside
    fx, fy = (xy - 0.5 - corner)[:, :, None, None].unbind(1)
    scores = scores[:, :-1] * (1 - fy) + scores[:, 1:] * fy
    scores = scores[..., :-1] * (1 - fx) + scores[..., 1:] * fx
    return scores.flatten(1)


def sample_features(grid: Tensor, xy: Tensor) -> Tensor:
    """Tents around each point pick cells, by a matrix product."""
    height, width, channels = grid.shape
    x, y = _tent(xy[:, 0].clamp(0.5, width - 0.5), width), _tent(xy[:, 1].clamp(0.5, height - 0.5), height)
    return (y[:, :, None] * x[:, None, :]).flatten(1) @ grid.reshape(height * width, channels)


def cost_volume_track(
    grid: Tensor,
    features: Tensor,
    previous: Tensor | None,
    weights: list[Tensor],
    temperature: float,
    motion_prior: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Convolutions over scores of all cells; see `tapkernels.reference.cost_volume_track`."""
    shared, shared_bias, heat, occlusion, occlusion_bias, hidden, hidden_bias, out, out_bias = weights
    height, width, channels = grid.shape
    scores = (features @ grid.reshape(height * width, channels).T).reshape(-1, 1, height, width)
    x = F.relu(F.conv2d(scores, shared, shared_bias, padding=1))
    heatmap = F.conv2d(x, heat, padding=1)[:, 0] * temperature
    columns = torch.arange(width, device=grid.device, dtype=grid.dtype) + 0.5
    rows = torch.arange(height, device=grid.device, dtype=grid.dtype) + 0.5
    if previous is not None:
        along_x, along_y = (columns - previous[:, :1]) ** 2, (rows - previous[:, 1:]) ** 2
        heatmap = heatmap - motion_prior * torch.log(1 + along_x[:, None, :] + along_y[:, :, None])
    share = torch.exp(heatmap - heatmap.amax((1, 2), keepdim=True))
    peak_x, peak_y = share.amax(1).argmax(1, keepdim=True) + 0.5, share.amax(2).argmax(1, keepdim=True) + 0.5
    near = (columns - peak_x)[:, None, :] ** 2 + (rows - peak_y)[:, :, None] ** 2 < REACH**2
    share = share * near
    xy = torch.stack([(share * columns).sum((1, 2)), (share * rows[:, None]).sum((1, 2))], 1)
    pooled = F.relu(F.conv2d(F.pad(x, (0, 2, 0, 2)), occlusion, occlusion_bias, stride=2)).mean((2, 3))
    logits = F.linear(F.relu(F.linear(pooled, hidden, hidden_bias)), out, out_bias)
    return xy / share.sum((1, 2))[:, None], logits


def mixer(x: Tensor, narrow: Tensor, wide: Tensor, weights: Tensor, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Layer by layer, from packed weights [W]; see `tapkernels.reference.mixer`."""
    blocks, _, _, width = narrow.shape
    parameters = {
        name: weights[part].reshape(panels).transpose(1, 2).reshape(-1, panels[1])[: shape[0]].reshape(shape)
        for name, shape, panels, part in parameter_panels(x.shape[1], width, blocks, outputs)
    }

    def linear(layer: str, x: Tensor) -> Tensor:
        return F.linear(x, parameters[f"{layer}.weight"], parameters[f"{layer}.bias"])

    def norm(layer: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), parameters[f"{layer}.weight"])

    def gelu(x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    def convolve(layer: str, frames: Tensor) -> Tensor:
        return (frames * parameters[f"{layer}_weight"].T).sum(1) + parameters[f"{layer}_bias"]

    mixed = linear("embed", x)
    next_narrow, next_wide = [], []
    for i in range(blocks):
        block = f"blocks.{i}"
        seen = torch.cat([narrow[i], norm(f"{block}.norm_time", mixed)[:, None]], 1)
        inner = gelu(convolve(f"{block}.time.up", seen.repeat_interleave(4, -1)))
        seen_wide = torch.cat([wide[i], inner[:, None]], 1)
        mixed = mixed + convolve(f"{block}.time.out", seen_wide).unflatten(-1, (width, 4)).sum(-1)
        hidden = gelu(linear(f"{block}.channels_up", norm(f"{block}.norm_channels", mixed)))
        mixed = mixed + linear(f"{block}.channels_down", hidden)
        next_narrow.append(seen[:, 1:])
        next_wide.append(seen_wide[:, 1:])
    out = linear("out", norm("norm", mixed))
    if not blocks:
        return out, narrow.clone(), wide.clone()
    return out, torch.stack(next_narrow), torch.stack(next_wide)


def _tent(position: Tensor, size: int) -> Tensor:
    """Weights [..., size] of linear interpolation at position [...] between cell centres."""
    centres = torch.arange(size, device=position.device, dtype=position.dtype) + 0.5
    return F.relu(1 - (position[..., None] - centres).abs())
