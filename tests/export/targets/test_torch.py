"""Graphs for PyTorch: what only this target does."""

import json

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.manifest import StageSpec, TensorSpec
from tapsdk.backends import Options, open_backend
from tapsdk.backends.torch_graph import OPERATORS, read_graph
from tapsdk.errors import BackendError
from tests.export.conftest import SMALL_NEXT
from tests.support import SMALL, import_or_skip

torch = import_or_skip("torch")
safetensors = import_or_skip("safetensors")
import_or_skip("safetensors.torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from export.stages import Style, cut  # noqa: E402
from export.targets.dynamic_shapes import traced  # noqa: E402
from export.targets.torch import HALVES, to_bytes  # noqa: E402
from tapsdk.backends.torch import _module  # noqa: E402

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


# On other devices, as far as can be told without one: nothing of a graph lies anywhere else


@pytest.fixture(scope="module", params=[SMALL, pytest.param(SMALL_NEXT, marks=pytest.mark.slow)])
def programs(request, small_models):
    """[(stage, its program)] of a model."""
    stages = cut(request.param.partition("/")[0], small_models[request.param].load(), Style(native=False)).stages
    return [(stage, traced(stage)) for stage in stages]


@pytest.mark.parametrize("precision", ["fp32", *HALVES])
@pytest.mark.parametrize("device", ["meta", "cuda:0"])
def test_all_that_a_graph_makes_is_on_its_device_and_float32_comes_out(programs, device, precision):
    """PyTorch's fake tensors know devices that are not there, and refuse to mix them."""
    for stage, program in programs:
        data = to_bytes(program, stage.spec, HALVES.get(precision), stage.exact)
        sizes = {name: (x.shape, x.dtype) for name, x in safetensors.torch.load(data).items()}
        with FakeTensorMode(allow_non_fake_inputs=True):
            weights = {name: torch.empty(shape, dtype=dtype, device=device) for name, (shape, dtype) in sizes.items()}
            module = _module(read_graph(data), weights, torch.device(device))
            inputs = [torch.empty(t.shape_for(16, (64, 96)), device=device) for t in stage.spec.inputs]
            outputs = module(*inputs)
        assert {(str(x.device), x.dtype) for x in outputs} == {(device, torch.float32)}
        assert [tuple(x.shape) for x in outputs] == [t.shape_for(16, (64, 96)) for t in stage.spec.outputs]


@pytest.mark.parametrize("precision", HALVES)
def test_products_are_in_half_precision_and_what_must_be_exact_is_not(programs, precision):
    halved = 0
    for stage, program in programs:
        data = to_bytes(program, stage.spec, HALVES[precision], stage.exact)
        weights, graph = safetensors.torch.load(data), read_graph(data)
        exact = {name for name in weights if any(name.startswith(f"{module}.") for module in stage.exact)}
        assert {weights[name].dtype for name in exact} <= {torch.float32}
        halved += sum(x.dtype == HALVES[precision] for x in weights.values())
        float32 = read_graph(to_bytes(program, stage.spec))
        assert [c.operator for c in graph.calls if c.operator != "aten.to.dtype"] == [
            c.operator for c in float32.calls if c.operator != "aten.to.dtype"
        ]
    assert halved
