"""Local correlation for CUDA, in Triton: what `tapkernels.torch` runs for tensors that are there.

Needs the package `triton`, which PyTorch for CUDA brings. `TRITON_INTERPRET=1` before the import runs it on the
processor, slowly, as tests do.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 64
"""That are multiplied at a time."""
SHARE = 16
"""Scores that are interpolated at a time, each a sum over all cells."""


@triton.jit
def _correlate(  # type: ignore[no-untyped-def]
    grid,
    query,
    xy,
    out,
    height,
    width,
    channels,
    radius: tl.constexpr,
    cells: tl.constexpr,
    block: tl.constexpr,
    share: tl.constexpr,
):
    """A point: scores of the (2 radius + 2)^2 cells around it, then what lies between them.

    cells: their number, rounded up to a power of two.
    """
    point = tl.program_id(0).to(tl.int64)
    side: tl.constexpr = 2 * radius + 2
    wide: tl.constexpr = 2 * radius + 1
    # Beyond this there is no cell in reach; NaN compares as false.
    far = radius + 2.0
    x, y = tl.load(xy + 2 * point), tl.load(xy + 2 * point + 1)
    somewhere = (tl.abs(x) < 1e9) & (tl.abs(y) < 1e9)
    x = tl.where(somewhere, tl.minimum(tl.maximum(x, -far), width + far), -far) - 0.5
    y = tl.where(somewhere, tl.minimum(tl.maximum(y, -far), height + far), -far) - 0.5
    left, top = tl.floor(x), tl.floor(y)
    right, below = x - left, y - top

    cell = tl.arange(0, cells)
    rows, columns = cell // side, cell % side
    row, column = top.to(tl.int32) - radius + rows, left.to(tl.int32) - radius + columns
    inside = (cell < side * side) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = (row.to(tl.int64) * width + column) * channels
    scores = tl.zeros([cells], tl.float32)
    for first in range(0, channels, block):
        channel = first + tl.arange(0, block)
        known = channel < channels
        wanted = tl.load(query + point * channels + channel, mask=known, other=0.0)
        around = tl.load(grid + place[:, None] + channel[None, :], mask=inside[:, None] & known[None, :], other=0.0)
        scores += tl.sum(around * wanted[None, :], axis=1)

    for first in range(0, wide * wide, share):
        score = first + tl.arange(0, share)
        down, across = score // wide, score % wide
        over, under = rows[None, :] == down[:, None], rows[None, :] == down[:, None] + 1
        before, after = columns[None, :] == across[:, None], columns[None, :] == across[:, None] + 1
        weights = (over * (1 - below) + under * below) * (before * (1 - right) + after * right)
        found = tl.sum(weights * scores[None, :], axis=1)
        tl.store(out + point * wide * wide + score, found, mask=score < wide * wide)


def local_correlation(grid: Tensor, query: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    """Scores [N, (2 radius + 1)^2] around points, as `tapkernels.local_correlation` has them.

    grid: [H, W, C] float32. query: [N, C] float32. xy: [N, 2] float32, in cells of the grid. All on one device.
    Raises ValueError for other types and shapes.
    """
    _check(grid, query, xy, radius)
    grid, query, xy = grid.contiguous(), query.contiguous(), xy.contiguous()
    height, width, channels = grid.shape
    out = query.new_empty((len(xy), (2 * radius + 1) ** 2))
    if len(xy):
        cells = triton.next_power_of_2((2 * radius + 2) ** 2)
        launch: Any = _correlate[(len(xy),)]
        launch(grid, query, xy, out, height, width, channels, radius, cells, CHANNELS, SHARE)
    return out


def _check(grid: Tensor, query: Tensor, xy: Tensor, radius: int) -> None:
    shapes = grid.ndim == 3 and tuple(query.shape) == (len(xy), *grid.shape[2:]) and tuple(xy.shape[1:]) == (2,)
    if not shapes or any(each.dtype != torch.float32 for each in (grid, query, xy)) or not 0 <= radius <= 15:
        found = ", ".join(f"{each.dtype} {list(each.shape)}" for each in (grid, query, xy))
        raise ValueError(
            f"grid, query and xy must be float32 [H, W, C], [N, C] and [N, 2] with a radius from 0 to 15, got {found} "
            f"with {radius}"
        )
