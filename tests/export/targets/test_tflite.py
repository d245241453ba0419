"""LiteRT files: plain operators, an entry point per number of points, weights once, layers in the right precision."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import read_content
from tapsdk.artifact.manifest import Causal, entry_point
from tapsdk.backends import Options, open_backend
from tests.export.conftest import SMALL_NEXT
from tests.support import BUCKETS, SMALL, import_or_skip

torch = import_or_skip("torch", "export-tflite")
import_or_skip("litert_torch", "export-tflite")

from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from ai_edge_litert.tools import flatbuffer_utils  # noqa: E402

from export.stages import cut  # noqa: E402
from export.targets import Request  # noqa: E402
from export.targets.tflite import TARGET, in_precision  # noqa: E402

OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}

# Every operator that the graphs are made of. One that is not here may not run on a phone's GPU: look before adding.
PLAIN = {
    *("ABS", "ADD", "DIV", "EXP", "LOG", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "ROUND", "RSQRT", "SQRT", "SUB"),
    *("BATCH_MATMUL", "GELU", "MEAN", "REDUCE_MAX", "SOFTMAX", "SQUARED_DIFFERENCE", "SUM", *LAYERS),
    *("BROADCAST_TO", "CONCATENATION", "PAD", "RESHAPE", "REVERSE_V2", "SLICE", "STRIDED_SLICE", "TRANSPOSE"),
    *("CAST", "EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "SELECT_V2"),
}
STORAGE = {"DEQUANTIZE"}
"""Of weights, in other precisions than fp32."""
TENSORS = {"FLOAT32", "INT32", "BOOL"}


class Graph:
    """A file, parsed."""

    def __init__(self, content):
        self.model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        self.signatures = {s.signatureKey.decode(): s for s in self.model.signatureDefs}

    def operators(self):
        """Counts by name, of every entry point."""
        return [Counter(self._name(op) for op in graph.operators) for graph in self.model.subgraphs]

    def tensor_types(self):
        names = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
        return {names[tensor.type] for graph in self.model.subgraphs for tensor in graph.tensors}

    def layers(self):
        """(where the layer comes from, type of its stored weights) of every layer with stored weights."""
        for graph in self.model.subgraphs:
            made_by = {output: op for op in graph.operators for output in op.outputs}
            for op in graph.operators:
                if self._name(op) not in LAYERS:
                    continue
                index = op.inputs[1]
                if index in made_by and self._name(made_by[index]) == "DEQUANTIZE":
                    index = made_by[index].inputs[0]
                weights = graph.tensors[index]
                if self.model.buffers[weights.buffer].data is not None:
                    yield graph.tensors[op.outputs[0]].name.decode(), weights.type

    def _name(self, op):
        code = self.model.operatorCodes[op.opcodeIndex]
        return OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


@pytest.fixture(params=["tapir encode", "tapir query", "tapir step", "tapnext query", "tapnext step"])
def lowered(request, small_models, artifact_of):
    """(stage, its file)"""
    family, name = request.param.split()
    model = {"tapir": SMALL, "tapnext": SMALL_NEXT}[family]
    stages = {stage.name: stage for stage in cut(family, small_models[model].load(), TARGET.style).stages}
    return stages[name], artifact_of(model, "tflite") / f"{name}.tflite"


def test_only_plain_operators(lowered):
    graph = Graph(lowered[1].read_bytes())
    assert set().union(*graph.operators()) <= PLAIN
    assert graph.tensor_types() <= TENSORS  # no int64 among them


def test_no_control_flow_and_nothing_random(lowered):
    """Every graph in the file is an entry point, and none keeps variables."""
    graph = Graph(lowered[1].read_bytes())
    assert sorted(s.subgraphIndex for s in graph.signatures.values()) == list(range(len(graph.model.subgraphs)))
    assert not any(tensor.isVariable for subgraph in graph.model.subgraphs for tensor in subgraph.tensors)


def test_every_number_of_points_has_an_entry_point_with_the_manifests_names(lowered):
    stage, file = lowered
    graph = Graph(file.read_bytes())
    assert set(graph.signatures) == {entry_point(stage.spec, points) for points in BUCKETS}
    for signature in graph.signatures.values():
        assert {tensor.name.decode() for tensor in signature.inputs} == {t.name for t in stage.spec.inputs}
        assert {tensor.name.decode() for tensor in signature.outputs} == {t.name for t in stage.spec.outputs}


def test_entry_points_share_their_weights(lowered):
    by_content = defaultdict(int)
    for buffer in Graph(lowered[1].read_bytes()).model.buffers:
        if buffer.data is not None and len(buffer.data) >= 512:  # a matrix
            by_content[bytes(buffer.data)] += 1
    assert set(by_content.values()) <= {1}


def test_nothing_of_the_machine_that_exported_it_is_in_the_file(lowered):
    content = lowered[1].read_bytes()
    for trace in (b"site-packages", b"/home/", b"/tmp/", b".py"):
        assert trace not in content, trace


def relative_errors(stage, file, points, seed):
    """Of every output against torch."""
    inputs = stage.example(points, (0, 0), seed)
    with torch.inference_mode():
        expected = stage.module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    session = open_backend("litert", Options(threads=1)).open(read_content(file, 1 << 30), stage.spec, points)
    found = session.run({t.name: x.numpy() for t, x in zip(stage.spec.inputs, inputs, strict=True)})
    for spec, tensor in zip(stage.spec.outputs, expected, strict=True):
        scale = max(1.0, float(tensor.abs().max()))
        yield spec.name, np.abs(found[spec.name] - tensor.numpy()).max() / scale


@pytest.mark.parametrize("seed", [0, 1])
def test_it_computes_what_torch_computes(lowered, seed):
    stage, file = lowered
    for points in BUCKETS:
        for name, error in relative_errors(stage, file, points, seed):
            assert error < 1e-4, (name, points)


def test_the_verification_is_in_the_manifest(exported_tflite):
    manifest = open_artifact(exported_tflite).manifest
    assert manifest.formats == ["tflite"]
    assert (manifest.program, manifest.frames.multiple) == (Causal(), None)
    assert manifest.points.buckets == {"tflite": BUCKETS}
    assert manifest.verification["backend"].startswith("litert ")
    assert manifest.verification["pixel_error"]["fused"] <= TARGET.precisions["fp32"]
    assert {"torch", "litert-torch", "ai-edge-quantizer"} <= manifest.tools.keys()


def test_frames_of_another_size(small_models, tmp_path):
    stage = cut("tapir", small_models[SMALL].load(), replace(TARGET.style, frame_size=(96, 64))).stages[0]
    TARGET.lower([stage], tmp_path, Request(buckets=(1,)))
    assert stage.spec.inputs[0].shape == (1, 96, 64, 3)
    assert dict(relative_errors(stage, tmp_path / "encode.tflite", 1, 0)).keys() == {"high", "low"}


# Precisions


@pytest.fixture(scope="module", params=["fp16", "int8"])
def precision(request):
    return request.param


@pytest.fixture
def converted(lowered, precision, tmp_path):
    """(stage, its file in another precision)"""
    stage, file = lowered
    path = tmp_path / file.name
    path.write_bytes(in_precision(file.read_bytes(), stage, precision))
    return stage, path


def test_layers_store_the_precision_and_exact_ones_do_not(converted, precision):
    stage, file = converted
    graph = Graph(file.read_bytes())
    assert set().union(*graph.operators()) <= PLAIN | STORAGE
    stored = {"fp16": schema.TensorType.FLOAT16, "int8": schema.TensorType.INT8}[precision]
    names = [name.split(".")[-1] for name in stage.exact]
    seen = set()
    for origin, kind in graph.layers():
        exact = precision == "int8" and any(f"_{name}/" in f"{origin.split(';')[0]}/" for name in names)
        assert kind == (schema.TensorType.FLOAT32 if exact else stored), origin
        seen.add(exact)
    if stage.name == "step":
        assert seen == ({False, True} if precision == "int8" else {False})


def test_tensors_outside_stay_float32(converted):
    _, file = converted
    graph = Graph(file.read_bytes())
    for signature in graph.signatures.values():
        tensors = graph.model.subgraphs[signature.subgraphIndex].tensors
        for entry in (*signature.inputs, *signature.outputs):
            assert tensors[entry.tensorIndex].type == schema.TensorType.FLOAT32


@pytest.mark.parametrize("precision, allowed", [("fp16", 0.005), ("int8", 0.1)], indirect=["precision"])
@pytest.mark.parametrize("lowered", ["tapir encode"], indirect=True)
def test_it_computes_about_what_torch_computes(converted, precision, allowed):
    for name, error in relative_errors(*converted, BUCKETS[0], seed=0):
        assert error < allowed, name


@pytest.mark.parametrize("lowered", ["tapir query", "tapnext query"], indirect=True)
def test_a_graph_without_layers_stays_as_it_is(converted, lowered):
    assert Graph(converted[1].read_bytes()).operators() == Graph(lowered[1].read_bytes()).operators()


def test_the_converters_are_named_with_their_versions():
    assert TARGET.tools()["litert-torch"].startswith("0.10")
