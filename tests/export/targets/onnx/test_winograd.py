"""Wide 3x3 convolutions become products of tiles, and give the same."""

import numpy as np
import pytest

from tests.support import import_or_skip

onnx = import_or_skip("onnx")
ort = import_or_skip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from export.targets.onnx.winograd import NARROWEST, use_winograd  # noqa: E402

WIDE = (NARROWEST, NARROWEST + 5)
SAME = {"pads": [1, 1, 1, 1]}
TOLERANCE = 2e-4
"""Of results of size 1."""


def graph_with(weight, bias=None, batch=1, **attributes):
    """A graph of one convolution of pictures of any size."""
    constants = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    node = helper.make_node("Conv", ["x", *constants], ["y"], "layers.3/conv", **attributes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, weight.shape[1], "H", "W"])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, weight.shape[0], "h", "w"])
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "one", [given], [found], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def weights(inputs, outputs, size=3, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((outputs, inputs, size, size)) / (size * inputs**0.5)).astype(np.float32)


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def operators(model):
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 12), (9, 6), (30, 41)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_results_are_those_of_the_convolution_at_any_size(size, with_bias):
    rng = np.random.default_rng(1)
    bias = rng.standard_normal(WIDE[1]).astype(np.float32) if with_bias else None
    model = graph_with(weights(*WIDE), bias, **SAME)
    x = rng.standard_normal((1, WIDE[0], *size)).astype(np.float32)
    expected = run(model, x)
    use_winograd(model)
    onnx.checker.check_model(model, full_check=True)
    assert "Conv" not in operators(model)
    np.testing.assert_allclose(run(model, x), expected, atol=TOLERANCE)


def test_several_layers_share_a_graph():
    model = graph_with(weights(NARROWEST, NARROWEST), **SAME)
    second = helper.make_node("Conv", ["y", "other"], ["z"], "layers.4/conv", **SAME)
    between = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, NARROWEST, "H", "W"])
    model.graph.node.append(second)
    model.graph.value_info.append(between)
    model.graph.initializer.append(numpy_helper.from_array(weights(NARROWEST, NARROWEST, seed=2), "other"))
    model.graph.output[0].name = "z"
    x = np.random.default_rng(3).standard_normal((1, NARROWEST, 10, 7)).astype(np.float32)
    expected = run(model, x)
    use_winograd(model)
    assert "Conv" not in operators(model)
    np.testing.assert_allclose(run(model, x), expected, atol=TOLERANCE)


def test_weights_are_no_larger_in_the_file():
    model = graph_with(weights(*WIDE), **SAME)
    before = model.ByteSize()
    use_winograd(model)
    assert model.ByteSize() < before + 50_000
    assert "weight" not in {tensor.name for tensor in model.graph.initializer}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(graph_with(weights(NARROWEST, NARROWEST - 1), **SAME), id="few outputs"),
        pytest.param(graph_with(weights(NARROWEST - 1, NARROWEST), **SAME), id="few inputs"),
        pytest.param(graph_with(weights(*WIDE), strides=[2, 2], **SAME), id="a stride"),
        pytest.param(graph_with(weights(*WIDE), pads=[2, 2, 2, 2], dilations=[2, 2]), id="a dilation"),
        pytest.param(graph_with(weights(*WIDE)), id="no padding"),
        pytest.param(graph_with(weights(*WIDE), auto_pad="SAME_UPPER"), id="padding by the engine"),
        pytest.param(graph_with(weights(*WIDE, size=5), pads=[2, 2, 2, 2]), id="five taps"),
        pytest.param(graph_with(weights(*WIDE), batch=2, **SAME), id="two pictures"),
        pytest.param(graph_with(weights(*WIDE), batch="B", **SAME), id="any number of pictures"),
    ],
)
def test_other_convolutions_stay(model):
    before = model.SerializeToString(deterministic=True)
    use_winograd(model)
    assert model.SerializeToString(deterministic=True) == before


def test_nodes_keep_the_module_that_they_come_from():
    model = graph_with(weights(*WIDE), **SAME)
    use_winograd(model)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {name.rpartition("/")[0] for name in names} == {"layers.3"}
