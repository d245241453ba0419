"""OpenVINO's intermediate representation, by way of ONNX: one XML file per stage, any number of points.

Their constants lie in the artifact's file of weights, in place of a .bin file for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np

from export.stages import Stage, Style
from export.targets import Request, Target, compiling
from export.targets.onnx.target import TARGET as ONNX
from export.targets.onnx.target import graph_of
from export.targets.shared_weights import SharedWeights
from tapsdk.backends import Backend, open_backend
from tapsdk.backends.openvino import ov
from tapsdk.system.leftovers import temporary_folder

Converted: TypeAlias = tuple[ElementTree.Element, bytes]
"""A model as XML, and the numbers that it refers to."""
DTYPES = {"f64": "<f8", "f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4", "i8": "i1", "u8": "u1", "boolean": "?"}
"""Of what constants are made of; others are stored byte by byte."""


class OpenVino:
    format = "openvino"
    style = Style(kernels=True)
    buckets: tuple[int, ...] = ()
    precisions: Mapping[str, float] = ONNX.precisions

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        models = {stage.name: _converted(stage, request) for stage in compiling(stages)}
        constants = [_shared(name, model, request.shared) for name, model in models.items()]
        places = request.shared.write(directory)
        for (name, (model, _)), moved in zip(models.items(), constants, strict=True):
            for data, tensor in moved:
                data.set("offset", str(places[tensor][0]))
            (directory / f"{name}.xml").write_bytes(ElementTree.tostring(model, "utf-8", xml_declaration=True))
        return {stage.name: f"{stage.name}.xml" for stage in stages}

    def open_backend(self) -> Backend:
        return open_backend("openvino")

    def tools(self) -> dict[str, str]:
        return {**ONNX.tools(), "openvino": ov.get_version()}


def _converted(stage: Stage, request: Request) -> Converted:
    model = ov.Core().read_model(graph_of(stage, request).SerializeToString())
    with temporary_folder() as folder:
        path = folder / f"{stage.name}.xml"
        # Weights come in the precision that they shall have.
        ov.save_model(model, path, compress_to_fp16=False)
        return ElementTree.fromstring(path.read_bytes()), path.with_suffix(".bin").read_bytes()


def _shared(stage: str, model: Converted, shared: SharedWeights) -> list[tuple[ElementTree.Element, str]]:
    """Of every constant, the element that says where its numbers are, and the name of the tensor that they become."""
    root, weights = model
    found = []
    for layer in root.iter("layer"):
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None:
            begin, size = int(data.get("offset", 0)), int(data.get("size", 0))
            dtype = np.dtype(DTYPES.get(data.get("element_type", ""), np.uint8))
            array = np.frombuffer(weights[begin : begin + size], dtype)
            sides = [int(side) for side in (data.get("shape") or "").split(",") if side]
            array = array.reshape(sides) if array.size == math.prod(sides) else array
            found.append((data, shared.add(array, f"{stage}.{layer.get('name')}".removeprefix(f"{stage}.model."))))
    return found


TARGET: Target = OpenVino()
