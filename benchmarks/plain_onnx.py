"""python -m benchmarks.plain_onnx MODEL WEIGHTS HxW FOLDER: the literal form by torch.onnx.export, and nothing more.

What somebody gets who exports TAPIR without thinking of the engine: one graph for a frame, with GridSample, for any
number of points. `init` gives the descriptors of points, `step` their positions and logits in a frame.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.literal import literal_form
from export.stages.tapir import DescribeQuery, Step
from tapsdk.geometry import Size
from training.models import load
from training.models.tapir.torch import Tapir


class Init(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.model, self.describe = model, DescribeQuery(model)

    def forward(self, frame: Tensor, xy: Tensor) -> Tensor:
        """Descriptors [N, C] of points xy [N, 2], in pixels of `config.resolution`, of frame [1, H, W, 3]."""
        return self.describe(*self.model.encode(frame), xy)


def step_inputs(model: Tapir, size: Size, points: int) -> dict[str, Tensor]:
    """By name, in the order in which the graph takes them."""
    config = model.config
    inputs = {"frame": torch.zeros(1, *size, 3), "features": torch.zeros(points, config.feature_width)}
    if config.motion_prior:
        inputs["previous"] = torch.zeros(points, 2)
    for i in range(config.iterations):
        inputs[f"narrow_{i}"], inputs[f"wide_{i}"] = model.empty_memory(points)
    return inputs


def write_plain(model: Tapir, size: Size, folder: Path) -> None:
    """Writes init.onnx and step.onnx; frames are of (height, width) `size`."""
    folder.mkdir(parents=True, exist_ok=True)
    points = torch.export.Dim("N", min=2)
    literal_form(model)
    inputs = step_inputs(model, size, points=5)
    memory = [name for name in inputs if name.startswith(("narrow", "wide"))]
    outputs = ["xy", "occlusion", "expected_dist", *(f"next_{name}" for name in memory)]
    axes = [None if name == "frame" else {1 if name in memory else 0: points} for name in inputs]
    _export(Step(model), inputs, [*axes[:2], tuple(axes[2:])], outputs, folder / "step.onnx")
    inputs = {"frame": torch.zeros(1, *size, 3), "xy": torch.ones(5, 2)}
    _export(Init(model), inputs, [None, {0: points}], ["features"], folder / "init.onnx")


def _export(module: nn.Module, inputs: dict[str, Tensor], axes: list[Any], outputs: list[str], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=axes,
            dynamo=True,
            verbose=False,
        )


def main(model: str, weights: str, size: str, folder: str) -> None:
    height, width = map(int, size.split("x"))
    with torch.no_grad():
        write_plain(load(model, weights), (height, width), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
