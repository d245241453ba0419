"""Time every kernel on every instruction set of this machine, against its numpy reference and PyTorch.

    python benchmarks/kernels.py [--threads 1] [--json FILE]

A time is the median of many calls after a warm-up. The numpy reference is written to be read, not to be fast.
PyTorch, where it is installed, does the same work as its users would write it, on the same number of threads, and
ONNX Runtime runs the bundled model's stage that does it, if there is one. Memory is what the first call makes a fresh
process grow by, beyond what the call gives.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tapkernels
import tapsdk
from tapkernels import CostVolumeHead, reference

SECONDS_PER_MEASUREMENT = 0.5


@dataclass(frozen=True)
class Case:
    """One call of an op, and the same work in PyTorch: a function that prepares it and returns its call."""

    op: str
    what: str
    arguments: tuple[Any, ...]
    in_torch: Callable[[Any, Case], Callable[[], object]]
    in_onnxruntime: Callable[[Any, Case], Callable[[], object] | None] | None = None
    """The same of a session's options; None where the model's stage is not there."""


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


def convolved_scores(torch: Any, case: Case) -> Callable[[], object]:
    from tapkernels import torch_operators

    grid, features, previous, head = case.arguments
    tensors = [torch.from_numpy(array) for array in (grid, features, previous)]
    weights = [torch.from_numpy(array) for array in head.arrays()[:-1]]
    return lambda: torch_operators.cost_volume_track(*tensors, weights, head.temperature, head.motion_prior)


def stage_locate(options: Any, case: Case) -> Callable[[], object] | None:
    import onnxruntime

    path = Path(tapsdk.__file__).parent / "models/tapir/tiny/locate.onnx"
    if not path.exists():
        return None
    session = onnxruntime.InferenceSession(path, options)
    grid, features, previous, _ = case.arguments
    widened = np.concatenate([np.zeros((len(features), 48), np.float32), features], axis=1)
    inputs = {"low": grid[None], "features": widened, "previous": previous}
    return lambda: session.run(None, inputs)


def grid_sample(torch: Any, case: Case) -> Callable[[], object]:
    grid, xy = (torch.from_numpy(array) for array in case.arguments)
    channels_first = grid.permute(2, 0, 1)[None].contiguous()
    places = (xy * (2 / torch.tensor([grid.shape[1], grid.shape[0]])) - 1)[None, None]

    def call() -> object:
        sampled = torch.nn.functional.grid_sample(channels_first, places, padding_mode="border", align_corners=False)
        return sampled[0, :, 0].T.contiguous()

    return call


def make_head(rng: np.random.Generator) -> CostVolumeHead:
    """As wide as the bundled model's."""

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)

    layers = [(16, 1, 3, 3), (16,), (1, 16, 3, 3), (16, 16, 3, 3), (16,), (16, 16), (16,), (2, 16), (2,)]
    return CostVolumeHead(*(normal(*shape) for shape in layers), temperature=20.0, motion_prior=3.0)


def make_cases() -> list[Case]:
    rng = np.random.default_rng(0)

    def features(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def points(count: int, size: int) -> np.ndarray:
        return rng.uniform(0, size, size=(count, 2)).astype(np.float32)

    def frame(height: int, width: int) -> np.ndarray:
        return rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)

    return [
        *(
            Case(
                "cost_volume_track",
                f"24x42x128, {count} points",
                (features(24, 42, 128) / 11, features(count, 128) / 11, points(count, 24), make_head(rng)),
                convolved_scores,
                stage_locate,
            )
            for count in (64, 1024)
        ),
        *(
            Case(
                "local_correlation",
                f"{size}x{size}x{channels}, {count} points",
                (features(size, size, channels), features(count, channels), points(count, size)),
                grid_sample_then_dot,
            )
            for size, channels in ((64, 128), (32, 256))
            for count in (64, 256, 1024)
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
        Case("sample_features", "64x64x128, 1024 points", (features(64, 64, 128), points(1024, 64)), grid_sample),
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


def in_onnxruntime(case: Case, threads: int) -> float | None:
    """Milliseconds of the model's stage."""
    if case.in_onnxruntime is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    call = case.in_onnxruntime(options, case)
    return milliseconds(call) if call else None


def growth(case: int, threads: int) -> float | None:
    """Megabytes by which a call makes this process grow, beyond what it gives; of a fresh process, on Linux."""
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        return None
    chosen = make_cases()[case]
    peak.write_text("5")  # the highest memory so far is forgotten
    before = resident_peak()
    found = getattr(tapkernels, chosen.op)(*chosen.arguments, threads=threads)
    given = sum(array.nbytes for array in (found if isinstance(found, tuple) else (found,)))
    return max(resident_peak() - before - given / 2**20, 0.0)


def resident_peak() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(case: Case, threads: int, torch: Any | None) -> list[dict[str, Any]]:
    in_numpy = milliseconds(lambda: getattr(reference, case.op)(*case.arguments))
    in_torch = milliseconds(case.in_torch(torch, case)) if torch else None
    in_stage = in_onnxruntime(case, threads)
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
                "times_faster_than_onnxruntime": in_stage / ms if in_stage else None,
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
    ratios = ("times_faster_than_numpy", "times_faster_than_torch", "times_faster_than_onnxruntime")
    print(f"{'op':20}{'case':24}{'isa':8}{'ms':>9}{'x numpy':>10}{'x torch':>10}{'x ONNX':>10}{'MB':>8}")
    for i, case in enumerate(make_cases()):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            megabytes = fresh.submit(growth, i, arguments.threads).result()
        for row in measure(case, arguments.threads, torch):
            rows.append(row | {"megabytes": megabytes})
            against = "".join(f"{row[name]:10.1f}" if row[name] else f"{'-':>10}" for name in ratios)
            memory = "" if megabytes is None else f"{megabytes:8.1f}"
            print(f"{row['op']:20}{row['case']:24}{row['isa']:8}{row['ms']:9.3f}{against}{memory}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
