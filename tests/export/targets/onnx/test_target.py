"""Exported graphs are plain: what runs on a phone or in a browser runs them, for any number of points."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.weights import WEIGHTS
from tapsdk.backends import Options, open_backend
from tapsdk.backends.onnx_graph import whole_graph
from tests.support import SMALL, import_or_skip, known_model

onnx = import_or_skip("onnx")
torch = import_or_skip("torch")

from export.stages import cut  # noqa: E402
from export.targets import Request  # noqa: E402
from export.targets.dynamic_shapes import TRACED_POINTS, TRACED_SIZE  # noqa: E402
from export.targets.onnx.target import OPSET, Onnx, graph_of  # noqa: E402
from export.targets.shared_weights import SMALLEST  # noqa: E402
from training.checkpoints import load_canonical  # noqa: E402
from training.models import load  # noqa: E402
from training.models.tapir.torch import Tapir  # noqa: E402

STAGES = ["encode", "query", "step", "locate", "mixer"]

# Every operator that the graphs are made of. One that is not here may not exist on some runtime: look before adding.
PLAIN = {
    *("Abs", "Add", "Clip", "Div", "Floor", "Log", "Max", "Min", "Mul", "Pow", "Reciprocal", "Sqrt", "Sub"),
    *("Gelu", "InstanceNormalization", "LayerNormalization", "Relu", "Softmax"),
    *("ArgMax", "Conv", "Gather", "Gemm", "MatMul", "ReduceMax", "ReduceMean", "ReduceSum"),
    *("Concat", "Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    *("And", "Cast", "ConstantOfShape", "GreaterOrEqual", "Less", "Range", "Shape"),
}


@pytest.fixture(scope="module")
def stages(small_config, small_model):
    """The stages that were exported, in torch, by name."""
    with known_model(SMALL, small_config):
        return {stage.name: stage for stage in cut("tapir", load(SMALL, small_model)).stages}


@pytest.fixture(scope="module", params=STAGES)
def name(request):
    return request.param


@pytest.fixture
def graph(exported, name):
    return onnx.load(exported / f"{name}.onnx")


def test_there_is_one_file_a_stage(exported):
    assert sorted(path.name for path in exported.glob("*.onnx")) == sorted(f"{name}.onnx" for name in STAGES)


def test_only_plain_operators_of_the_default_domain(graph):
    assert {(entry.domain, entry.version) for entry in graph.opset_import} == {("", OPSET)}
    assert {node.domain for node in graph.graph.node} == {""}
    assert {node.op_type for node in graph.graph.node} <= PLAIN


def test_no_functions_and_no_graphs_within_the_graph(graph):
    assert len(graph.functions) == 0
    kinds = {attribute.type for node in graph.graph.node for attribute in node.attribute}
    assert kinds.isdisjoint({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})


def test_large_weights_are_in_the_file_of_weights_and_small_ones_in_the_graph(exported, name):
    weights = open_artifact(exported).weights()
    for tensor in onnx.load(exported / f"{name}.onnx", load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if onnx.external_data_helper.uses_external_data(tensor):
            assert (entries.keys(), entries["location"]) == ({"location", "offset", "length"}, WEIGHTS)
            assert len(weights.cut(int(entries["offset"]), int(entries["length"]))) >= SMALLEST
        else:
            assert len(tensor.raw_data) < SMALLEST


def test_no_tensor_is_stored_twice(exported):
    weights = open_artifact(exported).weights()
    tensors = [weights.tensor(name) for name in weights.places]
    assert len({(t.dtype.str, t.tobytes()) for t in tensors}) == len(tensors)
    stored = sum(path.stat().st_size for path in exported.glob("*.onnx")) + len(weights.content.data)
    whole = sum(len(whole_graph(open_artifact(exported).file(name, "onnx"))) for name in STAGES)
    assert stored < whole - sum(t.nbytes for t in tensors) / 2


def test_weights_go_by_their_canonical_names(exported, small_model):
    own, _ = load_canonical(small_model)
    weights = open_artifact(exported).weights()
    named = [name for name in weights.places if name.removesuffix(".transposed") in own]
    assert len(named) > len(weights.places) / 2
    for name in named:
        expected = own[name.removesuffix(".transposed")]
        np.testing.assert_array_equal(weights.tensor(name), expected.T if name.endswith(".transposed") else expected)


def test_nothing_of_the_machine_that_exported_it_is_in_the_file(graph, exported):
    text = str(graph.graph.node) + str(graph.metadata_props) + graph.doc_string
    for trace in ("site-packages", "/home/", "/tmp/", ".py"):
        assert trace not in text, trace


def test_nodes_are_named_after_the_modules_that_they_come_from(graph, name):
    modules = {node.name.rpartition("/")[0] for node in graph.graph.node}
    expected = {"encode": "model.resnet.groups.3.0.conv_1", "step": "model.mixer.out", "locate": "model.head.heatmap"}
    assert name not in expected or expected[name] in modules
    assert len({node.name for node in graph.graph.node}) == len(graph.graph.node)


def test_sizes_are_open_where_the_manifest_says_so(graph, exported, name):
    manifest = open_artifact(exported).manifest.stages[name]
    for tensors, specs in ((graph.graph.input, manifest.inputs), (graph.graph.output, manifest.outputs)):
        assert [tensor.name for tensor in tensors] == [spec.name for spec in specs]
        for tensor, spec in zip(tensors, specs, strict=True):
            dimensions = tensor.type.tensor_type.shape.dim
            open_ones = [axis for axis, dimension in enumerate(dimensions) if dimension.dim_param]
            assert open_ones == [axis for axis, size in enumerate(spec.shape) if isinstance(size, str)]
            fixed = [dimension.dim_value for dimension in dimensions if not dimension.dim_param]
            assert fixed == [size for size in spec.shape if not isinstance(size, str)]


@pytest.mark.parametrize(
    "points, size", [(1, (64, 96)), (2, (96, 64)), (TRACED_POINTS, TRACED_SIZE), (33, (64, 64)), (33, (64, 256))]
)
def test_it_computes_what_torch_computes_for_any_number_of_points_and_size(exported, stages, name, points, size):
    artifact, stage = open_artifact(exported), stages[name]
    session = open_backend("onnxruntime", Options(threads=1)).open(artifact.file(name, "onnx"), artifact.stage(name))
    inputs = stage.example(points, size, seed=points)
    with torch.inference_mode():
        expected = stage.module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = session.run({t.name: x.numpy() for t, x in zip(stage.spec.inputs, inputs, strict=True)})
    for spec, tensor in zip(stage.spec.outputs, expected, strict=True):
        np.testing.assert_allclose(found[spec.name], tensor.numpy(), rtol=1e-3, atol=1e-3, err_msg=spec.name)


def test_control_flow_is_refused(stages, tmp_path, monkeypatch):
    node = onnx.helper.make_node("If", ["condition"], ["out"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "graph", [], []))
    monkeypatch.setattr("export.targets.onnx.target._traced", lambda stage: model)
    with pytest.raises(RuntimeError, match="stage 'query' was exported with control flow: If"):
        Onnx().lower([stages["query"]], tmp_path, Request())
    assert not list(tmp_path.iterdir())


def test_the_converters_are_named_with_their_versions():
    tools = Onnx().tools()
    assert tools.keys() == {"torch", "onnx", "onnxscript", "opset"}
    assert tools["opset"] == str(OPSET)
    assert tools["torch"].startswith("2.")


def test_an_encoder_that_can_be_pretrained_is_plain_convolutions(small_config, monkeypatch):
    """Batch norms are folded, and frames of any size are padded within the convolutions."""
    # It takes the place of wide ones.
    monkeypatch.setattr("export.targets.onnx.target.use_winograd", lambda model: None)
    config = replace(small_config, encoder="efficientnet-lite")
    stage = next(stage for stage in cut("tapir", Tapir(config).eval()).stages if stage.name == "encode")
    model = graph_of(stage, Request(precision="fp32"))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds.keys() <= PLAIN
    assert kinds["Conv"] == 1 + 11 * 3 - 1 + 6 + 2
    assert not kinds.keys() & {"BatchNormalization", "InstanceNormalization", "Pad"}
    for node in model.graph.node:
        if node.op_type == "Resize":
            modes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            assert (modes["mode"], modes["coordinate_transformation_mode"]) == (b"linear", b"half_pixel")
