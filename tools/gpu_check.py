"""Is everything right on this device, and how fast? One table, in under eight minutes on a GPU.

    python -m tools.gpu_check [--device cuda] [--minutes 8] [-o out/gpu_check]
    python -m tools.gpu_check --device cpu --quick        # small models: that the check itself works

It needs PyTorch for the device, ONNX Runtime and this checkout, installed with its extra `export-torch`, which adds
safetensors and OpenCV; without OpenCV the rows that export a whole model fail, and no others. Weights come from
formulas and at random, so nothing is fetched. A row that fails is a row of the table, with its reason; rows for which
there is no time left say so. The exit status is 0 if nothing failed and nothing was wrong.

golden     the goldens of tests/golden, by PyTorch on the device
whole      the bundled model by `tapsdk.load`: by ONNX Runtime, and exported to PyTorch in every precision; held against
           the tracks that lie in its artifact, with the tolerances of `backend="auto"`
step       one step of larger models, from a frame of uint8 in our memory to positions in it. "eager": as PyTorch runs
           it, operator by operator. "graph": exported and by tapsdk's backend, replayed as a CUDA graph
kernel     local correlation as PyTorch's operators and in Triton
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

import tapsdk
from tapsdk.runtime.model import Model
from tapsdk.runtime.rollout import roll_out
from tapsdk.selection.accuracy import TOLERANCES, Rollout
from tapsdk.selection.reference import moving_pattern, read_reference
from tools.gpu_goldens import GOLDENS, QUICK, off_golden
from tools.gpu_kernels import kernel_checks
from tools.gpu_rows import PRECISIONS, WARM_UP, Check, Row, Settings, timed
from tools.gpu_small import small_model
from tools.gpu_steps import step_checks

STEPS = ("tapnext/base", "tapir/tiny", "tapir/boots-causal")
POINTS, FEW_POINTS = (256, 64, 1024), (4,)
PUBLISHED = "tapnext/base", 256, 5.05
"""Milliseconds a frame on an H100, as TAPNext's authors say (tap-next.github.io), in fp16 and compiled."""


def checks(settings: Settings) -> Iterator[Check]:
    """What matters most comes first."""
    points = FEW_POINTS if settings.quick else POINTS
    yield from golden_checks(settings)
    yield from step_checks(STEPS[0], points, settings)
    yield from whole_checks(points, settings)
    yield from kernel_checks(points, settings)
    for model in STEPS[1:2] if settings.quick else STEPS[1:]:
        yield from step_checks(model, points, settings)


# Goldens


def golden_checks(settings: Settings) -> Iterator[Check]:
    for name in QUICK if settings.quick else GOLDENS:

        def check(row: Row, name: str = name) -> Row:
            pixels = off_golden(name, settings.device)
            limit = TOLERANCES["fp32"].pixels
            return replace(row, pixels=pixels, status="ok" if pixels <= limit else "wrong", note=f"at most {limit} px")

        yield Row("golden", GOLDENS[name], name), check


# The whole way


def whole_checks(points: Sequence[int], settings: Settings) -> Iterator[Check]:
    """The bundled model, with its trained weights: at random ones, rounding decides everything."""
    exported: dict[str, Path] = {}

    def artifact_in(precision: str) -> Path:
        from export.pipeline import Options, export  # needs OpenCV, which other rows do without

        if precision not in exported:
            folder = Path(tempfile.mkdtemp(prefix="gpu_check-")) / precision
            exported[precision] = folder
            if settings.quick:
                name, weights = small_model(folder.parent)
                export(name, "torch", folder, Options(weights, precision))
            else:
                export("tapir/tiny", "torch", folder, Options(precision=precision))
        return exported[precision]

    def by_onnxruntime(row: Row) -> Row:
        return whole(row, tapsdk.load("tapir", backend="onnxruntime:fused", device=settings.device), settings)

    def by_torch(row: Row) -> Row:
        model = tapsdk.load(artifact_in(row.precision), backend="torch:fused", device=settings.device)
        return whole(row, model, settings)

    for count in points:
        yield Row("whole", "tapir/tiny", "onnxruntime", "fp32", count), by_onnxruntime
        for precision in ("fp16",) if settings.quick else PRECISIONS:
            yield Row("whole", "tapir/tiny", "torch", precision, count), by_torch
    for folder in exported.values():
        shutil.rmtree(folder.parent, ignore_errors=True)


def whole(row: Row, model: Model, settings: Settings) -> Row:
    """The row with pixels off the artifact's reference, and the time of a frame."""
    expected = read_reference(model.artifact)
    assert expected is not None
    found = Rollout(*_tracked(model, *expected.pattern()))
    difference = found.difference(expected)
    video, xy = moving_pattern(expected.size, WARM_UP + settings.frames, row.points or 1)
    seconds = [each.seconds for each in roll_out(model, video, xy)][WARM_UP:]
    complaint = difference.complaint(row.precision)
    return replace(
        timed(row, seconds, sum(seconds) / len(seconds)),
        pixels=difference.counted(row.precision),
        status="wrong" if complaint else "ok",
        note=complaint or model.backend.describe(),
    )


def _tracked(model: Model, video: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    each = [frame.tracks for frame in roll_out(model, video, xy)]
    return np.concatenate([t.xy for t in each], 1), np.concatenate([t.visible for t in each], 1)


# The report


def about(settings: Settings) -> dict[str, str]:
    name = torch.cuda.get_device_name(settings.device) if settings.on_cuda else platform.processor() or "processor"
    return {
        "device": f"{settings.device} ({name})",
        "tapsdk": tapsdk.__version__,
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}",
        "onnxruntime": f"{ort.__version__}, {', '.join(ort.get_available_providers())}",
        "python": f"{platform.python_version()}, {platform.system()}",
        "models": "small ones: these numbers say nothing" if settings.quick else "of their full size",
    }


def published(rows: Sequence[Row]) -> str:
    """The fastest of ours beside the published figure."""
    model, points, theirs = PUBLISHED
    ours = [r for r in rows if (r.model, r.points, r.what) == (model, points, "graph") and r.milliseconds]
    if not ours:
        return f"{model} at {points} points was not measured; published: {theirs} ms on an H100."
    told = ", ".join(f"{r.precision} {r.milliseconds:.2f} ms" for r in ours)
    return f"{model} at {points} points: {told} here; published: {theirs} ms on an H100."


def as_markdown(rows: Sequence[Row], facts: dict[str, str]) -> str:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    eager = {(r.model, r.points): r.milliseconds for r in rows if r.what == "eager"}
    lines = ["# Check of a device", "", *(f"- {name}: {text}" for name, text in facts.items()), "", published(rows), ""]
    header = ("part", "model", "what", "precision", "points", "status", "px off", "ms", "frames/s", "times eager", "")
    lines += ["| " + " | ".join(each) + " |" for each in (header, ("---",) * len(header))]
    for r in rows:
        base = eager.get((r.model, r.points)) if r.what == "graph" else None
        cells = (r.part, r.model, r.what, r.precision, number(r.points, "d"), r.status, number(r.pixels, ".2g"))
        speed = number(r.milliseconds, ".2f"), number(r.frames_per_second, ".1f")
        gain = number(base / r.milliseconds if base and r.milliseconds else None, ".2f")
        lines.append("| " + " | ".join((*cells, *speed, gain, r.note.replace("|", "/").replace("\n", " "))) + " |")
    return "\n".join(lines) + "\n"


def run(settings: Settings, minutes: float) -> list[Row]:
    """All rows; those that could not begin in time are skipped."""
    rows: list[Row] = []
    ends = time.monotonic() + 60 * minutes
    for row, check in checks(settings):
        if time.monotonic() > ends:
            rows.append(replace(row, status="skipped", note="no time was left"))
            continue
        try:
            rows.append(check(row))
        except Exception as error:  # it is what the table is for
            rows.append(replace(row, status="failed", note=f"{type(error).__name__}: {error}"[:300]))
        if settings.on_cuda:
            torch.cuda.empty_cache()
        print(f"{rows[-1].status:8}{row.part} {row.model} {row.what} {row.precision} {row.points or ''}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="as PyTorch names it (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="small models, to try the check itself")
    parser.add_argument("--minutes", type=float, default=7.0, help="after which no row is begun (default: 7)")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/gpu_check"), metavar="DIR")
    args = parser.parse_args()
    settings = Settings(args.device, args.quick)
    try:
        torch.zeros(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        print(f"PyTorch {torch.__version__} has no device {args.device!r} here: {error}", file=sys.stderr)
        return 2
    rows, facts = run(settings, args.minutes), about(settings)
    args.output.mkdir(parents=True, exist_ok=True)
    table = as_markdown(rows, facts)
    (args.output / "table.md").write_text(table, encoding="utf-8")
    report = {**facts, "published": published(rows), "rows": [asdict(row) for row in rows]}
    (args.output / "rows.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(table)
    return int(any(row.status in ("wrong", "failed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
