"""OpenVINO's intermediate representation, by way of ONNX: one folder per stage, any number of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from export.stages import Stage, Style
from export.targets import Request, Target, compiling
from export.targets.onnx.target import TARGET as ONNX
from export.targets.onnx.target import graph_of
from tapsdk.backends import Backend, open_backend
from tapsdk.backends.openvino import MODEL, ov


class OpenVino:
    format = "openvino"
    style = Style()
    buckets: tuple[int, ...] = ()
    precisions: Mapping[str, float] = ONNX.precisions

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        return {
            stage.name: _convert(stage, directory / f"{stage.name}.openvino", request) for stage in compiling(stages)
        }

    def open_backend(self) -> Backend:
        return open_backend("openvino")

    def tools(self) -> dict[str, str]:
        return {**ONNX.tools(), "openvino": ov.get_version()}


def _convert(stage: Stage, folder: Path, request: Request) -> str:
    model = ov.Core().read_model(graph_of(stage, request).SerializeToString())
    folder.mkdir()
    # Weights come in the precision that they shall have.
    ov.save_model(model, folder / MODEL, compress_to_fp16=False)
    return folder.name


TARGET: Target = OpenVino()
