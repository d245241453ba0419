"""The exceptions are those that the code has, and each has a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

import export
from export.support import EXCEPTIONS, why_not
from training.models.configs import CONFIGS

STAGES = Path(export.__file__).parent / "stages"


@pytest.mark.parametrize("model", CONFIGS)
def test_a_causal_model_with_stages_can_be_exported_and_no_other(model):
    has_stages = (STAGES / f"{model.split('/')[0]}.py").is_file()
    assert (why_not(model, "onnx") is None) == (has_stages and CONFIGS[model].causal)


def test_a_pattern_covers_every_variant_and_target():
    assert why_not("tapnext/plus-512", "onnx") == why_not("tapnext/base", "coreml") == EXCEPTIONS["tapnext/*", "*"]
