"""Every target, precision and backend tracks as torch does: one body, and a row for each combination.

The small models have random weights, which make positions depend on every bit of a frame: what a trained model gives
is closer to torch's than this. The full-size ones are the slow rows.
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import numpy as np
import pytest

import tapsdk
from tapsdk.artifact.manifest_file import read_manifest
from tapsdk.backends import BACKENDS
from tapsdk.runtime.plans import plans_of
from tests.export.conftest import SMALL_LITE, SMALL_NET, SMALL_NEXT
from tests.golden import formula
from tests.support import SMALL, SMALL_CLIP, import_or_skip

torch = import_or_skip("torch")

from export.pipeline import Options, export  # noqa: E402
from export.targets import TARGETS  # noqa: E402
from export.verification.rollouts import torch_rollout  # noqa: E402
from export.verification.verify import STRAYS  # noqa: E402
from training.models import load  # noqa: E402

FRAMES, POINTS = 10, 12
CONVERTERS = {"tflite": "litert_torch"}
"""Packages of targets that are not called like them."""
BUCKET = 16
"""Of full-size models, where a target has fixed shapes: one number of points, which POINTS do not fill."""


class Row(NamedTuple):
    """pixels: that the worst position may be off; in half precision, what `STRAYS` leaves of them.

    Of two cells that match about equally well, rounding decides: the soft maximum of a random TAP-Net then jumps.
    """

    model: str
    target: str
    precision: str
    backend: str
    pixels: float


ROWS = [
    Row(SMALL, "onnx", "fp32", "onnxruntime", 0.01),
    Row(SMALL, "onnx", "fp16", "onnxruntime", 0.25),
    Row(SMALL, "onnx", "fp32", "openvino", 0.01),
    Row(SMALL, "openvino", "fp32", "openvino", 0.01),
    Row(SMALL, "openvino", "fp16", "openvino", 0.25),
    Row(SMALL, "tflite", "fp32", "litert", 0.01),
    Row(SMALL, "tflite", "fp16", "litert", 0.25),
    Row(SMALL, "torch", "fp32", "torch", 0.01),
    Row(SMALL, "torch", "fp16", "torch", 0.25),
    Row(SMALL, "torch", "bf16", "torch", 0.5),
    Row(SMALL_LITE, "onnx", "fp32", "onnxruntime", 0.01),
    Row(SMALL_LITE, "openvino", "fp32", "openvino", 0.01),
    Row(SMALL_LITE, "tflite", "fp32", "litert", 0.01),
    Row(SMALL_LITE, "torch", "fp32", "torch", 0.01),
    Row(SMALL_NEXT, "onnx", "fp32", "onnxruntime", 0.01),
    Row(SMALL_NEXT, "onnx", "fp16", "onnxruntime", 0.25),
    Row(SMALL_NEXT, "openvino", "fp32", "openvino", 0.01),
    Row(SMALL_NEXT, "openvino", "fp16", "openvino", 0.25),
    Row(SMALL_NEXT, "tflite", "fp32", "litert", 0.01),
    Row(SMALL_NEXT, "tflite", "fp16", "litert", 0.25),
    Row(SMALL_NEXT, "torch", "fp32", "torch", 0.01),
    Row(SMALL_NEXT, "torch", "fp16", "torch", 0.25),
    Row(SMALL_NEXT, "torch", "bf16", "torch", 0.5),
    Row(SMALL_CLIP, "onnx", "fp32", "onnxruntime", 0.01),
    Row(SMALL_CLIP, "openvino", "fp32", "openvino", 0.01),
    Row(SMALL_NET, "onnx", "fp32", "onnxruntime", 0.01),
    Row(SMALL_NET, "onnx", "fp16", "onnxruntime", 0.25),
    Row(SMALL_NET, "onnx", "fp32", "openvino", 0.01),
    Row(SMALL_NET, "openvino", "fp32", "openvino", 0.01),
    Row(SMALL_NET, "tflite", "fp32", "litert", 0.01),
    Row(SMALL_NET, "tflite", "fp16", "litert", 0.25),
    # Not in half precision: of cells of a random TAP-Net that match alike, rounding chooses another.
    Row(SMALL_NET, "torch", "fp32", "torch", 0.01),
]

FULL_ROWS = [
    *(
        Row(model, target, "fp32", backend, 0.05)
        for model in ("tapir/boots-causal", "tapnext/base")
        for target, backend in (
            ("onnx", "onnxruntime"),
            ("openvino", "openvino"),
            ("tflite", "litert"),
            ("torch", "torch"),
        )
    ),
    Row("tapnet/base", "onnx", "fp32", "onnxruntime", 0.01),
    Row("tapnet/base", "onnx", "fp16", "onnxruntime", 0.25),
    Row("tapnet/base", "openvino", "fp32", "openvino", 0.01),
    Row("tapnet/base", "tflite", "fp32", "litert", 0.01),
    Row("tapnet/base", "torch", "fp32", "torch", 0.01),
]


def name_of(row):
    return "-".join(row[:4])


def skip_what_is_not_installed(row):
    for name in (BACKENDS[row.backend].engine, CONVERTERS.get(row.target, row.target)):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}: pip install 'tapsdk[{TARGETS[row.target][1]}]'")


def check(row, directory, model):
    """Tracks points by every plan there is, and compares."""
    manifest = read_manifest(directory)
    height, width = manifest.frames.size
    video = formula.video(FRAMES, height, width, seed=3)
    xy = formula.queries(POINTS, FRAMES, height, width, seed=3, first=True)[:, [2, 1]]
    expected_xy, expected_visible = torch_rollout(model, manifest.visibility, video, xy)
    for plan in plans_of(manifest, row.target):
        tracks = tapsdk.track(video, xy, model=directory, backend=f"{row.backend}:{plan}")
        assert tracks.report.backend.startswith(row.backend)
        assert (tracks.report.path, tracks.report.precision) == (plan, row.precision)
        is_off = ~(np.abs(tracks.xy[:, 1:] - expected_xy).max(-1) < row.pixels)
        assert is_off.mean() <= STRAYS.get(row.precision, 0.0)
        assert (tracks.visible[:, 1:] != expected_visible).mean() <= 0.01


def marked(row):
    """TAPNext's stage takes long to convert, where the converter is slow, and so do TAP-Net's of a fixed length, and an
    encoder that is no smaller than a real one."""
    long = ((SMALL_LITE, "openvino"), (SMALL_LITE, "tflite"), (SMALL_NEXT, "tflite"), (SMALL_NEXT, "torch"))
    is_long = (row.model, row.target) in (*long, (SMALL_NET, "tflite"))
    return pytest.param(row, id=name_of(row), marks=pytest.mark.slow if is_long else ())


@pytest.mark.parametrize("row", [marked(row) for row in ROWS])
def test_tracks_are_those_of_torch(row, small_models, artifact_of):
    skip_what_is_not_installed(row)
    check(row, artifact_of(row.model, row.target, row.precision), small_models[row.model].load())


@pytest.mark.slow
@pytest.mark.parametrize("row", FULL_ROWS, ids=name_of)
def test_full_size_tracks_are_those_of_torch(row, official_files, tmp_path):
    skip_what_is_not_installed(row)
    weights = official_files[row.model]
    points = BUCKET if row.target == "tflite" else None
    export(row.model, row.target, tmp_path / "artifact", Options(weights, row.precision, points))
    check(row, tmp_path / "artifact", load(row.model, weights))
