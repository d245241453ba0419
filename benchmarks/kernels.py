"""Time every kernel on every instruction set of this machine, against its numpy reference and PyTorch.

    python benchmarks/kernels.py [--threads 1] [--json FILE]

A time is the median of many calls after a warm-up. The numpy reference is written to be read, not to be fast.
PyTorch, where it is installed, does the same work as its users would write it, on the same number of threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tapkernels
from tapkernels import reference

SECONDS_PER_MEASUREMENT = 0.5


@dataclass(frozen=True)
class Case:
    """One call of an op, and the same work in PyTorch: a function that prepares it and returns its call."""

    op: str
    what: str
    arguments: tuple[Any, ...]
    in_torch: Callable[[Any, Case], Callable[[], object]]


def grid_sample_then_dot(torch: Any, case: Case) -> Callable[[], object]:
    grid, query, xy = (torch.from_numpy(array) for array in case.arguments)
    height, width, _ = grid.shape
    channels_first = grid.permute(2, 0, 1)[None].contiguous()
    step = torch.arange(-3.0, 4.0)
    offset = torch.stack(torch.meshgrid(step, step, indexing="xy"), dim=-1).reshape(1, 49, 2)
    scale = 2 / torch.tensor([width, height])

    def call() -> object:
        positions = (xy[:, None] + offset) * scale - 1
        samples = torch.nn.functional.grid_sample(channels_first, positions[None], align_corners=False)
        return torch.einsum("cns,nc->ns", samples[0], query)

    return call


def interpolate_then_normalize(torch: Any, case: Case) -> Callable[[], object]:
    image, height, width = case.arguments
    tensor = torch.from_numpy(image)

    def call() -> object:
        resized = torch.nn.functional.interpolate(
            tensor.permute(2, 0, 1)[None].float(), (height, width), mode="bilinear", antialias=True
        )
        return resized[0].permute(1, 2, 0).contiguous() / 127.5 - 1

    return call


def windows_of_a_pyramid(torch: Any, case: Case) -> Callable[[], object]:
    """There and back, as a user of grid_sample would: eight steps on each of four levels, all points at once."""
    before, after, xy = (torch.from_numpy(array) for array in case.arguments)
    step = torch.arange(-4.0, 5.0)
    offset = torch.stack(torch.meshgrid(step, step, indexing="xy"), dim=-1).reshape(1, 81, 2)
    weights = torch.exp(-(offset**2).sum(-1) / 8)
    grey = torch.tensor([0.299, 0.587, 0.114])

    def pyramid(frame: Any) -> list[Any]:
        levels = [(frame @ grey)[None, None]]
        for _ in range(3):
            levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2))
        return levels

    def window(image: Any, at: Any) -> Any:
        size = torch.tensor([image.shape[3], image.shape[2]])
        positions = (at[:, None] + offset) * 2 / size - 1
        return torch.nn.functional.grid_sample(image, positions[None], padding_mode="border", align_corners=False)[0, 0]

    def follow(first: list[Any], second: list[Any], start: Any) -> Any:
        moved = torch.zeros_like(start)
        for level in (3, 2, 1, 0):
            at = start / 2**level
            wanted = window(first[level], at)
            along = [(window(first[level], at + d) - window(first[level], at - d)) / 2 for d in torch.eye(2)]
            xx, yy, xy = ((weights * a * b).sum(1) for a, b in ((along[0],) * 2, (along[1],) * 2, along))
            for _ in range(8):
                difference = weights * (wanted - window(second[level], at + moved / 2**level))
                x, y = ((difference * a).sum(1) for a in along)
                move = torch.stack([yy * x - xy * y, xx * y - xy * x], 1) / (xx * yy - xy * xy + 1e-6)[:, None]
                moved = moved + move * 2**level
        return start + moved

    def call() -> object:
        first, second = pyramid(before), pyramid(after)
        end = follow(first, second, xy)
        return end, follow(second, first, end)

    return call


def make_cases() -> list[Case]:
    rng = np.random.default_rng(0)

    def features(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def points(count: int, size: int) -> np.ndarray:
        return rng.uniform(0, size, size=(count, 2)).astype(np.float32)

    def frame(height: int, width: int) -> np.ndarray:
        return rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)

    return [
        Case(
            "local_correlation",
            "64x64x128, 256 points",
            (features(64, 64, 128), features(256, 128), points(256, 64)),
            grid_sample_then_dot,
        ),
        Case(
            "lucas_kanade",
            "192x336, 64 points",
            (features(192, 336, 3), features(192, 336, 3), points(64, 190)),
            windows_of_a_pyramid,
        ),
        Case(
            "resize_normalize",
            "1280x720 to 256x256",
            (frame(720, 1280), 256, 256),
            interpolate_then_normalize,
        ),
        Case("resize_normalize", "128x128 to 256x256", (frame(128, 128), 256, 256), interpolate_then_normalize),
    ]


def milliseconds(call: Callable[[], object]) -> float:
    call()
    times: list[float] = []
    end = time.perf_counter() + SECONDS_PER_MEASUREMENT
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def import_torch(threads: int) -> Any | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


def measure(case: Case, threads: int, torch: Any | None) -> list[dict[str, Any]]:
    in_numpy = milliseconds(lambda: getattr(reference, case.op)(*case.arguments))
    in_torch = milliseconds(case.in_torch(torch, case)) if torch else None
    rows = []
    for isa in tapkernels.info()["available_isas"]:
        tapkernels.set_isa(isa)
        ms = milliseconds(lambda: getattr(tapkernels, case.op)(*case.arguments, threads=threads))
        rows.append(
            {
                "op": case.op,
                "case": case.what,
                "isa": isa,
                "threads": threads,
                "ms": ms,
                "times_faster_than_numpy": in_numpy / ms,
                "times_faster_than_torch": in_torch / ms if in_torch else None,
            }
        )
    tapkernels.set_isa(None)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels against numpy and PyTorch.")
    parser.add_argument("--threads", type=int, default=1, help="threads per call (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    arguments = parser.parse_args()

    torch = import_torch(arguments.threads)
    rows = []
    print(f"{'op':20}{'case':24}{'isa':8}{'ms':>9}{'x numpy':>10}{'x torch':>10}")
    for case in make_cases():
        for row in measure(case, arguments.threads, torch):
            rows.append(row)
            against_torch = row["times_faster_than_torch"]
            print(
                f"{row['op']:20}{row['case']:24}{row['isa']:8}{row['ms']:9.3f}"
                f"{row['times_faster_than_numpy']:10.1f}"
                + (f"{against_torch:10.1f}" if against_torch else f"{'no torch':>10}")
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
