"""Translation to ONNX without tracing anew: the same numbers, whatever operators a stage calls."""

import numpy as np
import pytest

from tests.support import import_or_skip

torch = import_or_skip("torch")
import_or_skip("onnxscript")
ort = import_or_skip("onnxruntime")

from export.stages import Stage  # noqa: E402
from export.targets.dynamic_shapes import traced  # noqa: E402
from export.targets.onnx import translation  # noqa: E402
from tapsdk.artifact.manifest import StageSpec, TensorSpec  # noqa: E402


class Calls(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def written_into(x):
    y = x * 1
    y[:, 0] = 7
    return y


FUNCTIONS = {
    "and of truth values": lambda x: ((x > 0) & (x < 1)).float() * x,
    "and of numbers": lambda x: (x.long() & 3).float(),
    "a number minus a tensor": lambda x: 1 - x,
    "an integer minus integers": lambda x: (3 - x.long()).float(),
    "a number minus a part": lambda x: torch.rsub(x, 2, alpha=0.5),
    "square": lambda x: x.square(),
    "a type that it has": lambda x: x.to(torch.float32) + 1,
    "another type": lambda x: x.to(torch.int64).to(torch.float32),
    "written into": written_into,
    "decomposed": lambda x: torch.special.log_ndtr(x.clamp(-1, 1)),
}


def stage_of(function):
    x, y = TensorSpec("x", ("N", 4), "query"), TensorSpec("y", ("N", 4), "query")
    return Stage("one", Calls(function), StageSpec((x,), (y,)))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_graph_computes_what_the_stage_does_for_any_number_of_points(function):
    stage = stage_of(function)
    graph = translation.translate(traced(stage), stage)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["N", 4]
    for points in (1, 9):
        (x,) = stage.example(points, (0, 0), seed=points)
        (found,) = session.run(["y"], {"x": 3 * x.numpy()})
        np.testing.assert_allclose(found, function(3 * x).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["and of truth values", "square", "another type", "a number minus a tensor"])
def test_operators_of_our_models_are_not_traced_anew(name, monkeypatch):
    stage = stage_of(FUNCTIONS[name])
    program = traced(stage)

    def refuse(*arguments):
        raise AssertionError("it was traced once more")

    monkeypatch.setattr(type(program), "run_decompositions", refuse)
    translation.translate(program, stage)


def test_the_exporters_loggers_are_left_as_they_were():
    import logging

    logging.getLogger("onnxscript").setLevel(logging.INFO)
    stage = stage_of(FUNCTIONS["square"])
    translation.translate(traced(stage), stage)
    assert logging.getLogger("onnxscript").level == logging.INFO
    logging.getLogger("onnxscript").setLevel(logging.NOTSET)
