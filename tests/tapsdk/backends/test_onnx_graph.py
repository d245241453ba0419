"""ONNX graphs that keep tensors elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import Content
from tapsdk.backends import Options, open_backend
from tapsdk.backends.onnx_graph import MESSAGES, check_whole
from tapsdk.errors import ArtifactError
from tests.support import import_or_skip

onnx = import_or_skip("onnx")
helper = onnx.helper


def content(model):
    return Content(Path("stage.onnx"), {"": model if isinstance(model, bytes) else model.SerializeToString()})


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


def test_graphs_that_are_exported_are_whole(bundled):
    for path in bundled.glob("*.onnx"):
        data = path.read_bytes()
        assert check_whole(content(data)) is data


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
        check_whole(content(model))


@pytest.mark.parametrize("place", ["data_location", "external_data"])
def test_a_hint_of_another_file_is_enough(place):
    array = tensor(external=False)
    if place == "data_location":
        array.data_location = onnx.TensorProto.EXTERNAL
    else:
        array.external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")
    with pytest.raises(ValueError, match="outside of itself"):
        check_whole(content(model(initializer=array)))


@pytest.mark.parametrize("data", [b"not a graph", b"\x3anet", b"<net/>", b"\x80\x04N."])
def test_what_is_no_graph(data):
    with pytest.raises(ValueError):
        check_whole(content(data))


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
        patch.setattr("tapsdk.backends.onnxruntime.check_whole", lambda file: file.data)
        with pytest.raises(ArtifactError, match="onnxruntime cannot load"):
            open_backend("onnxruntime").open(content(data), open_artifact(bundled).stage("query"))
