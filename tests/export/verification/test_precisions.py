"""Smaller weights: what becomes half precision and eight bits, what stays exact, and what it is calibrated on."""

import dataclasses
import shutil
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from tapsdk.artifact import open_artifact, weights
from tapsdk.backends import open_backend
from tests.export.conftest import SMALL_NET, SMALL_NEXT
from tests.export.targets.onnx.test_target import PLAIN
from tests.support import SMALL, SMALL_CLIP, import_or_skip, known_model

onnx = import_or_skip("onnx")
torch = import_or_skip("torch")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from export.__main__ import main  # noqa: E402
from export.pipeline import Options, export  # noqa: E402
from export.stages import Stage, Style, cut  # noqa: E402
from export.targets import TARGETS, Request  # noqa: E402
from export.targets.onnx import target as onnx_target  # noqa: E402
from export.targets.onnx.weights import HALF_FROM, halve, quantize  # noqa: E402
from export.verification import calibration, clips, verify  # noqa: E402
from export.verification.verify import VerificationError  # noqa: E402
from tapsdk.artifact.manifest import StageSpec, TensorSpec  # noqa: E402
from tapsdk.runtime.native import JOINING  # noqa: E402
from training.data.synthetic import SceneConfig, held_out, make_clip  # noqa: E402

SIDE = 32
WEIGHTS = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32) / SIDE**0.5


def stage_of(exact=()):
    """Two layers, `a` and `b`, a product of two activations, and a scale."""
    x, y = TensorSpec("x", ("N", SIDE), "query"), TensorSpec("y", ("N", "N"), "logit")
    return Stage("toy", torch.nn.Identity(), StageSpec((x,), (y,)), exact=exact)


@pytest.fixture
def graph():
    nodes = [
        helper.make_node("MatMul", ["x", "w_a"], ["a"], "model.a/MatMul"),
        helper.make_node("MatMul", ["a", "w_b"], ["b"], "model.b/MatMul"),
        helper.make_node("Mul", ["b", "scale"], ["c"], "/Mul"),
        helper.make_node("Transpose", ["a"], ["t"], "/Transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["c", "t"], ["y"], "model.c/MatMul"),
    ]
    weights = [("w_a", WEIGHTS), ("w_b", WEIGHTS[::-1]), ("scale", WEIGHTS[0])]
    initializers = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights]
    x, y = (helper.make_tensor_value_info(*t) for t in (("x", 1, ["N", SIDE]), ("y", 1, ["N", "M"])))
    graph = helper.make_graph(nodes, "toy", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((7, SIDE)).astype(np.float32)


def types_of(model):
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def quantized_layers(model):
    """Names of nodes that get their first input from a DequantizeLinear."""
    eight_bits = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {node.name for node in model.graph.node if node.input[0] in eight_bits and node.op_type == "MatMul"}


# Half precision


def test_matrices_are_stored_in_half_precision_and_used_in_full(graph, x):
    assert WEIGHTS.size >= HALF_FROM > WEIGHTS[0].size
    expected = run(graph, x)
    halve(graph)
    assert types_of(graph) == {
        "w_a_float16": TensorProto.FLOAT16,
        "w_b_float16": TensorProto.FLOAT16,
        "scale": TensorProto.FLOAT,
    }
    onnx.checker.check_model(graph, full_check=True)
    found = run(graph, x)
    assert 0 < np.abs(found - expected).max() < 0.01
    assert [value.type.tensor_type.elem_type for value in (*graph.graph.input, *graph.graph.output)] == [1, 1]


# Eight bits


def test_layers_compute_in_eight_bits_but_products_of_activations_do_not(graph, x):
    expected = run(graph, x)
    found = quantize(graph, stage_of(), [(torch.from_numpy(x),)])
    assert quantized_layers(found) == {"model.a/MatMul", "model.b/MatMul"}
    assert TensorProto.FLOAT not in {types_of(found)[name] for name in types_of(found) if name.endswith("_quantized")}
    assert 0 < np.abs(run(found, x) - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("exact, left", [(("model.b",), "model.a"), (("model.a", "model.bb"), "model.b")])
def test_what_positions_come_out_of_stays_exact(graph, x, exact, left):
    found = quantize(graph, stage_of(exact), [(torch.from_numpy(x),)])
    assert quantized_layers(found) == {f"{left}/MatMul"}


def test_a_stage_without_layers_stays_as_it_is(graph):
    found = quantize(graph, stage_of(("model",)), [])
    assert found is graph


def test_ranges_come_from_the_samples(graph, x):
    """Inputs a hundred times as large as the samples are cut off."""
    found = quantize(graph, stage_of(("model.b",)), [(torch.from_numpy(x),)])
    assert np.abs(run(found, 100 * x)).max() < 0.1 * np.abs(run(graph, 100 * x)).max()


# Graphs of real stages


def test_a_weight_that_is_used_more_than_once_is_transposed_once(x):
    nodes = [
        helper.make_node("Transpose", ["w"], ["t_0"], "0", perm=[1, 0]),
        helper.make_node("Transpose", ["w"], ["t_1"], "1", perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t_0"], ["a"], "2"),
        helper.make_node("MatMul", ["a", "t_1"], ["y"], "3"),
    ]
    value = [helper.make_tensor_value_info(name, 1, ["N", SIDE]) for name in "xy"]
    initializers = [numpy_helper.from_array(WEIGHTS, "w")]
    graph = helper.make_graph(nodes, "toy", value[:1], value[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    expected = run(model, x)
    onnx_target._transpose_weights(model)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "MatMul"]
    assert [list(tensor.dims) for tensor in model.graph.initializer] == [[SIDE, SIDE]]
    np.testing.assert_array_equal(run(model, x), expected)


@pytest.fixture(scope="module")
def graph_in(small_models, traced_once):
    """graph_in(model, stage, precision)"""

    def make(name, stage, precision):
        stages = {s.name: s for s in cut(name.split("/")[0], small_models[name].load()).stages}
        samples = {stage: [stages[stage].example(5, (64, 96), seed) for seed in range(3)]}
        return onnx_target.graph_of(stages[stage], Request(precision, samples=lambda: samples))

    return make


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name, stage", [(SMALL, "encode"), (SMALL, "mixer"), (SMALL_NEXT, "step")])
def test_graphs_stay_plain(graph_in, name, stage, precision):
    model = graph_in(name, stage, precision)
    extra = {"QuantizeLinear", "DequantizeLinear"} if precision == "int8" else set()
    kinds = {(node.domain, node.op_type) for node in model.graph.node}
    plain = PLAIN | extra if name == SMALL else None
    assert {domain for domain, _ in kinds} == {""}
    assert plain is None or {kind for _, kind in kinds} <= plain


def test_layers_are_known_by_their_modules(graph_in):
    model = graph_in(SMALL, "mixer", "int8")
    eight_bits = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    layers = {
        node.name.split("/")[0]: node.input[0] in eight_bits for node in model.graph.node if node.op_type == "MatMul"
    }
    assert layers == {
        "model.mixer.embed": True,
        "model.mixer.blocks.0.channels_up": True,
        "model.mixer.blocks.0.channels_down": True,
        "model.mixer.out": False,
    }


@pytest.mark.parametrize("name", [SMALL, SMALL_CLIP, SMALL_NEXT, SMALL_NET])
def test_what_stays_exact_is_there(small_models, name):
    """A name that fits nothing would be passed over in silence."""
    stages = cut(name.split("/")[0], small_models[name].load()).stages
    modules = {module for stage in stages for module, _ in stage.module.named_modules()}
    exact = {module for stage in stages for module in stage.exact}
    assert exact and exact <= modules


# Samples


@pytest.fixture(scope="module")
def samples(small_models, exported):
    small = small_models[SMALL]
    stages = cut("tapir", small.load()).stages
    return stages, calibration.calibration_samples(stages, open_artifact(exported).manifest, "onnx")


def test_samples_are_inputs_of_real_calls_of_every_stage(samples):
    stages, found = samples
    assert found.keys() == {stage.name for stage in stages}
    for stage in stages:
        assert 4 <= len(found[stage.name]) <= calibration.CALLS
        # The fused plan describes all points at once, the native one so many.
        counts = {calibration.POINTS, JOINING} if stage.name == "query" else {calibration.POINTS}
        shapes = [[t.shape_for(points, (64, 96)) for t in stage.spec.inputs] for points in counts]
        assert all([tuple(x.shape) for x in sample] in shapes for sample in found[stage.name])
    frames = torch.cat([sample[0] for sample in found["encode"]])
    assert -1 <= frames.min() < -0.5 and 0.5 < frames.max() <= 1
    states = torch.stack([sample[3] for sample in found["step"]])
    assert states.abs().amax((1, 2, 3, 4)).count_nonzero() > len(states) / 2  # not of first frames alone


def test_samples_of_a_model_that_sees_all_of_a_clip(small_models, exported_clip, monkeypatch):
    monkeypatch.setattr(calibration, "CLIPS", 1)
    monkeypatch.setattr(calibration, "FRAMES", 4)
    stages = cut("tapir", small_models[SMALL_CLIP].load()).stages
    found = calibration.calibration_samples(stages, open_artifact(exported_clip).manifest, "onnx")
    for stage in stages:
        shapes = [t.shape_for(calibration.POINTS, (64, 96), 4) for t in stage.spec.inputs]
        assert found[stage.name]
        assert all([tuple(x.shape) for x in sample] == shapes for sample in found[stage.name])


def test_samples_are_the_same_each_time(samples, exported):
    stages, found = samples
    again = calibration.calibration_samples(stages, open_artifact(exported).manifest, "onnx")
    for name, calls in found.items():
        for one, other in zip(calls, again[name], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_memory_for_samples_is_bounded(monkeypatch):
    monkeypatch.setattr(calibration, "BYTES", 6 * 7 * SIDE * 4)
    session = calibration.RecordingSession(stage_of())
    for call in range(100):
        session.run({"x": np.full((7, SIDE), call, np.float32)}, keep=["y"])
    assert len(session.samples) == 6
    assert max(float(x[0, 0]) for (x,) in session.samples) > 20  # later ones, too


# Verification of what is only approximate


class Copy:
    """A target whose files are those of the ONNX export, whatever precision is asked for."""

    format = "onnx"
    style = Style()
    buckets = ()
    precisions: ClassVar = {"fp32": 0.01, "fp16": 0.25, "int8": 1.0}

    def __init__(self, exported):
        self.exported, self.samples = exported, None
        self.then = lambda directory: None

    def lower(self, stages, directory, request):
        self.samples = request.samples() if request.precision == "int8" else None
        for name in (*(f"{stage.name}.onnx" for stage in stages), weights.WEIGHTS):
            shutil.copy(self.exported / name, directory)
        self.then(directory)
        return {stage.name: f"{stage.name}.onnx" for stage in stages}

    def open_backend(self):
        return open_backend("onnxruntime")

    def tools(self):
        return {}


@pytest.fixture
def copy_target(exported, monkeypatch, small_config):
    """The target "copy", with clips that are soon done."""
    module = types.ModuleType("copy_target")
    module.TARGET = Copy(exported)
    monkeypatch.setitem(sys.modules, "copy_target", module)
    monkeypatch.setitem(TARGETS, "copy", ("copy_target", "export-copy"))
    for owner in (calibration, clips):
        monkeypatch.setattr(owner, "CLIPS", 2)
        monkeypatch.setattr(owner, "FRAMES", 5)
        monkeypatch.setattr(owner, "POINTS", 8)
    with known_model(SMALL, small_config):
        yield module.TARGET


def test_the_cost_of_eight_bits_is_stated(copy_target, small_model, tmp_path, capsys):
    output = tmp_path / "artifact"
    arguments = ["--target", "copy", "--precision", "int8", "--weights", str(small_model), "-o", str(output)]
    assert main([SMALL, *arguments]) == 0
    assert copy_target.samples.keys() == {"encode", "query", "step", "locate", "mixer"}
    assert open_artifact(output).manifest.program.native.kernels == {}, "kernels compute with the weights as they were"
    found = open_artifact(output).manifest.verification
    assert found["median_pixel_error"].keys() == found["pixel_error"].keys() == {"fused", "native"}
    assert all(error < 0.01 for error in found["median_pixel_error"].values())
    assert found["average_jaccard"].keys() == {"torch", "fused", "native"}
    assert all(0 <= score <= 1 for score in found["average_jaccard"].values())
    assert (found["clips"], found["frames"]) == (2, 5)
    assert "px in the median; on generated clips AJ is " in capsys.readouterr().out


def shift_tracks(directory):
    path = directory / "step.onnx"
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if name == "xy" else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2), "shift"))
    model.graph.node.append(helper.make_node("Add", ["xy_before", "shift"], ["xy"]))
    onnx.save(model, path)


def test_too_large_a_cost_is_refused(copy_target, small_model, tmp_path):
    copy_target.then = shift_tracks
    with pytest.raises(VerificationError, match=r"positions differ by \d.* px in the median \(allowed: 1\.0\)"):
        export(SMALL, "copy", tmp_path / "artifact", Options(small_model, "int8"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision, lost, passes", [("fp16", 1, True), ("fp16", 3, False), ("fp32", 1, False)])
def test_few_of_forty_points_may_be_lost_to_rounding(
    copy_target, small_model, tmp_path, monkeypatch, precision, lost, passes
):
    original = verify.runtime_rollout

    def lose_some(*arguments):
        xy, visible = original(*arguments)
        xy[:lost] += 10
        return xy, visible

    monkeypatch.setattr(verify, "runtime_rollout", lose_some)
    monkeypatch.setattr(verify, "FRAMES", 3)
    options = Options(small_model, precision)
    if passes:
        found = export(SMALL, "copy", tmp_path / "artifact", options).verification
        assert found["strays"] == {"fused": 1 / 40, "native": 1 / 40}
        assert found["pixel_error"]["fused"] == pytest.approx(10, abs=0.25)
    else:
        with pytest.raises(VerificationError, match=r"positions differ by up to 10.* px \(allowed: 0\.\d+\)"):
            export(SMALL, "copy", tmp_path / "artifact", options)


def test_clips_for_the_verdict_are_not_those_of_the_calibration():
    config = SceneConfig(32, 48, clips.FRAMES, 4, query="frame0")
    seen = [make_clip(config, seed) for seed in range(calibration.CLIPS)]
    assert not any(np.array_equal(one.frames, other.frames) for one in held_out(config, 2) for other in seen)


def test_true_tracks_have_a_perfect_score():
    found = list(held_out(SceneConfig(64, 64, clips.FRAMES, 6, query="frame0"), 1))
    truth = clips.Rollout(found[0].xy[:, 1:], found[0].visible[:, 1:])
    assert clips._average_jaccard([truth], found) == 1
    lost = dataclasses.replace(truth, xy=truth.xy + 100)
    assert clips._average_jaccard([lost], found) == 0


# All together, on the trained model


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_eight_bits_cost_the_trained_model_little(target, traced_once, tmp_path):
    pytest.importorskip(TARGETS[target][0], reason=f"needs {target}: pip install 'tapsdk[{TARGETS[target][1]}]'")
    manifest = export("tapir/tiny", target, tmp_path / "artifact", Options(precision="int8"))
    jaccard = manifest.verification["average_jaccard"]
    assert min(jaccard.values()) > jaccard["torch"] - 0.03
    assert sum(file.bytes for file in manifest.files()) < 6e6
