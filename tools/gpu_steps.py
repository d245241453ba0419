"""One step of a model on a device, eager and exported: how fast, and how far from float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.stages import Stage, Style, cut
from export.targets.dynamic_shapes import traced
from export.targets.torch import HALVES, to_bytes
from tapsdk.artifact.content import Content
from tapsdk.backends import Options, open_backend
from tapsdk.backends.torch import Torch, TorchSession
from tapsdk.selection.accuracy import MOST, TOLERANCES
from tools.gpu_rows import PRECISIONS, WARM_UP, Check, Row, Settings, timed
from tools.gpu_small import small_config
from training.models.registry import CONFIGS, family_of

IMAGE = (720, 1280)
"""(height, width) of the frames, as a camera has them."""
ANY_SIZE = (192, 336)
"""Of frames as a step gets them, where any will do."""
SECONDS = 1.5
COMPARED = 5
"""Frames over which a step is held against the same in float32."""


def step_checks(model: str, points: Sequence[int], settings: Settings) -> Iterator[Check]:
    """Eager, then the exported step in every precision."""
    made: dict[str, Any] = {}

    def stage() -> Stage:
        """Made when it is needed, so that what fails fails in a row."""
        if "stage" not in made:
            made["stage"] = step_of(model, settings.quick)
        return made["stage"]  # type: ignore[no-any-return]

    def session(precision: str) -> TorchSession:
        if precision not in made:
            made["program"] = made.get("program") or traced(stage())
            data = to_bytes(made["program"], stage().spec, HALVES.get(precision), stage().exact)
            engine = open_backend("torch", Options(device=settings.device))
            made[precision] = engine.open(Content(Path(f"{model}.safetensors"), {"": data}), stage().spec)
        return made[precision]  # type: ignore[no-any-return]

    def eager(row: Row) -> Row:
        with on_device(stage().module, settings.device) as module:
            return measured(row, lambda x: module(*x), stage(), settings)

    def graph(row: Row) -> Row:
        opened, inputs, outputs = session(row.precision), stage().spec.inputs, [t.name for t in stage().spec.outputs]

        def compute(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            found = opened.run({t.name: x for t, x in zip(inputs, tensors, strict=True)}, outputs)
            return [found[name] for name in outputs]

        row = compared(measured(row, compute, stage(), settings), compute, stage(), settings.device)
        return replace(row, note=f"{opened.recordings} recordings" if opened.recordings else "not replayed")

    for count in points:
        yield Row("step", model, "eager", "fp32", count), eager
        for precision in PRECISIONS:
            yield Row("step", model, "graph", precision, count), graph


@contextmanager
def on_device(module: torch.nn.Module, device: str) -> Iterator[torch.nn.Module]:
    """Within it, the module is there, and computes in float32 as it is written."""
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield module.to(device)
    finally:
        module.to("cpu")


def step_of(model: str, quick: bool) -> Stage:
    """The step of a model with random weights, on which its speed does not depend."""
    config = small_config(model) if quick else CONFIGS[model]
    torch.manual_seed(0)
    module = family_of(model).module_class("torch")(config).eval().requires_grad_(False)
    stages = cut(model.partition("/")[0], module, Style(native=False)).stages
    return next(each for each in stages if each.name == "step")


Compute = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]


def start(stage: Stage, points: int, device: str) -> list[torch.Tensor]:
    size = next((t.shape[1:3] for t in stage.spec.inputs if t.role == "frame"), None)
    fixed = size if size and all(isinstance(side, int) for side in size) else ANY_SIZE
    inputs = [x.to(device) for x in stage.example(points, fixed)]
    # As a video's first frames: noise in the place of a state would grow with every frame.
    return [x * 0 if t.role == "state" else x for x, t in zip(inputs, stage.spec.inputs, strict=True)]


def advanced(stage: Stage, inputs: list[torch.Tensor], outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Inputs of the next frame."""
    found = {t.name: x for t, x in zip(stage.spec.outputs, outputs, strict=True)}
    named = zip(stage.spec.inputs, inputs, strict=True)
    return [found.get(f"next_{t.name}", x) for t, x in named]


@torch.inference_mode()
def measured(row: Row, compute: Compute, stage: Stage, settings: Settings) -> Row:
    """The row with the time of a frame: it goes there as it is, and positions come back."""
    device = settings.device
    inputs, engine = start(stage, row.points or 1, device), Torch(Options(device=device))
    where = next(i for i, t in enumerate(stage.spec.inputs) if t.role == "frame")
    xy = next(i for i, t in enumerate(stage.spec.outputs) if t.role == "xy")
    image = np.random.default_rng(0).integers(0, 256, (*IMAGE, 3), dtype=np.uint8)
    size = (int(inputs[where].shape[1]), int(inputs[where].shape[2]))

    def frame() -> torch.Tensor:
        nonlocal inputs
        inputs[where] = engine.resized(image, size, (-1.0, 1.0))
        outputs = compute(inputs)
        inputs = advanced(stage, inputs, outputs)
        return outputs[xy]

    for _ in range(WARM_UP):
        frame().cpu()
    seconds: list[float] = []
    ends = time.perf_counter() + SECONDS
    while len(seconds) < 3 or (len(seconds) < settings.frames and time.perf_counter() < ends):
        began = time.perf_counter()
        frame().cpu()
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in seconds:
        last = frame()
    last.cpu()
    return timed(row, seconds, (time.perf_counter() - began) / len(seconds))


@torch.inference_mode()
def compared(row: Row, compute: Compute, stage: Stage, device: str) -> Row:
    """The row with pixels off the same step in float32, over a few frames.

    Weights are random here, so that half precisions are told of and not judged.
    """
    xy = next(i for i, t in enumerate(stage.spec.outputs) if t.role == "xy")
    inputs, distances = start(stage, row.points or 1, device), []
    with on_device(stage.module, device) as module:
        for _ in range(COMPARED):
            expected, found = module(*inputs), compute(inputs)
            distances.append((found[xy] - expected[xy]).norm(dim=-1).cpu().numpy())
            inputs = advanced(stage, inputs, expected)
    tolerance, distance = TOLERANCES[row.precision], np.concatenate(distances)
    pixels = float(distance.max() if tolerance.of == "largest" else np.quantile(distance, MOST))
    wrong = row.precision == "fp32" and not pixels <= tolerance.pixels
    return replace(row, pixels=pixels, status="wrong" if wrong else "ok")
