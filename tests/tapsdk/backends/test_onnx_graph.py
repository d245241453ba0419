"""ONNX graphs that keep tensors elsewhere."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import Content
from tapsdk.artifact.weights import Weights
from tapsdk.backends import Options, open_backend
from tapsdk.backends.onnx_graph import MESSAGES, whole_graph
from tapsdk.errors import ArtifactError
from tests.support import import_or_skip

onnx = import_or_skip("onnx")
helper = onnx.helper


def content(model, weights=None):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return Content(Path("stage.onnx"), {"": data}, weights)


def ways(message, wanted):
    """Fields by which a message leads, at last, to one of the wanted ones; by its name."""
    found, todo = {}, [message.DESCRIPTOR]
    while todo:
        each = todo.pop()
        if each.name not in found:
            found[each.name] = {f.number: f.message_type for f in each.fields if f.message_type}
            todo += found[each.name].values()
    leading = {wanted}
    while True:
        more = {name for name, inner in found.items() if any(m.name in leading for m in inner.values())} - leading
        if not more:
            return {
                name: {number: m.name for number, m in inner.items() if m.name in leading}
                for name, inner in found.items()
                if name in leading and name != wanted
            }
        leading |= more


def test_the_table_has_all_ways_to_a_tensor():
    known = {name: dict(inner) for name, inner in MESSAGES.items()}
    assert ways(onnx.ModelProto(), "TensorProto") == known


def test_a_graph_that_is_whole_stays_as_it_is():
    data = model(initializer=tensor(external=False)).SerializeToString()
    assert whole_graph(content(data)) is data


def test_graphs_that_are_exported_become_whole(bundled):
    artifact = open_artifact(bundled)
    for name in artifact.manifest.stages:
        expected = onnx.load(bundled / f"{name}.onnx").graph  # the package follows the reference itself
        found = onnx.load_from_string(whole_graph(artifact.file(name, "onnx"))).graph
        assert found.node == expected.node
        assert [t.name for t in found.initializer] == [t.name for t in expected.initializer]
        for one, other in zip(found.initializer, expected.initializer, strict=True):
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))


def tensor(external=True):
    array = onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "weights")
    if external:
        array.ClearField("raw_data")
        array.data_location = onnx.TensorProto.EXTERNAL
        array.external_data.add(key="location", value="/etc/passwd")
    return array


def model(**parts):
    graph = helper.make_graph([], "graph", [], [])
    for name, value in parts.items():
        getattr(graph, name).append(value)
    return helper.make_model(graph)


def sparse(values, indices):
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])


def attributes():
    inner = helper.make_graph([], "inner", [], [], [tensor()])
    yield "tensor", helper.make_attribute("value", tensor())
    yield "tensors", helper.make_attribute("value", [tensor(False), tensor()])
    yield "graph", helper.make_attribute("body", inner)
    yield "graphs", helper.make_attribute("body", [inner])
    yield "sparse", helper.make_attribute("value", sparse(tensor(), tensor(False)))
    yield "several sparse", helper.make_attribute("value", [sparse(tensor(False), tensor())])


def hiding_places():
    yield "weights", model(initializer=tensor())
    yield "sparse weights", model(sparse_initializer=sparse(tensor(), tensor(False)))
    yield "sparse indices", model(sparse_initializer=sparse(tensor(False), tensor()))
    for name, attribute in attributes():
        node = onnx.NodeProto(op_type="Constant", attribute=[attribute])
        yield f"attribute: {name}", model(node=node)
        function = model()
        function.functions.append(onnx.FunctionProto(name="f", node=[node]))
        yield f"function's node: {name}", function
        defaults = model()
        defaults.functions.append(onnx.FunctionProto(name="f", attribute_proto=[attribute]))
        yield f"function's default: {name}", defaults
    training = model()
    training.training_info.add(algorithm=helper.make_graph([], "train", [], [], [tensor()]))
    yield "training", training


@pytest.mark.parametrize("model", [pytest.param(model, id=name) for name, model in hiding_places()])
def test_a_tensor_in_another_file_is_found_wherever_it_hides(model):
    with pytest.raises(ValueError, match=r"keeps tensors outside of itself \(at 'weights'"):
        whole_graph(content(model))


@pytest.mark.parametrize("place", ["data_location", "external_data"])
def test_a_hint_of_another_file_is_enough(place):
    array = tensor(external=False)
    if place == "data_location":
        array.data_location = onnx.TensorProto.EXTERNAL
    else:
        array.external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")
    with pytest.raises(ValueError, match="outside of itself"):
        whole_graph(content(model(initializer=array)))


MATRIX = np.arange(4, dtype=np.float32).reshape(2, 2)


@pytest.fixture
def weights():
    """A file of weights with one tensor of 16 bytes."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    data = len(header).to_bytes(8, "little") + header + MATRIX.tobytes()
    return Weights(Content(Path("weights.safetensors"), {"": data}))


def referring(weights, **changes):
    """A tensor whose numbers are those in the file; None takes an entry away."""
    array = tensor(external=False)
    array.ClearField("raw_data")
    array.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": "weights.safetensors", "offset": str(weights.start), "length": "16", **changes}
    for key, value in entries.items():
        if value is not None:
            array.external_data.add(key=key, value=value)
    return array


def test_what_lies_in_the_file_of_weights_is_put_into_the_graph(weights):
    graph = model(initializer=referring(weights))
    graph.graph.initializer.append(tensor(external=False))
    graph.graph.doc_string = "stays"
    found = onnx.load_from_string(whole_graph(content(graph, weights))).graph
    assert found.doc_string == "stays"
    for array, expected in zip(found.initializer, (MATRIX, np.ones((2, 2))), strict=True):
        assert array.data_location == onnx.TensorProto.DEFAULT
        assert not array.external_data
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(array), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"location": "/etc/passwd"},
        {"location": "../weights.safetensors"},
        {"location": "./weights.safetensors"},
        {"location": "weights.safetensors\0"},
        {"location": "*/_ORT_MEM_ADDR_/*"},
        {"location": ""},
        {"location": None},
        {"offset": None},
        {"length": None},
        {"offset": "-16"},
        {"offset": "0"},
        {"offset": "0x10"},
        {"offset": "\u0661"},
        {"offset": "9" * 400},
        {"offset": str(1 << 60)},
        {"length": "17"},
        {"length": "12"},
        {"length": "0"},
        {"length": "-1"},
        {"length": str(1 << 64)},
        {"checksum": "00"},
        {"basepath": "/etc"},
    ],
    ids=str,
)
def test_only_what_is_in_the_file_of_weights_can_be_referred_to(weights, changes):
    with pytest.raises(ValueError, match=r"outside of itself|refers to"):
        whole_graph(content(model(initializer=referring(weights, **changes)), weights))


@pytest.mark.parametrize("dims", [[2, 3], [4, 4], [-2, -2], [1 << 62, 4], []], ids=str)
def test_a_tensor_of_another_size_than_what_it_refers_to(weights, dims):
    array = referring(weights)
    array.dims[:] = dims
    with pytest.raises(ValueError, match="refers to 16 bytes"):
        whole_graph(content(model(initializer=array), weights))


@pytest.mark.parametrize("kind", [0, 8, 11, 99])
def test_a_tensor_of_another_type_than_what_it_refers_to(weights, kind):
    array = referring(weights)
    array.data_type = kind
    with pytest.raises(ValueError, match="refers to 16 bytes"):
        whole_graph(content(model(initializer=array), weights))


@pytest.mark.parametrize("model", [pytest.param(model, id=name) for name, model in hiding_places()])
def test_weights_open_no_other_file_wherever_a_tensor_hides(weights, model):
    with pytest.raises(ValueError, match="outside of itself"):
        whole_graph(content(model, weights))


def test_only_weights_of_the_graph_itself_lie_in_the_file(weights):
    """Not those of graphs within it, which no export makes: one way in is enough."""
    inner = helper.make_attribute("body", helper.make_graph([], "inner", [], [], [referring(weights)]))
    with pytest.raises(ValueError, match="outside of itself"):
        whole_graph(content(model(node=onnx.NodeProto(op_type="If", attribute=[inner])), weights))


@pytest.mark.parametrize("data", [b"not a graph", b"\x3anet", b"<net/>", b"\x80\x04N."])
def test_what_is_no_graph(data):
    with pytest.raises(ValueError):
        whole_graph(content(data))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_engines_are_not_given_it(bundled, backend):
    module = f"tapsdk.backends.{backend}"
    pytest.importorskip(module, reason=f"needs {backend}")
    artifact = open_artifact(bundled)
    graph = onnx.load_from_string(artifact.file("query", "onnx").data)
    graph.graph.initializer.append(tensor())
    with pytest.raises(ArtifactError, match=re.escape("stage.onnx: it keeps tensors outside of itself")):
        open_backend(backend, Options(threads=1)).open(content(graph), artifact.stage("query"))


def test_onnxruntimes_own_format_is_not_read(bundled, tmp_path):
    """It may name other files, too."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "query.ort")
    options.log_severity_level = 4
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(bundled / "query.onnx"), options, providers=["CPUExecutionProvider"])
    data = (tmp_path / "query.ort").read_bytes()
    assert data[4:8] == b"ORTM"
    with pytest.raises(ArtifactError, match="onnxruntime cannot load"):
        open_backend("onnxruntime").open(content(data), open_artifact(bundled).stage("query"))
    with pytest.MonkeyPatch.context() as patch:  # were it taken for a graph, the engine would not open it either
        patch.setattr("tapsdk.backends.onnxruntime.whole_graph", lambda file: file.data)
        with pytest.raises(ArtifactError, match="onnxruntime cannot load"):
            open_backend("onnxruntime").open(content(data), open_artifact(bundled).stage("query"))
