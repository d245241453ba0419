"""Core ML packages: plain operators, one function for each number of points, and the model's numbers inside."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import read_content
from tapsdk.artifact.manifest import StageSpec, TensorSpec, entry_point
from tapsdk.errors import ArtifactError
from tapsdk.runtime.plans import plans_of
from tests.export.conftest import SMALL_LITE, SMALL_NET, SMALL_NEXT
from tests.golden import formula
from tests.support import ROOT, SMALL, import_or_skip, known_model

torch = import_or_skip("torch")
ct = pytest.importorskip("coremltools", reason="needs coremltools: pip install 'tapsdk[export-coreml]'")

from coremltools.converters.mil.mil import types  # noqa: E402

from export.pipeline import ExportError, Options, export  # noqa: E402
from export.stages import Stage, cut  # noqa: E402
from export.targets import Request  # noqa: E402
from export.targets.coreml import interpreter as mil  # noqa: E402
from export.targets.coreml.interpreter import MilInterpreter  # noqa: E402
from export.targets.coreml.precision import PRODUCTS  # noqa: E402
from export.targets.coreml.target import TARGET  # noqa: E402
from export.verification.rollouts import runtime_rollout, torch_rollout  # noqa: E402
from training.models import load  # noqa: E402

POINTS = 8
"""The one number of points that models are exported for: each more takes as long again."""

# Every operator that the graphs are made of. One that is not here may not exist on some processor: look before adding.
PLAIN = {
    *("abs", "add", "cast", "clip", "exp", "fill_like", "log", "mul", "pow", "real_div", "relu", "round", "rsqrt"),
    *("sigmoid", "sqrt", "square", "sub"),
    *("equal", "greater", "greater_equal", "less", "less_equal", "logical_and", "select"),
    *("relu6", "upsample_bilinear"),
    *("conv", "gelu", "instance_norm", "layer_norm", "linear", "matmul", "scaled_dot_product_attention", "softmax"),
    *("batch_norm", "max_pool"),
    *("reduce_max", "reduce_mean", "reduce_sum"),
    *("concat", "expand_dims", "pad", "reshape", "reverse", "slice_by_index", "split", "squeeze", "stack", "tile"),
    "transpose",
}
FORBIDDEN = {"gather", "gather_nd", "gather_along_axis", "resample", "while_loop", "cond", "crop_resize"}

PIXELS = {"fp32": 1e-3, "fp16": 0.25}
"""That the worst position may be off."""


@pytest.fixture(scope="module")
def artifact_of(small_models, tmp_path_factory):
    """artifact_of(model, precision): a directory. Do not write into it."""
    made = {}

    def make(model, precision):
        if (model, precision) not in made:
            small, directory = small_models[model], tmp_path_factory.mktemp("artifacts") / "artifact"
            with known_model(model, small.config):
                export(model, "coreml", directory, Options(small.weights, precision, POINTS))
            made[model, precision] = directory
        return made[model, precision]

    return make


# With random weights, and nothing that refines a first guess, half precision decides where many points of TAP-Net are.
ROWS = [
    *((m, p) for m in (SMALL, SMALL_NEXT) for p in PIXELS),
    *(pytest.param((m, "fp32"), marks=pytest.mark.slow) for m in (SMALL_LITE, SMALL_NET)),
]


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: "-".join(row))
def row(request):
    """(model, precision)"""
    return request.param


@pytest.fixture
def artifact(row, artifact_of):
    return open_artifact(artifact_of(*row))


def functions(artifact):
    """(stage, function) of everything in an artifact."""
    for name, spec in artifact.manifest.stages.items():
        yield spec, mil._function(artifact.file(name, "coreml"), entry_point(spec, POINTS))


def operations(function):
    return [op for op in function.operations if op.op_type != "const"]


def stage_of(module):
    """A stage z = module(x, y), all of them [N, 6]."""
    x, y, z = (TensorSpec(name, ("N", 6), "query") for name in "xyz")
    return Stage("stage", module, StageSpec((x, y), (z,)))


def check(stage, folder, points):
    """A package against the module that it was made of."""
    inputs = stage.example(points, (0, 0))
    session = MilInterpreter().open(read_content(folder / f"{stage.name}.mlpackage", 1 << 30), stage.spec, points)
    found = session.run({t.name: x.numpy() for t, x in zip(stage.spec.inputs, inputs, strict=True)})
    with torch.inference_mode():
        expected = stage.module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for spec, tensor in zip(stage.spec.outputs, expected, strict=True):
        np.testing.assert_allclose(found[spec.name], tensor.numpy(), rtol=1e-4, atol=1e-5)


# What it computes


def test_tracks_are_those_of_torch_in_a_bucket_that_is_not_full(row, artifact, small_models):
    model, precision = row
    height, width = artifact.manifest.frames.size
    video = formula.video(8, height, width, seed=3)
    xy = formula.queries(5, 8, height, width, seed=3, first=True)[:, [2, 1]]
    expected_xy, expected_visible = torch_rollout(small_models[model].load(), artifact.manifest.visibility, video, xy)
    (plan,) = plans_of(artifact.manifest, "coreml")
    found_xy, found_visible = runtime_rollout(artifact, MilInterpreter(), plan, video, xy)
    assert np.abs(found_xy - expected_xy).max() < PIXELS[precision]
    np.testing.assert_array_equal(found_visible, expected_visible)


def test_the_manifest_says_how_it_was_verified(row, artifact):
    verification = artifact.manifest.verification
    assert verification["backend"] == MilInterpreter().describe()
    assert "Apple's own kernels were not run" in verification["backend"]
    (error,) = verification["pixel_error"].values()
    assert error < PIXELS[row[1]]
    assert artifact.manifest.tools["coremltools"] == ct.__version__
    assert artifact.manifest.precision == row[1]


def test_other_frames_than_the_model_was_trained_on(small_models, small_config, tmp_path):
    with known_model(SMALL, small_config):
        model = load(SMALL, small_models[SMALL].weights)
    encode, query, _ = cut("tapir", model, replace(TARGET.style, frame_size=(96, 64))).stages
    TARGET.lower([encode, query], tmp_path, Request(buckets=(4,)))
    for stage in (encode, query):
        check(stage, tmp_path, 4)


# What the converter of this version would get wrong


class Gelu(torch.nn.Module):
    def forward(self, x, y):
        return torch.nn.functional.gelu(x * 4, approximate="tanh") - torch.nn.functional.gelu(y * 4)


class Einsum(torch.nn.Module):
    def forward(self, x, y):
        return torch.einsum("...gi,gij->...gj", x.unflatten(-1, (2, 3)), y[:3].reshape(2, 3, 3)).flatten(-2)


class Both(torch.nn.Module):
    def forward(self, x, y):
        return x * ((x > 0) & (y > 0))


class Places(torch.nn.Module):
    def forward(self, x, y):
        places = torch.arange(x.shape[-1], 0, -1, dtype=x.dtype) / 2
        return (x > 0) * places + torch.arange(6, dtype=y.dtype) + torch.arange(2, 8, dtype=y.dtype)


@pytest.mark.parametrize("module", [Gelu(), Einsum(), Both(), Places()], ids=lambda module: type(module).__name__)
def test_it_is_what_torch_computes(module, tmp_path):
    stage = stage_of(module)
    TARGET.lower([stage], tmp_path, Request(buckets=(4,)))
    check(stage, tmp_path, 4)


def test_approximations_stay_single_operations(artifact_of):
    for model in (SMALL, SMALL_NEXT):
        artifact = open_artifact(artifact_of(model, "fp32"))
        modes = [
            op.mode.val for _, function in functions(artifact) for op in operations(function) if op.op_type == "gelu"
        ]
        assert len(modes) > 3
        assert set(modes) == {"TANH_APPROXIMATION"}


# What it is made of


def test_only_plain_operators(artifact):
    for _, function in functions(artifact):
        found = {op.op_type for op in operations(function)}
        assert found <= PLAIN
        assert not found & FORBIDDEN


def test_tensors_have_the_names_and_shapes_of_the_manifest_and_are_float32_at_the_border(artifact):
    for spec, function in functions(artifact):
        found = [*function.inputs.values()], [*function.outputs]
        for variables, tensors in zip(found, (spec.inputs, spec.outputs), strict=True):
            assert {var.name for var in variables} == {t.name for t in tensors}
            shapes = {t.name: t.shape_for(POINTS) for t in tensors}
            assert all(tuple(var.shape) == shapes[var.name] for var in variables)
            assert all(var.dtype == types.fp32 for var in variables)


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(6, 4096), torch.nn.Linear(4096, 6)

    def forward(self, x, y):
        return self.down(self.up(x)) + y


def test_functions_for_several_numbers_of_points_share_their_weights(tmp_path):
    stage = stage_of(Layers())
    TARGET.lower([stage], tmp_path, Request(buckets=(3, 8)))
    description = ct.utils.load_spec(str(tmp_path / "stage.mlpackage")).description
    assert [function.name for function in description.functions] == ["points_3", "points_8"]
    assert description.defaultFunctionName == "points_3"
    for points in (3, 8):
        check(stage, tmp_path, points)
    weights = sum(tensor.numel() for tensor in stage.module.parameters())
    stored = (tmp_path / "stage.mlpackage" / mil.WEIGHTS / "weight.bin").stat().st_size
    assert 4 * weights <= stored < 1.1 * 4 * weights


def test_a_stage_without_points_is_a_single_function(artifact_of):
    artifact = open_artifact(artifact_of(SMALL, "fp32"))
    assert artifact.manifest.points.buckets == {"coreml": (POINTS,)}
    for name, entry in (("encode", "main"), ("query", f"points_{POINTS}"), ("step", f"points_{POINTS}")):
        description = ct.utils.load_spec(str(artifact.directory / f"{name}.mlpackage")).description
        assert [function.name for function in description.functions] == [entry]


def test_a_package_says_what_it_is(artifact, small_models, row):
    *_, (name, stage) = artifact.manifest.stages.items()
    spec = ct.utils.load_spec(str(artifact.directory / f"{name}.mlpackage"))
    found = spec.description.metadata.userDefined
    assert found["model"] == row[0]
    assert found["precision"] == row[1]
    assert found["stage"] == name
    assert found["weights_sha256"] == artifact.manifest.weights_sha256
    assert "license" not in found  # whose weights these are is not known
    for tensor in (*stage.inputs, *stage.outputs):
        assert f"{tensor.name}: {tensor.role}" in found["tensors"].split(", ")


def test_half_precision_is_for_features_and_not_for_coordinates(artifact_of, small_models):
    for model in (SMALL, SMALL_NEXT):
        artifact = open_artifact(artifact_of(model, "fp16"))
        for name, (_, function) in zip(artifact.manifest.stages, functions(artifact), strict=True):
            made = {(op.op_type, op.outputs[0].dtype) for op in operations(function)}
            for operation in (
                ("softmax", "exp", "rsqrt", "abs", "round", "pow") if model == SMALL else ("softmax", "exp")
            ):
                assert (operation, types.fp16) not in made, (name, operation)
        products = [op for op in operations(function) if op.op_type in PRODUCTS]
        exact = [op for op in products if op.outputs[0].dtype == types.fp32]
        names = {
            "tapir/toy": ("p_model_head", "p_model_mixer_out"),
            SMALL_NEXT: ("p_model_coordinate", "p_model_vis"),
        }
        assert len(products) > 2 * len(exact) > 0
        assert all(op.weight.name.startswith(names[model]) for op in exact)


# What goes wrong, and what is not said


def test_int8_is_not_for_this_format(small_models, tmp_path):
    small = small_models[SMALL]
    with known_model(SMALL, small.config), pytest.raises(ExportError) as caught:
        export(SMALL, "coreml", tmp_path / "artifact", Options(small.weights, "int8"))
    assert str(caught.value) == "unknown precision 'int8' for coreml; allowed: fp32, fp16"


def test_the_converter_is_quiet(tmp_path, capfd, caplog):
    TARGET.lower([stage_of(Places())], tmp_path, Request(buckets=(4,)))
    assert capfd.readouterr() == ("", "")
    assert not "".join(caplog.messages).strip()
    assert [path.name for path in tmp_path.iterdir()] == ["stage.mlpackage"]


def test_it_needs_its_own_packages_alone():
    """And starts without a word, although coremltools knows no PyTorch as new as ours."""
    # The last two are what coremltools looks for; torchao, where it is, complains of PyTorch by itself.
    blocked = (
        "onnx",
        "onnxscript",
        "openvino",
        "ai_edge_litert",
        "litert_torch",
        "tensorflow",
        "jax",
        "sklearn",
        "torchao",
    )
    imports = "import export.pipeline, export.targets.coreml.target"
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); {imports}"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_mac_verifies_by_core_ml_itself(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert TARGET.open_backend().describe() == f"coreml (coremltools {ct.__version__}, all)"
    monkeypatch.setattr(sys, "platform", "linux")
    assert isinstance(TARGET.open_backend(), MilInterpreter)


def test_a_package_that_was_changed_is_refused(artifact_of, tmp_path):
    shutil.copytree(artifact_of(SMALL, "fp32"), tmp_path / "copy")
    (tmp_path / "copy" / "step.mlpackage" / mil.WEIGHTS / "weight.bin").write_bytes(b"other weights")
    with pytest.raises(ArtifactError, match=r"step\.mlpackage is not the file that was exported"):
        open_artifact(tmp_path / "copy").verify()


# Full size


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tapir/boots-causal", "tapnext/base"])
def test_full_size_models_export_and_verify(model, official_files, tmp_path):
    manifest = export(model, "coreml", tmp_path / "artifact", Options(official_files[model], points=16))
    assert manifest.verification["pixel_error"]["fused"] < PIXELS["fp32"]
