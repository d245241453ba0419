"""OpenVINO: what only it does."""

import json
import os
import subprocess
import sys

import pytest

from tapsdk.backends import Options, open_backend
from tapsdk.errors import BackendError
from tests.support import ROOT

pytest.importorskip("tapsdk.backends.openvino", reason="needs openvino: pip install 'tapsdk[openvino]'")


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
