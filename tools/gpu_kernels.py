"""Local correlation on a device: PyTorch's operators, as exported graphs have them, beside the kernel in Triton."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from tapkernels import torch_operators
from tools.gpu_rows import WARM_UP, Check, Row, Settings, timed

GRID = (64, 64, 128)
"""(height, width, channels) of TAPIR's finer grid."""
CLOSE = 1e-4
"""Of scores of about 1."""


def kernel_checks(points: Sequence[int], settings: Settings) -> Iterator[Check]:
    def plain(row: Row) -> Row:
        return clocked(row, torch_operators.local_correlation, settings)

    def in_triton(row: Row) -> Row:
        if not settings.on_cuda:
            return replace(row, status="skipped", note="Triton's compiler is for GPUs; tests run its interpreter")
        from tapkernels.triton import local_correlation

        off = local_correlation(*arguments(row, settings)) - torch_operators.local_correlation(
            *arguments(row, settings)
        )
        worst = float(off.abs().max())
        status = "ok" if worst <= CLOSE else "wrong"
        return replace(clocked(row, local_correlation, settings), status=status, note=f"scores differ by {worst:.1e}")

    for count in points:
        yield Row("kernel", "local correlation", "operators", points=count), plain
        yield Row("kernel", "local correlation", "triton", points=count), in_triton


def arguments(row: Row, settings: Settings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator, count = torch.Generator().manual_seed(0), row.points or 1
    grid, query = torch.randn(GRID, generator=generator), torch.randn(count, GRID[2], generator=generator)
    xy = torch.rand(count, 2, generator=generator) * 70 - 3
    return grid.to(settings.device), (query / GRID[2] ** 0.5).to(settings.device), xy.to(settings.device)


@torch.inference_mode()
def clocked(row: Row, compute: Callable[..., torch.Tensor], settings: Settings) -> Row:
    given, seconds = arguments(row, settings), []
    for _ in range(WARM_UP + settings.frames):
        began = time.perf_counter()
        compute(*given).sum().item()  # which waits for it
        seconds.append(time.perf_counter() - began)
    return timed(row, seconds[WARM_UP:], sum(seconds[WARM_UP:]) / settings.frames)
