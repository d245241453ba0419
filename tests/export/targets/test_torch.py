"""Graphs for PyTorch: what only this target does."""

import json

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.manifest import StageSpec, TensorSpec
from tapsdk.backends import Options, open_backend
from tapsdk.backends.torch_graph import OPERATORS
from tapsdk.errors import BackendError
from tests.support import SMALL, import_or_skip

torch = import_or_skip("torch")
safetensors = import_or_skip("safetensors")
import_or_skip("safetensors.torch")

from export.stages import cut  # noqa: E402
from export.targets.torch import to_bytes  # noqa: E402

STAGES = ["encode", "query", "step", "locate", "mixer"]


@pytest.fixture(scope="module")
def artifact(artifact_of):
    return artifact_of(SMALL, "torch")


@pytest.fixture(scope="module")
def stages(small_models):
    return {stage.name: stage for stage in cut("tapir", small_models[SMALL].load()).stages}


def test_there_is_one_file_a_stage(artifact):
    assert sorted(path.name for path in artifact.glob("*.safetensors")) == sorted(
        f"{name}.safetensors" for name in STAGES
    )


@pytest.mark.parametrize("name", STAGES)
def test_nothing_of_the_machine_that_exported_it_is_in_the_file(artifact, name):
    text = (artifact / f"{name}.safetensors").read_bytes().decode(errors="replace")
    for trace in ("site-packages", "/home/", "/tmp/", ".py"):
        assert trace not in text, trace


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("points, size", [(1, (64, 96)), (33, (96, 64)), (2, (64, 256))])
def test_it_computes_what_the_stage_computes_for_any_number_of_points_and_size(artifact, stages, name, points, size):
    stage = stages[name]
    manifest = open_artifact(artifact)
    session = open_backend("torch", Options(threads=1)).open(manifest.file(name, "torch"), manifest.stage(name))
    inputs = stage.example(points, size, seed=points)
    with torch.inference_mode():
        expected = stage.module(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = session.run({t.name: x.numpy() for t, x in zip(stage.spec.inputs, inputs, strict=True)})
    for spec, tensor in zip(stage.spec.outputs, expected, strict=True):
        np.testing.assert_allclose(found[spec.name], tensor.numpy(), rtol=1e-4, atol=1e-4, err_msg=spec.name)


@pytest.mark.parametrize(
    "name, module", [("locate", "model.head"), ("mixer", "model.mixer"), ("encode", "model.resnet")]
)
def test_a_file_holds_the_weights_of_its_own_stage_alone(artifact, stages, name, module):
    stored = safetensors.torch.load_file(artifact / f"{name}.safetensors")
    own = stages[name].module.get_submodule(module)
    assert sum(tensor.nbytes for tensor in stored.values()) == sum(weight.nbytes for weight in own.parameters())


def test_the_header_says_all_that_is_done_with_them(artifact):
    with safetensors.safe_open(artifact / "query.safetensors", "numpy") as file:
        graph = json.loads(file.metadata()["tapsdk.graph"])
    assert graph["version"] == 1
    assert graph["inputs"][2] == ["xy", [[1, graph["inputs"][2][1][0][1]], 2]]
    assert {operator for operator, *_ in graph["calls"]} <= OPERATORS


def test_an_operator_that_graphs_may_not_call_is_not_exported(tmp_path):
    class Module(torch.nn.Module):
        def forward(self, x):
            return torch.erfinv(x)

    spec = StageSpec((TensorSpec("x", (3,), "query"),), (TensorSpec("y", (3,), "query"),))
    with pytest.raises(RuntimeError, match=r"the model calls aten\.erfinv\.default, which is not one of"):
        to_bytes(torch.export.export(Module(), (torch.zeros(3),)), spec)


def test_sizes_that_the_model_does_not_take_are_refused(artifact, stages):
    manifest = open_artifact(artifact)
    session = open_backend("torch").open(manifest.file("encode", "torch"), manifest.stage("encode"))
    with pytest.raises(BackendError, match="torch failed: "):
        session.run({"frame": np.zeros((1, 64, 100, 3), np.float32)})
