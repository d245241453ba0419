"""The encoder that can be pretrained goes to every target, as the other one does."""

from dataclasses import replace

import pytest

from tapsdk.artifact.artifact import open_artifact
from tests.conftest import save_random
from tests.support import BUCKETS, SMALL, import_or_skip, known_model

torch = import_or_skip("torch")

from export.pipeline import Options, export  # noqa: E402
from export.stages import Style, cut  # noqa: E402
from export.targets import TARGETS  # noqa: E402
from training.models.tapir.torch import Tapir  # noqa: E402

NEEDS = {"onnx": "onnxscript", "openvino": "openvino", "coreml": "coremltools", "tflite": "litert_torch"}


@pytest.fixture(scope="module")
def config(small_config):
    return replace(small_config, encoder="efficientnet-lite", iterations=1)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("openvino", "coreml", "tflite") else [])
        for name in TARGETS
    ],
)
def test_it_is_exported_and_verified(target, config, tmp_path):
    if target in NEEDS:
        import_or_skip(NEEDS[target], f"export-{target}")
    weights = save_random(SMALL, config, tmp_path)
    with known_model(SMALL, config):
        export(SMALL, target, tmp_path / "artifact", Options(weights, points=max(BUCKETS)))
    assert open_artifact(tmp_path / "artifact").manifest.verification


@pytest.mark.parametrize("size_multiple, multiple", [(None, 16), (32, 32)])
def test_clips_of_any_size_are_looked_at_in_sizes_that_it_can_halve(config, size_multiple, multiple):
    config = replace(config, causal=False, motion_prior=0.0, flow=None, size_multiple=size_multiple)
    stages = cut("tapir", Tapir(config).eval()).stages
    assert {stage.size_multiple for stage in stages} == {multiple}


def test_a_multiple_that_it_cannot_halve_is_told(config):
    model = Tapir(replace(config, size_multiple=8)).eval()
    with pytest.raises(ValueError, match=r"down to 1/16; make size_multiple a multiple of 16"):
        cut("tapir", model)
    assert cut("tapir", model, Style(any_size=False, frame_size=(64, 96))).stages
