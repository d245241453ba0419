"""The exceptions are those that the code has, and each has a reason."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from export.support import EXCEPTIONS, why_not
from training.models.registry import CONFIGS, family_of


@pytest.mark.parametrize("model", CONFIGS)
def test_a_model_with_stages_can_be_exported_and_no_other(model):
    assert (why_not(model, "onnx") is None) == (family_of(model).stages is not None)


@pytest.mark.parametrize("models, target", EXCEPTIONS)
def test_an_exception_is_one_of_models_that_exist_and_is_found(models, target):
    concerned = [model for model in CONFIGS if fnmatchcase(model, models)]
    assert concerned
    assert all(why_not(model, target) for model in concerned)


def test_a_pattern_covers_every_target_and_variant(monkeypatch):
    monkeypatch.setitem(EXCEPTIONS, ("toy/*", "*"), "it is a toy")
    assert why_not("toy/base", "onnx") == why_not("toy/large", "coreml") == "it is a toy"
    assert why_not("tapir/tiny", "onnx") is None
