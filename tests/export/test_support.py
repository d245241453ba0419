"""The exceptions are those that the code has, and each has a reason."""

from __future__ import annotations

import pytest

from export.support import EXCEPTIONS, why_not
from tests.support import needs_torch
from training.models.configs import CONFIGS


@needs_torch
@pytest.mark.parametrize("model", CONFIGS)
def test_a_causal_model_with_stages_can_be_exported_and_no_other(model):
    from export.stages import FAMILIES

    has_stages = model.split("/")[0] in FAMILIES
    assert (why_not(model, "onnx") is None) == (has_stages and CONFIGS[model].causal)


def test_a_pattern_covers_every_target():
    assert why_not("tapir/boots", "onnx") == why_not("tapir/boots", "coreml") == EXCEPTIONS["tapir/boots", "*"]
