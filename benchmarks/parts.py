"""The parts of a run: what is measured, in which order. Each gives its rows as they come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.comparing import Effort, compare, curve, scaling
from benchmarks.measuring import RunnerError, Worker, alone, environment, load, too_busy
from benchmarks.models import ROOT, Need
from benchmarks.rows import Row
from benchmarks.runners.matrix import FLOPS as MATRIX_FLOPS
from benchmarks.start import measure as first_frame
from benchmarks.workloads import Workload
from tapsdk.errors import BackendError
from tapsdk.selection.isolated import run_isolated

MATRICES = ("matrix-numpy", "matrix-torch")
SAME = ("torch", "torch-compile", "literal", "jax", "plain-onnxruntime", "plain-openvino")
"""Peers that compute what ours computes."""
OPENCV = ("opencv-lk", "opencv-dis")

TINY = Workload("tapir/tiny", size=(720, 1280))
MANY = replace(TINY, points=1024)
BOOTS = Workload("tapir/boots-causal", size=(256, 256))
CLIP = Workload("tapir/boots", points=256, size=(256, 256), clip=10, threads=2)
"""Of the literal form; ours is measured with a hundred frames as well."""
LONG_CLIP = 100

Part = Callable[[Effort, bool], Iterator[list[Row]]]


def roofline(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """Matrix products of 1024 x 1024 float32."""
    for threads in (1,) if quick else (1, 2):
        workload = Workload("matrix product", points=0, threads=threads)
        key = f"float32, {threads} thread{'s' if threads > 1 else ''}"
        for name in MATRICES:
            effort.say(f"{name}, {key}")
            row = Row("roofline", name, key, threads=threads)
            try:
                with Worker(name, workload) as worker:
                    seconds = min(turn.seconds(threads) for turn in alone(worker, min(effort.seconds, 3)))
            except RunnerError as error:
                yield [replace(row, reason=str(error))]
                continue
            yield [replace(row, milliseconds=1000 * seconds, gigaflops=MATRIX_FLOPS / seconds / 1e9)]


def kernels(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """Every kernel alone, on the instruction set in use, against PyTorch: `benchmarks/kernels.py`."""
    busy = too_busy(load())
    if busy:
        yield [Row("kernels", "kernels", "all", reason=busy)]
        return
    effort.say("every kernel against numpy and PyTorch")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.json"
        command = [sys.executable, "-m", "benchmarks.kernels", "--threads", "1", "--json", str(path)]
        variables = {**os.environ, **environment(1)}
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            yield [Row("kernels", "kernels", "all", reason=last)]
            return
        found = json.loads(path.read_text())
    yield [
        Row(
            "kernels",
            row["op"],
            f"{row['case']}, {row['isa']}, 1 thread",
            milliseconds=row["ms"],
            ratio=row["times_faster_than_torch"],
        )
        for row in found
    ]


def start(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """From a fresh interpreter to the first frame, in the processor's time."""
    effort.say("the first frame of fresh interpreters")
    try:
        yield [Row("start", "native", name, milliseconds=value) for name, value in first_frame().items()]
    except RunnerError as error:
        yield [Row("start", "native", "the first frame", reason=str(error))]


def stages(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """Where a frame's time goes, by plan."""
    wanted = [(TINY, "native"), (TINY, "fused"), (MANY, "native"), (BOOTS, "native")]
    for workload, plan in wanted[:2] if quick else wanted:
        effort.say(f"stages of {workload.label}, {plan}")
        row = Row("stages", plan, workload.label, points=workload.points)
        try:
            found = run_isolated("benchmarks.stages:answer", {"workload": workload.to_table(), "plan": plan}, 600)
        except BackendError as error:
            yield [replace(row, reason=str(error))]
            continue
        yield [replace(row, milliseconds=sum(found.values()), stages=found)]


def tiny(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """The bundled model and everybody else, frames of 1280x720 in."""
    if quick:
        yield compare("tiny", TINY, ("native", "fused", "torch", "literal", *OPENCV), effort)
        return
    yield compare("tiny", TINY, ("native", "fused", *SAME, *OPENCV), effort)
    few = ("native", "literal", "plain-onnxruntime", "opencv-lk")
    yield compare("tiny", MANY, (*few, "fused", "torch", "jax"), effort)
    for workload in (TINY, MANY):
        yield compare("tiny", replace(workload, threads=2), few, effort)


def boots(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """The shape of the published online BootsTAPIR."""
    if quick:
        return
    few = ("native", "literal", "tapnet", "torch-compile", "jax", "plain-onnxruntime")
    yield compare("boots", replace(BOOTS, points=16), few[:3], effort)
    yield compare("boots", BOOTS, (*few, "plain-openvino"), effort)
    yield compare("boots", replace(BOOTS, points=256), few, effort)
    yield compare("boots", replace(BOOTS, threads=2), few[:3], effort)


def threads(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """Two threads beside one, of the same runner."""
    if quick:
        return
    product = Workload("matrix product", points=0)
    yield [scaling("threads", product, effort.matrix, effort)]
    for workload in (TINY, MANY, BOOTS):
        yield [scaling("threads", workload, "native", effort)]
    yield [scaling("threads", TINY, "literal", effort)]


def clip(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """The published BootsTAPIR on whole clips."""
    if quick:
        return
    once = replace(effort, seconds=0)
    yield compare("clip", CLIP, ("clip", "literal-clip", "tapnet-clip"), once)
    yield compare("clip", replace(CLIP, clip=LONG_CLIP), ("clip", "tapnet-clip"), once)


def points(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """One point to thousands."""
    if quick:
        return
    some = replace(effort, seconds=min(effort.seconds, 3))
    counts = (1, 4, 16, 64, 256, 1024, 4096)
    few = ("native", "fused", "literal", "opencv-lk")
    yield from curve("points", {n: replace(TINY, points=n) for n in counts}, few, some)
    yield from curve("points", {n: replace(TINY, points=n, threads=2) for n in (1, 64, 1024, 4096)}, few[:1], some)


def frames(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """Short videos to long ones: memory of a stream stays the same."""
    if quick:
        return
    once = replace(effort, seconds=0)
    videos = {n: replace(TINY, size=(256, 256), clip=n) for n in (10, 100, 1000)}
    for n, workload in videos.items():
        yield compare("frames", workload, ("stream",) if n > 100 else ("stream", "torch-clip"), once, n)


def resolution(effort: Effort, quick: bool) -> Iterator[list[Row]]:
    """Frames of 256x256 to 1024x1024, tracked at that size."""
    if quick:
        return
    some = replace(effort, seconds=min(effort.seconds, 3))
    sides = (256, 384, 512, 768, 1024)
    yield from curve("resolution", {s: replace(TINY, size=(s, s), resolution=s) for s in sides}, ("native",), some)


PARTS: dict[str, Part] = {
    "roofline": roofline,
    "kernels": kernels,
    "start": start,
    "stages": stages,
    "tiny": tiny,
    "boots": boots,
    "threads": threads,
    "clip": clip,
    "points": points,
    "frames": frames,
    "resolution": resolution,
}

NEEDS: dict[str, tuple[Need, ...]] = {
    "stages": (Need(BOOTS.model),),
    "tiny": (Need(TINY.model, plain=True),),
    "boots": (Need(BOOTS.model), Need(BOOTS.model, plain=True)),
    "threads": (Need(BOOTS.model),),
    "clip": (Need(CLIP.model),),
}
"""What runners of a part open, and `benchmarks.models.prepare` makes."""
