"""Engines behind one protocol, and what is said of one that cannot run here."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import read_content
from tapsdk.artifact.manifest import TensorSpec
from tapsdk.backends import BACKENDS, EngineInfo, Options, open_backend, run_failed
from tapsdk.errors import ArtifactError, BackendError


@pytest.fixture
def engine():
    return open_backend("onnxruntime", Options(threads=1))


@pytest.fixture
def artifact(model):
    return open_artifact(model)


@pytest.fixture
def query(artifact, engine):
    """The stage `query`, opened: grids and points to features."""
    return engine.open(artifact.file("query", "onnx"), artifact.stage("query"))


@pytest.fixture
def inputs(artifact):
    rng = np.random.default_rng(0)
    return {t.name: rng.uniform(0, 8, t.shape_for(7)).astype(np.float32) for t in artifact.stage("query").inputs}


# Which ones there are


@pytest.mark.parametrize("name", ["cuda", "", "ONNXRUNTIME", "auto"])
def test_an_unknown_backend_lists_the_known_ones(name):
    with pytest.raises(BackendError, match=f"unknown backend '{name}'; use one of auto, onnxruntime"):
        open_backend(name)


@pytest.fixture
def missing_engine(monkeypatch):
    """A backend whose engine is installed and cannot be loaded, as with a missing system library."""
    module = types.ModuleType("missing_engine")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def open(options):
        raise ImportError("libengine.so.3: cannot open shared object file")

    module.open = open
    monkeypatch.setitem(BACKENDS, "missing", EngineInfo(module.__name__, "engine", "pip install tapsdk[missing]"))


def test_a_failed_import_keeps_its_own_words_and_says_what_to_install(missing_engine):
    with pytest.raises(BackendError) as caught:
        open_backend("missing")
    assert str(caught.value) == (
        "backend 'missing' cannot be used: importing engine failed (libengine.so.3: cannot open shared object file). "
        "Install it with: pip install tapsdk[missing]"
    )
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(BACKENDS, "absent", EngineInfo("no_such_engine", "no_such_engine", "pip install it"))
    with pytest.raises(BackendError, match=r"importing no_such_engine failed \(No module named 'no_such_engine'\)"):
        open_backend("absent")


# What a session takes and gives


def test_arrays_go_in_and_come_out(query, inputs, artifact):
    outputs = query.run(inputs)
    assert list(outputs) == [t.name for t in artifact.stage("query").outputs]
    assert {type(value) for value in outputs.values()} == {np.ndarray}
    assert outputs["features"].shape == artifact.stage("query").outputs[0].shape_for(7)


def test_kept_tensors_are_opaque_until_fetched_and_can_go_in_again(query, inputs, engine):
    expected = query.run(inputs)["features"]
    kept = query.run({name: engine.keep(array) for name, array in inputs.items()}, keep=["features"])["features"]
    assert not isinstance(kept, np.ndarray)
    np.testing.assert_array_equal(engine.fetch(kept), expected)


@pytest.mark.parametrize("order", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]], ids=["fortran", "step"])
def test_memory_of_any_order(query, inputs, engine, order):
    expected = query.run(inputs)["features"]
    np.testing.assert_array_equal(query.run({n: order(a) for n, a in inputs.items()})["features"], expected)
    kept = {name: engine.keep(order(array)) for name, array in inputs.items()}
    np.testing.assert_array_equal(query.run(kept)["features"], expected)


def test_what_was_fetched_stays_when_the_tensor_is_gone(engine):
    fetched = engine.fetch(engine.keep(np.full(10_000, 3, np.float32)))
    others = [np.full(10_000, 5, np.float32) for _ in range(50)]  # where the tensor's memory was
    assert len(others) == 50
    np.testing.assert_array_equal(fetched, 3)


def test_what_the_engine_cannot_do_is_one_of_our_errors(query, inputs):
    with pytest.raises(BackendError, match="onnxruntime failed: "):
        query.run({**inputs, "xy": inputs["xy"].astype(np.float64)})


def test_tensors_without_points_keep_their_shape(engine):
    empty = np.zeros((5, 0, 2, 4), np.float32)
    assert engine.fetch(engine.keep(empty)).shape == empty.shape


# Files that are not what the manifest says


def test_a_file_that_the_engine_cannot_read(tmp_path, artifact, engine):
    path = tmp_path / "step.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ArtifactError, match=r"onnxruntime cannot load .*step\.onnx"):
        engine.open(read_content(path, 1 << 20), artifact.stage("step"))


def test_a_graph_with_other_tensors_than_the_manifest_declares(artifact, engine):
    stage = artifact.stage("query")
    other = replace(stage, outputs=(TensorSpec("descriptor", ("N", 8), "query"),))
    with pytest.raises(ArtifactError, match=r"outputs .*'features'.*declares .*'descriptor'"):
        engine.open(artifact.file("query", "onnx"), other)


def test_threads_are_the_callers_choice(monkeypatch):
    seen = []
    monkeypatch.setattr("tapsdk.backends.onnxruntime.OnnxRuntime.__init__", lambda self, options: seen.append(options))
    open_backend("onnxruntime", Options(threads=3))
    open_backend("onnxruntime")
    assert [options.threads for options in seen] == [3, None]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Failed to allocate memory for requested buffer of size 8589934592"),
        RuntimeError("[GPU] clEnqueueMapBuffer, error code: CL_OUT_OF_HOST_MEMORY"),
        RuntimeError("CL_MEM_OBJECT_ALLOCATION_FAILURE"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("RESOURCE_EXHAUSTED: no room"),
    ],
    ids=str,
)
def test_an_engine_without_memory_says_what_to_do(error):
    told = str(run_failed("engine", error))
    assert told.startswith("engine failed: ")
    assert told.endswith("; there is not enough memory: track fewer points at once, or at a smaller resolution")


def test_an_engine_that_fails_otherwise_says_what_it_said():
    assert str(run_failed("engine", ValueError("no such input"))) == "engine failed: no such input"
    assert str(run_failed("engine", KeyError())) == "engine failed: KeyError"
