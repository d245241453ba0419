"""Reading feature grids at sub-pixel positions, in JAX.

Grids are [..., H, W, C]; positions are raster coordinates of the grid: (0, 0) is the outer corner of the first
cell, a cell's centre lies at +0.5. The numpy specification of the lookup is `tapkernels.reference.local_correlation`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array


def tent(position: Array, size: int) -> Array:
    """Weights [..., size] of linear interpolation at position [...] between cell centres; zero outside the grid."""
    centres = jnp.arange(size) + 0.5
    return jax.nn.relu(1 - jnp.abs(position[..., None] - centres))


def first_peak(values: Array) -> Array:
    """Index [..., 1], as a float, of the largest of values [..., n], the first of them if there are several.

    What argmax says, in operators that accelerators have.
    """
    count = values.shape[-1]
    backwards = jnp.arange(count, 0, -1, dtype=values.dtype)
    return count - ((values >= values.max(-1, keepdims=True)) * backwards).max(-1, keepdims=True)


def soft_argmax(heatmap: Array, radius: int) -> Array:
    """Mean cell centre [M, 2] (x, y) of probabilities [M, h, w], over the cells less than `radius` from the largest."""
    height, width = heatmap.shape[-2:]
    peak_x, peak_y = first_peak(heatmap.max(-2)), first_peak(heatmap.max(-1))
    x = jnp.arange(width, dtype=heatmap.dtype)
    y = jnp.arange(height, dtype=heatmap.dtype)
    near = ((x - peak_x) ** 2)[:, None, :] + ((y - peak_y) ** 2)[:, :, None] < radius**2
    weights = heatmap * near
    columns, rows = weights.sum(-2), weights.sum(-1)
    # Sums, not a matrix product: accelerators compute that in half precision, which is too coarse for pixels.
    mean = jnp.stack([(columns * (x + 0.5)).sum(-1), (rows * (y + 0.5)).sum(-1)], -1)
    return mean / jnp.maximum(rows.sum(-1, keepdims=True), 1e-12)


def unit(x: Array) -> Array:
    """Features [..., C] at length 1."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-12))


def rescale(xy: Array, size: Sequence[int], to: Sequence[int]) -> Array:
    """Positions (x, y) in frames or grids of (height, width) `size`, in those of `to`."""
    return xy * jnp.array([to[1] / size[1], to[0] / size[0]])


def correlate_dense(grid: Array, query: Array, xy: Array, radius: int) -> Array:
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
    scores = query @ grid.reshape(frames, height * width, channels).swapaxes(1, 2)
    scores = scores.reshape(*xy.shape[:2], height, width)
    offsets = jnp.arange(-radius, radius + 1)
    rows = tent(xy[..., 1:] + offsets, height)
    columns = tent(xy[..., :1] + offsets, width)
    return (rows @ scores @ columns.swapaxes(-1, -2)).reshape(*xy.shape[:2], (2 * radius + 1) ** 2)


def correlate_gather(grid: Array, query: Array, xy: Array, radius: int) -> Array:
    """The same patches by scoring only the (2 radius + 2)^2 cells around xy, then interpolating the scores.

    A fifth of the arithmetic of sampling features first, and no [N, 49, C] intermediate; cost does not grow with
    the grid. Shapes as in `correlate_dense`.
    """
    frames, height, width, channels = grid.shape
    corner = jnp.floor(xy - 0.5)
    fraction = xy - 0.5 - corner
    offsets = jnp.arange(-radius, radius + 2)
    columns = corner[..., :1] + offsets
    rows = corner[..., 1:] + offsets
    inside = ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    index = rows.clip(0, height - 1)[..., :, None] * width + columns.clip(0, width - 1)[..., None, :]
    frame = jnp.arange(frames)[:, None, None, None] * (height * width)
    cells = grid.reshape(frames * height * width, channels)[index.astype(jnp.int32) + frame]
    scores = jnp.einsum("fnijc,fnc->fnij", cells, query) * inside
    fx, fy = fraction[..., 0, None, None], fraction[..., 1, None, None]
    scores = scores[..., :-1, :] * (1 - fy) + scores[..., 1:, :] * fy
    scores = scores[..., :-1] * (1 - fx) + scores[..., 1:] * fx
    return scores.reshape(*xy.shape[:2], (2 * radius + 1) ** 2)


def sample_frame(grid: Array, xy: Array) -> Array:
    """Features [F, N, C] of grid [F, H, W, C] at xy [F, N, 2]; positions beyond the border read the border."""
    frames, height, width, channels = grid.shape
    x = tent(xy[..., 0].clip(0.5, width - 0.5), width)
    y = tent(xy[..., 1].clip(0.5, height - 0.5), height)
    weights = (y[..., :, None] * x[..., None, :]).reshape(*xy.shape[:2], height * width)
    return weights @ grid.reshape(frames, height * width, channels)


def sample_clip(grid: Array, tyx: Array) -> Array:
    """Features [B, N, C] of grid [B, T, H, W, C] at tyx [B, N, 3]; t in frames (0 = first), blended between them."""
    last = jnp.array(grid.shape[1:4]) - 1
    place = (tyx - jnp.array([0.0, 0.5, 0.5])).clip(0, last)
    corner = jnp.floor(place)
    fraction = place - corner
    batch = jnp.arange(grid.shape[0])[:, None]
    sampled = jnp.zeros((*tyx.shape[:2], grid.shape[-1]), grid.dtype)
    for step in itertools.product((0, 1), repeat=3):
        t, y, x = jnp.moveaxis(jnp.minimum(corner + jnp.array(step), last).astype(jnp.int32), -1, 0)
        weight = jnp.where(jnp.array(step) == 1, fraction, 1 - fraction).prod(-1)
        sampled += weight[..., None] * grid[batch, t, y, x]
    return sampled
