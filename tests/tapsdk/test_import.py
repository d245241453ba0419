"""`import tapsdk` is free: it loads no framework, no engine and no video library."""

import json
import subprocess
import sys

import pytest

import tapsdk
from tests.support import ROOT

HEAVY = ["av", "cv2", "fsspec", "jax", "onnx", "onnxruntime", "openvino", "pandas", "pyarrow", "ray", "tensorflow"]
HEAVY += ["tflite_runtime", "torch"]


def modules_after(code):
    """Names of the modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_the_import_alone():
    loaded = modules_after("import tapsdk")
    assert loaded.isdisjoint([*HEAVY, "numpy", "tapkernels"])


@pytest.mark.parametrize(
    "code",
    [
        "tapsdk.track",
        "tapsdk.batch.run",
        "tapsdk.Tracker",
        "tapsdk.Tracks",
        "tapsdk.open_artifact('tapir')",
        "import tapsdk.commands.main",
    ],
)
def test_names_and_artifacts_load_no_engine(code):
    loaded = modules_after(f"import tapsdk\n{code}")
    assert loaded.isdisjoint(HEAVY)


def test_an_array_is_tracked_without_a_video_library_or_a_framework():
    code = (
        "import numpy, tapsdk\n"
        "tapsdk.track(numpy.zeros((1, 8, 8, 3), numpy.uint8), [[1, 1]], backend='onnxruntime:fused')"
    )
    loaded = modules_after(code)
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint(set(HEAVY) - {"onnxruntime"})


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"]], ids=" ".join)
def test_help_is_quick_to_come(arguments):
    script = f"from tapsdk.commands.main import main\ntry:\n    main({arguments})\nexcept SystemExit:\n    pass"
    assert modules_after(script).isdisjoint([*HEAVY, "numpy"])


def test_public_names():
    assert set(tapsdk.__all__) <= set(dir(tapsdk))
    assert all(hasattr(tapsdk, name) for name in tapsdk.__all__)
    with pytest.raises(AttributeError, match="module 'tapsdk' has no attribute 'Trackers'"):
        tapsdk.Trackers  # noqa: B018
