"""What every engine does alike: arrays and kept tensors in and out, errors of ours, and state that stays its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapsdk.artifact.content import Content, read_content
from tapsdk.artifact.manifest import StageSpec, TensorSpec
from tapsdk.backends import BACKENDS, Options, open_backend
from tapsdk.errors import ArtifactError, BackendError

SIZE = (4, 6)
STAGE = StageSpec(
    inputs=(
        TensorSpec("frame", (1, "H", "W", 3), "frame"),
        TensorSpec("xy", ("N", 2), "points"),
        TensorSpec("total", (3, "N", 2), "state"),
    ),
    outputs=(TensorSpec("moved", ("N", 2), "xy"), TensorSpec("next_total", (3, "N", 2), "state")),
)
"""moved = xy + the frame's mean; next_total = total + moved."""


def write_onnx(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'tapsdk[export-onnx]'")
    helper = onnx.helper
    nodes = [
        helper.make_node("ReduceMean", ["frame"], ["mean"], keepdims=0),
        helper.make_node("Add", ["xy", "mean"], ["moved"]),
        helper.make_node("Add", ["total", "moved"], ["next_total"]),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(t.name, onnx.TensorProto.FLOAT, t.shape) for t in tensors]
        for tensors in (STAGE.inputs, STAGE.outputs)
    )
    graph = helper.make_graph(nodes, "stage", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "stage.onnx")
    return folder / "stage.onnx"


def write_openvino(folder: Path) -> Path:
    from tapsdk.backends.openvino import MODEL, ov

    path = folder / "stage.openvino"
    path.mkdir()
    ov.save_model(ov.Core().read_model(write_onnx(folder)), path / MODEL)
    return path


def write_torch(folder: Path) -> Path:
    import torch
    from torch.export import Dim

    from export.targets.torch import to_bytes

    class Module(torch.nn.Module):
        def forward(self, frame, xy, total):
            moved = xy + frame.mean()
            return moved, total + moved

    shapes = ({1: Dim("H", min=2, max=64), 2: Dim("W", min=2, max=64)}, {0: Dim("N", min=1)}, {1: Dim("N", min=1)})
    example = tuple(torch.ones(t.shape_for(5, (8, 16))) for t in STAGE.inputs)
    path = folder / "stage.safetensors"
    path.write_bytes(to_bytes(torch.export.export(Module(), example, dynamic_shapes=shapes), STAGE))
    return path


def opened(engine, path, stage=STAGE):
    return engine.open(read(path), stage)


def read(path: Path) -> Content:
    return read_content(path, 1 << 20)


# (backend, how its file is written); a new engine adds a row.
ENGINES = {
    "onnxruntime": ("onnxruntime", write_onnx),
    "openvino": ("openvino", write_openvino),
    "openvino on onnx": ("openvino", write_onnx),
    "torch": ("torch", write_torch),
}


@pytest.fixture(scope="module", params=ENGINES)
def row(request, tmp_path_factory):
    """(backend, file of the stage)"""
    name, write = ENGINES[request.param]
    row = BACKENDS[name]
    # Not the engine itself: OpenVINO reports to its maker, unless the backend imports it.
    pytest.importorskip(row.module, reason=f"needs {row.engine}: {row.install}")
    return open_backend(name, Options(threads=1)), write(tmp_path_factory.mktemp("stage"))


@pytest.fixture
def engine(row):
    return row[0]


@pytest.fixture
def session(row):
    engine, file = row
    return opened(engine, file)


def inputs(points=7, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    return {t.name: rng.uniform(0, 8, t.shape_for(points, size)).astype(np.float32) for t in STAGE.inputs}


def expected(inputs):
    moved = inputs["xy"] + inputs["frame"].mean()
    return {"moved": moved, "next_total": inputs["total"] + moved}


def check(outputs, inputs):
    for name, array in expected(inputs).items():
        np.testing.assert_allclose(outputs[name], array, rtol=1e-5, err_msg=name)


# Arrays


@pytest.mark.parametrize("points, size", [(1, (4, 6)), (7, (4, 6)), (300, (20, 12)), (2, (64, 64))])
def test_one_session_takes_any_number_of_points_and_any_size(session, points, size):
    given = inputs(points, size)
    outputs = session.run(given)
    assert list(outputs) == ["moved", "next_total"]
    assert {type(value) for value in outputs.values()} == {np.ndarray}
    check(outputs, given)


def test_sizes_may_change_from_run_to_run(session):
    for points in (5, 2, 9, 1, 5):
        given = inputs(points, (4, 2 * points + 2), seed=points)
        check(session.run(given), given)


@pytest.mark.parametrize("order", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]], ids=["fortran", "step"])
def test_memory_of_any_order(session, engine, order):
    given = inputs()
    check(session.run({name: order(array) for name, array in given.items()}), given)
    check(session.run({name: engine.keep(order(array)) for name, array in given.items()}), given)


def test_arrays_come_out_in_the_order_that_kernels_want(session, engine):
    outputs = session.run(inputs(), keep=["next_total"])
    assert outputs["moved"].flags.c_contiguous
    assert engine.fetch(outputs["next_total"]).flags.c_contiguous


def test_read_only_arrays_may_go_in(session, engine):
    given = inputs()
    for array in given.values():
        array.setflags(write=False)
    check(session.run(given), given)
    check(session.run({**given, "total": engine.keep(given["total"])}), given)


def test_arrays_that_came_out_stay_as_they_are(session):
    first = session.run(inputs(seed=1))
    for seed in (2, 3, 4):
        session.run(inputs(seed=seed))
    check(first, inputs(seed=1))


# Kept tensors


def test_kept_tensors_are_opaque_until_fetched(session, engine):
    given = inputs()
    outputs = session.run(given, keep=["next_total"])
    assert isinstance(outputs["moved"], np.ndarray)
    assert not isinstance(outputs["next_total"], np.ndarray)
    check({**outputs, "next_total": engine.fetch(outputs["next_total"])}, given)


def test_kept_tensors_stay_as_they_are_when_the_session_runs_again(session, engine):
    """Engines like to write results into the same memory each time; who keeps them would see them change."""
    kept = [session.run(inputs(seed=seed), keep=["moved", "next_total"]) for seed in range(4)]
    for seed, outputs in enumerate(kept):
        check({name: engine.fetch(tensor) for name, tensor in outputs.items()}, inputs(seed=seed))


def test_kept_tensors_stay_when_the_session_is_gone(row):
    engine, file = row
    kept = opened(engine, file).run(inputs(3), keep=["next_total"])["next_total"]
    opened(engine, file).run(inputs(3, seed=1))
    np.testing.assert_allclose(engine.fetch(kept), expected(inputs(3))["next_total"], rtol=1e-5)


def test_a_state_that_goes_round_is_the_sum_of_its_history(session, engine):
    given = inputs()
    total, known = engine.keep(given["total"]), given["total"]
    for seed in range(5):
        frame = inputs(seed=seed)["frame"]
        total = session.run({**given, "frame": frame, "total": total}, keep=["next_total"])["next_total"]
        known = expected({**given, "frame": frame, "total": known})["next_total"]
    np.testing.assert_allclose(engine.fetch(total), known, rtol=1e-5)


def test_one_tensor_can_go_in_twice(session, engine):
    """What failed before the next state was taken over is tried again with the old one."""
    given = inputs()
    total = engine.keep(given["total"])
    for _ in range(2):
        check(session.run({**given, "total": total}), given)


def test_what_was_fetched_stays_when_the_tensor_is_gone(engine):
    fetched = engine.fetch(engine.keep(np.full(10_000, 3, np.float32)))
    others = [np.full(10_000, 5, np.float32) for _ in range(50)]  # where the tensor's memory was
    assert len(others) == 50
    np.testing.assert_array_equal(fetched, 3)


def test_what_is_kept_outlives_the_array(session, engine):
    given = inputs(500)
    total = engine.keep(given["total"].copy())
    others = [np.full_like(given["total"], 5) for _ in range(50)]  # where the array's memory was
    assert len(others) == 50
    check(session.run({**given, "total": total}), given)


def test_tensors_without_points_keep_their_shape(engine):
    empty = np.zeros((5, 0, 2, 4), np.float32)
    assert engine.fetch(engine.keep(empty)).shape == empty.shape


# What goes wrong is one of our errors


@pytest.mark.parametrize("change", [{"xy": np.zeros((7, 3), np.float32)}, {"total": np.zeros(3, np.float32)}])
def test_inputs_that_the_stage_does_not_take(session, engine, change):
    with pytest.raises(BackendError, match=f"{engine.name} failed: "):
        session.run({**inputs(), **change})
    check(session.run(inputs()), inputs())  # and it still runs


def test_a_file_that_cannot_be_read(row, tmp_path):
    engine, file = row
    path = tmp_path / file.name
    if file.is_dir():
        path.mkdir()
        path = path / next(file.iterdir()).name
    path.write_bytes(b"not a graph")
    with pytest.raises(ArtifactError, match=f"{engine.name} cannot load .*stage"):
        opened(engine, tmp_path / file.name)


def test_a_stage_that_is_not_what_the_manifest_declares(row):
    engine, file = row
    other = replace(STAGE, outputs=(*STAGE.outputs, TensorSpec("more", ("N",), "logit")))
    with pytest.raises(ArtifactError, match=r"stage.* has .*, but the manifest declares "):
        opened(engine, file, other)


# What runs


def test_it_says_what_runs(engine):
    assert engine.describe().startswith(f"{engine.name} ")
    assert engine.formats == BACKENDS[engine.name].formats
