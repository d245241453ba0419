"""ONNX by torch's exporter: one file per stage, any number of points, plain operators, no control flow."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxscript
import torch
from onnx import numpy_helper

from export.stages import Stage, Style
from export.targets import Request, Target, compiling
from export.targets.dynamic_shapes import traced
from export.targets.onnx.translation import OPSET, translate
from export.targets.onnx.weights import halve, quantize
from export.targets.onnx.winograd import use_winograd
from export.targets.shared_weights import SMALLEST, SharedWeights
from tapsdk.artifact.weights import WEIGHTS
from tapsdk.backends import Backend, open_backend

CONTROL_FLOW = {"If", "Loop", "Scan"}
SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter notes the modules that a node comes from, outermost first, then the node's own name."""


class Onnx:
    format = "onnx"
    style = Style(kernels=True)
    buckets: tuple[int, ...] = ()
    precisions: Mapping[str, float] = {"fp32": 0.01, "fp16": 0.25, "int8": 1.0}

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        graphs = {stage.name: graph_of(stage, request) for stage in compiling(stages)}
        share(graphs, request.shared, directory)
        for name, graph in graphs.items():
            onnx.save(graph, directory / f"{name}.onnx")
        return {stage.name: f"{stage.name}.onnx" for stage in stages}

    def open_backend(self) -> Backend:
        return open_backend("onnxruntime")

    def tools(self) -> dict[str, str]:
        versions = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxscript": onnxscript.__version__}
        return {**versions, "opset": str(OPSET)}


def graph_of(stage: Stage, request: Request) -> onnx.ModelProto:
    """A stage as a checked ONNX graph in the precision that is asked for. Nodes are named after their modules."""
    model = _traced(stage)
    found = CONTROL_FLOW & {node.op_type for node in model.graph.node}
    if found:
        raise RuntimeError(f"stage {stage.name!r} was exported with control flow: {', '.join(sorted(found))}")
    _name_after_modules(model)
    _forget_origin(model)
    _transpose_weights(model)
    if request.precision != "int8":  # whose layers are convolutions of integers
        use_winograd(model)
    if request.precision == "fp16":
        halve(model)
    elif request.precision == "int8":
        model = quantize(model, stage, request.samples()[stage.name])
    onnx.checker.check_model(model, full_check=True)
    return model


def share(graphs: Mapping[str, onnx.ModelProto], shared: SharedWeights, directory: Path) -> None:
    """Moves the large tensors of graphs into the file of weights, so that each is stored once."""
    moved = [
        (tensor, shared.add(numpy_helper.to_array(tensor), f"{name}.{tensor.name}".removeprefix(f"{name}.model.")))
        for name, graph in graphs.items()
        for tensor in graph.graph.initializer
        if len(tensor.raw_data) >= SMALLEST
    ]
    places = shared.write(directory)
    for tensor, name in moved:
        offset, length = places[name]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))


def _traced(stage: Stage) -> onnx.ModelProto:
    return translate(traced(stage), stage)


def _name_after_modules(model: onnx.ModelProto) -> None:
    """Names become "module.path/operation", "/operation" outside of submodules."""
    for node in model.graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        modules = ast.literal_eval(notes.get(SCOPES, "[]"))[:-1]
        node.name = f"{modules[-1] if modules else ''}/{node.name}"


def _forget_origin(model: onnx.ModelProto) -> None:
    """The exporter notes at every node which lines of which files on this machine it came from."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]


def _transpose_weights(model: onnx.ModelProto) -> None:
    """Weights of layers that run more than once are transposed at each run; once and for all will do."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    transposed: dict[str, str] = {}
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]:
        (name,), (order,) = node.input, (attribute.ints for attribute in node.attribute)
        turned = f"{name}_{'_'.join(map(str, order))}"
        if turned not in transposed.values():
            array = np.ascontiguousarray(numpy_helper.to_array(weights[name]).transpose(order))
            graph.initializer.append(numpy_helper.from_array(array, turned))
        transposed[node.output[0]] = turned
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [transposed.get(name, name) for name in node.input]
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


TARGET: Target = Onnx()
