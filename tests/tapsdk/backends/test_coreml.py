"""Core ML, which no test can run off a Mac: what it is told and what comes back, with coremltools in disguise."""

import enum
import json
import logging
import sys
import types
from pathlib import Path

import numpy as np
import numpy.testing  # it asks the system what it is, which the tests are about to change
import pytest

from tapsdk.artifact.content import Content, read_content
from tapsdk.artifact.manifest import StageSpec, TensorSpec
from tapsdk.backends import open_backend
from tapsdk.backends.coreml import COMPUTE_UNITS, import_coremltools
from tapsdk.errors import ArtifactError, BackendError

STAGE = StageSpec(
    (TensorSpec("xy", ("N", 2), "points"), TensorSpec("total", ("N", 2), "state")),
    (TensorSpec("moved", ("N", 2), "xy"), TensorSpec("next_total", ("N", 2), "state")),
)
ENCODER = StageSpec((TensorSpec("frame", (1, 4, 6, 3), "frame"),), (TensorSpec("grid", (1, 4, 6, 3), "feature"),))


class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


class MLModel:
    """Takes and gives arrays by name, as the real one does."""

    def __init__(self, path, compute_units, function_name):
        if "missing" in path:
            raise RuntimeError("no such package")
        self.told = path, compute_units, function_name

    def predict(self, inputs):
        if not all(type(value) is np.ndarray for value in inputs.values()):
            raise TypeError("arrays alone")
        moved = inputs["xy"] + 1
        return {"next_total": inputs["total"] + moved, "moved": moved.astype(np.float64)}


@pytest.fixture
def mac(monkeypatch):
    package = types.ModuleType("coremltools")
    package.__version__ = "9.0"
    package.ComputeUnit = ComputeUnit
    package.models = types.SimpleNamespace(MLModel=MLModel)
    monkeypatch.setitem(sys.modules, "coremltools", package)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delenv("TAPSDK_COREML_UNITS", raising=False)


def package(name):
    """The least that is a package of an ML program."""
    listing = {"itemInfoEntries": {"1": {"path": "com.apple.CoreML/m.mlmodel"}}, "rootModelIdentifier": "1"}
    program = b"\xb2\x1f\x00"
    parts = {"Data/com.apple.CoreML/m.mlmodel": program, "Manifest.json": json.dumps(listing).encode()}
    return Content(Path(name), parts)


def inputs(points=4):
    return {name: np.full((points, 2), value, np.float32) for name, value in (("xy", 2), ("total", 5))}


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
def test_elsewhere_it_says_where_it_runs():
    """That comes before any package: installing one would not help."""
    with pytest.raises(BackendError, match="Core ML runs on macOS"):
        open_backend("coreml")


def test_without_the_package_it_says_what_to_install(mac, monkeypatch):
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(BackendError, match=r"importing coremltools failed.*pip install 'tapsdk\[coreml\]'"):
        open_backend("coreml")


@pytest.mark.parametrize("stage, points, function", [(STAGE, 64, "points_64"), (ENCODER, 64, "main")])
def test_it_opens_the_function_for_the_number_of_points(mac, stage, points, function):
    session = open_backend("coreml").open(package("step.mlpackage"), stage, points)
    path, *told = session._model.told
    assert told == [ComputeUnit.ALL, function]
    assert read_content(Path(path), 1000).parts == package("step.mlpackage").parts
    del session
    assert not Path(path).exists()


@pytest.mark.parametrize("units, member", COMPUTE_UNITS.items())
def test_the_processors_can_be_named(mac, monkeypatch, units, member):
    monkeypatch.setenv("TAPSDK_COREML_UNITS", units)
    engine = open_backend("coreml")
    assert engine.describe() == f"coreml (coremltools 9.0, {units})"
    assert engine.open(package("step.mlpackage"), STAGE, 4)._model.told[1] is ComputeUnit[member]


def test_a_processor_that_does_not_exist(mac, monkeypatch):
    monkeypatch.setenv("TAPSDK_COREML_UNITS", "npu")
    with pytest.raises(
        BackendError,
        match=r"coreml has no device 'npu'; use one of all, cpu, cpu\+gpu, cpu\+ane.*TAPSDK_COREML_UNITS asks",
    ):
        open_backend("coreml")


def test_outputs_are_those_of_the_manifest_in_float32(mac):
    found = open_backend("coreml").open(package("step.mlpackage"), STAGE, 4).run(inputs())
    assert list(found) == ["moved", "next_total"]
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(found["moved"], np.full((4, 2), 3))


def test_a_kept_tensor_goes_into_the_next_call(mac):
    engine = open_backend("coreml")
    session = engine.open(package("step.mlpackage"), STAGE, 4)
    total = engine.keep(inputs()["total"])
    for expected in (8, 11, 14):
        total = session.run({**inputs(), "total": total}, keep=["next_total"])["next_total"]
        np.testing.assert_array_equal(engine.fetch(total), np.full((4, 2), expected))


def test_what_was_fetched_is_a_copy(mac):
    engine = open_backend("coreml")
    kept = engine.keep(inputs()["xy"])
    engine.fetch(kept)[:] = 0
    np.testing.assert_array_equal(engine.fetch(kept), inputs()["xy"])


def test_errors_are_ours_and_keep_their_words(mac):
    engine = open_backend("coreml")
    with pytest.raises(ArtifactError, match=r"cannot load .*missing.*'points_4': no such package"):
        engine.open(package("missing.mlpackage"), STAGE, 4)
    with pytest.raises(BackendError, match="coreml failed: arrays alone"):
        engine.open(package("step.mlpackage"), STAGE, 4).run({**inputs(), "total": [0]})


def test_what_it_logs_to_no_use_is_dropped_and_the_rest_is_not(mac, caplog):
    import_coremltools()
    import_coremltools()
    logger = logging.getLogger("coremltools")
    for message in (
        "Torch version 2.13.0 has not been tested with coremltools.",
        "Failed to load _MLModelProxy: No module named 'coremltools.libcoremlpython'",
        "Saving value type of int64 into a builtin type of int32, might lose precision!",
        "Overriding previous value",
    ):
        logger.warning(message)
    assert [record.getMessage() for record in caplog.records] == ["Overriding previous value"]
