"""Graphs for PyTorch as data: what is read, and what is not."""

import io
import json
import pickle
import struct
import zipfile

import pytest

from tapsdk.backends.torch_graph import OPERATORS, Call, Word, read_graph

GRAPH = {
    "version": 1,
    "inputs": [["x", [[1, "N"], 3]], ["grid", [1, [8, "H"], 3]]],
    "weights": ["scale"],
    "calls": [
        ["aten.mul.Tensor", [{"value": 0}, {"value": 2}], {}],
        ["aten.to.dtype", [{"value": 3}, {"dtype": "float32"}], {}],
        ["aten.arange.default", [3], {"device": {"device": None}}],
        ["aten.clamp.default", [{"value": 4}, {"float": "-inf"}, None], {}],
        ["aten.einsum.default", ["rgi,gij->rgj", [{"value": 6}, {"value": 2}]], {}],
    ],
    "outputs": [["y", {"value": 6}]],
}


def file_of(graph, **metadata):
    text = graph if isinstance(graph, str) else json.dumps(graph)
    header = json.dumps({"__metadata__": {"tapsdk.graph": text, **metadata}}).encode()
    return struct.pack("<Q", len(header)) + header


def with_call(*call):
    return file_of({**GRAPH, "calls": [*GRAPH["calls"], list(call)]})


def test_a_graph_is_calls_of_operators_on_values():
    graph = read_graph(file_of(GRAPH))
    assert graph.inputs == {"x": ((1, "N"), 3), "grid": (1, (8, "H"), 3)}
    assert graph.weights == ("scale",)
    assert graph.outputs == {"y": Word("value", 6)}
    assert graph.calls[0] == Call("aten.mul.Tensor", [Word("value", 0), Word("value", 2)], {})
    assert graph.calls[1].arguments[1] == Word("dtype", "float32")
    assert graph.calls[2] == Call("aten.arange.default", [3], {"device": Word("device")})
    assert graph.calls[3].arguments[1:] == [float("-inf"), None]
    assert graph.calls[4].arguments == ["rgi,gij->rgj", [Word("value", 6), Word("value", 2)]]


@pytest.mark.parametrize(
    "operator",
    [
     "torch.os.system", "torch.load", "torch.hub.load", "aten.save", "aten.from_file.default", "operator.attrgetter",
     "operator.methodcaller", "builtins.eval",
     "aten.add", "aten.add.Tensor.__globals__", "", 5, None, ["aten.exp.default"],
    ],
)  # fmt: skip
def test_a_call_of_anything_else_is_refused(operator):
    with pytest.raises(ValueError, match="it holds no graph that this version reads: "):
        read_graph(with_call(operator, [], {}))


@pytest.mark.parametrize(
    "argument",
    [
        "__import__('os')",
        "x" * 65,
        "a\n",
        {"value": 8},
        {"value": -1},
        {"value": True},
        {"value": 1.0},
        {"dtype": "load"},
        {"dtype": ["float32"]},
        {"device": "cuda"},
        {"float": "nan"},
        {"code": "1"},
        {},
        {"value": 1, "dtype": "float32"},
        [[{"value": 99}]],
    ],
)
def test_an_argument_that_is_none_is_refused(argument):
    with pytest.raises(ValueError):
        read_graph(with_call("aten.add.Tensor", [argument], {}))
    with pytest.raises(ValueError):
        read_graph(with_call("aten.add.Tensor", [], {"alpha": argument}))


@pytest.mark.parametrize("name", ["alpha=__import__('os').mkdir('x')", "a b", "", "lambda", "None"])
def test_a_name_of_an_argument_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="arguments of other names than arguments have"):
        read_graph(with_call("aten.add.Tensor", [], {name: 1}))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"inputs": 5},
        {"inputs": [["x", [[0, "N"]]]]},
        {"inputs": [["x", ["N"]]]},
        {"inputs": [[5, [1]]]},
        {"inputs": [["x", [1]], ["x", [1]]]},
        {"weights": ["a", "a"]},
        {"weights": [5]},
        {"calls": 5},
        {"calls": [5]},
        {"calls": [["aten.exp.default"]]},
        {"outputs": [["y", {"value": 99}]]},
        {"outputs": {}},
    ],
    ids=str,
)
def test_a_graph_of_another_form_is_refused(change):
    if change == {"outputs": {}}:
        assert read_graph(file_of({**GRAPH, **change})).outputs == {}
        return
    with pytest.raises(ValueError, match="it holds no graph that this version reads: "):
        read_graph(file_of({**GRAPH, **change}))


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("archive/data.pkl", pickle.dumps(5))
    return file.getvalue()


@pytest.mark.parametrize(
    "data, complaint",
    [
        (b"", "not a safetensors file"),
        (pickle.dumps({"a": 1}), "not a safetensors file"),
        (struct.pack("<Q", 1 << 60), "not a safetensors file"),
        (struct.pack("<Q", 2) + b"{}", "holds no graph"),
        (struct.pack("<Q", 4) + b"\xff\xff\xff\xff", "codec"),
        (file_of("[" * 100_000), "nests too deeply"),
        (file_of("5"), "holds no graph"),
        (archive(), r"an archive of torch\.export, which can run code and is not opened; export the model again"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_file_of_another_kind_is_refused(data, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_graph(data)


@pytest.mark.parametrize("shapes", [[(5, 3), (1, 16, 3)], [(1, 3), (1, 8, 3)], [(0, 3), (1, 80, 3)]])
def test_shapes_that_it_takes(shapes):
    read_graph(file_of(GRAPH)).check_shapes(shapes)


@pytest.mark.parametrize(
    "shapes, told",
    [
        ([(5, 2), (1, 16, 3)], r"x is \[5, 2\], which is not \[1 \* N, 3\]"),
        ([(5,), (1, 16, 3)], r"x is \[5\]"),
        ([(5, 3), (1, 12, 3)], r"grid is \[1, 12, 3\], which is not \[1, 8 \* H, 3\]"),
    ],
)
def test_shapes_that_it_does_not_take(shapes, told):
    with pytest.raises(ValueError, match=told):
        read_graph(file_of(GRAPH)).check_shapes(shapes)


def test_a_letter_stands_for_one_number():
    graph = read_graph(file_of({**GRAPH, "inputs": [["x", [[1, "N"]]], ["y", [[2, "N"]]]]}))
    graph.check_shapes([(3,), (6,)])
    with pytest.raises(ValueError, match="y is"):
        graph.check_shapes([(3,), (8,)])


def test_no_operator_touches_files_or_memory_that_is_not_its_arguments():
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'tapsdk[torch]'")
    from tapsdk.backends.torch import _operator

    words = {"aten.einsum.default": "equation", "aten.gelu.default": "approximate", "aten.pad.default": "mode"}
    for name in sorted(OPERATORS):
        found = _operator(name)
        if name.startswith("aten."):
            assert isinstance(found, torch._ops.OpOverload), name
            assert not found._schema.is_mutable, name
            texts = [a.name for a in found._schema.arguments if "str" in str(a.type)]
            assert texts in ([], [words.get(name)]), name
