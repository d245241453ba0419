"""OpenVINO: what only it does."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tapsdk import load, track
from tapsdk.artifact import open_artifact
from tapsdk.backends import Options, Place, open_backend
from tapsdk.errors import BackendError
from tapsdk.runtime.model import open_model
from tapsdk.runtime.point_state import FEWEST_ROWS
from tests.support import EXACT, ROOT, random_points

openvino = pytest.importorskip("tapsdk.backends.openvino", reason="needs openvino: pip install 'tapsdk[openvino]'")
ov = openvino.ov


def test_nothing_is_reported_to_its_maker(tmp_path):
    """Its own import would send an event and leave an identifier in the home folder."""
    code = (
        "import json, sys, tapsdk.backends\n"
        "tapsdk.backends.open_backend('openvino').describe()\n"
        "import openvino\n"
        "assert openvino.convert_model\n"  # all of it is there for whoever else uses it
        "print(json.dumps([name for name in sys.modules if 'openvino_telemetry' in name]))"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "CI": ""}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == []
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setenv("TAPSDK_OPENVINO_DEVICE", "GPU.7")
    with pytest.raises(
        BackendError, match=r"no device 'GPU\.7' here; it has .*TAPSDK_OPENVINO_DEVICE asks for 'GPU\.7'"
    ):
        open_backend("openvino")


def test_it_computes_in_float32():
    """Where half precision is faster it would be the default, and recurrent states drift away."""
    config = open_backend("openvino", Options(threads=3))._config
    assert config == {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "3"}


# Devices that are not the processor: what is theirs of the way through, on the processor


class Context:
    """Of a device with memory of its own."""

    def __init__(self):
        self.made = []

    def create_tensor(self, dtype, shape, properties):
        self.made.append(tuple(shape))
        return ov.Tensor(dtype, shape)


@pytest.fixture
def elsewhere(monkeypatch):
    """OpenVINO as it is on a device of a kind."""

    def start(kind, **options):
        monkeypatch.setitem(openvino.KINDS, "CPU", openvino.KINDS[kind])
        if openvino.KINDS[kind].stays:
            monkeypatch.setattr(ov.Core, "get_default_context", lambda core, name: Context())
        engine = open_backend("openvino", Options(threads=1, **options))
        engine.place = Place(on_processor=False, few_shapes=True)
        return engine

    return start


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
@pytest.mark.parametrize("points", [1, 5, 20])
def test_tracks_on_a_device_of_fixed_sizes_are_those_of_the_processor(elsewhere, model, video, kind, points):
    xy = random_points(points, video)
    expected = track(video, xy, load(model, backend="openvino:fused", threads=1))
    monkeypatched = elsewhere(kind)
    monkeypatched._config["INFERENCE_PRECISION_HINT"] = "f32"  # of an NPU it is f16
    found = track(video, xy, open_model(open_artifact(model), monkeypatched, "fused"))
    np.testing.assert_allclose(found.xy, expected.xy, atol=EXACT)


def test_state_stays_on_a_device_that_has_memory(elsewhere, model, video):
    engine = elsewhere("GPU")
    track(video[:3], random_points(5, video), open_model(open_artifact(model), engine, "fused"))
    step = open_artifact(model).stage("step")
    state = {t.shape_for(FEWEST_ROWS) for t in step.with_role("state")}
    assert state <= set(engine._context.made)
    assert (FEWEST_ROWS,) not in engine._context.made  # logits, which nobody wants there


def test_a_graph_is_compiled_once_for_each_size(elsewhere, model, video, monkeypatch):
    engine = elsewhere("NPU")
    compiled = []
    real = ov.Core.compile_model
    monkeypatch.setattr(ov.Core, "compile_model", lambda core, *args: compiled.append(1) or real(core, *args))
    loaded = open_model(open_artifact(model), engine, "fused")
    assert compiled == []
    track(video, random_points(3, video), loaded)
    once = len(compiled)
    track(video, random_points(9, video), loaded)  # which is as many rows
    assert len(compiled) == once
    track(video, random_points(17, video), loaded)
    assert len(compiled) > once


def test_an_npu_computes_in_half_precision_and_a_gpu_where_the_artifact_was_verified_so():
    assert (openvino.KINDS["NPU"].precision, openvino.KINDS["GPU"].precision) == ("f16", "f32")


def test_what_is_compiled_elsewhere_is_kept_in_the_cache(monkeypatch, own_cache):
    monkeypatch.setattr(ov.Core, "available_devices", ["CPU", "GPU.0", "GPU.1", "NPU"])
    monkeypatch.setattr(ov.Core, "get_default_context", lambda core, name: name)
    engine = open_backend("openvino", Options(device="gpu:1", threads=3))
    assert (engine.describe().rpartition(" ")[2], engine._context) == ("(GPU.1)", "GPU.1")
    assert engine._config == {"INFERENCE_PRECISION_HINT": "f32", "CACHE_DIR": str(own_cache / "engines" / "openvino")}
    assert open_backend("openvino", Options(device="GPU"))._device == "GPU"
    assert open_backend("openvino", Options(device="npu")).place.few_shapes
    with pytest.raises(BackendError, match=r"no device 'GPU\.2' here; it has CPU, GPU\.0, GPU\.1, NPU"):
        open_backend("openvino", Options(device="GPU.2"))
