"""What a family's row says is so."""

import importlib
import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from training.models.registry import CONFIGS, FAMILIES, FRAMEWORKS, family_of


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_a_folder(name: str) -> None:
    package = importlib.import_module(f"training.models.{name}")
    assert package.FAMILY is FAMILIES[name]
    assert all(variant.startswith(f"{name}/") for variant in package.FAMILY.variants)


@pytest.mark.parametrize("name", FAMILIES)
def test_modules_are_where_the_row_says(name: str) -> None:
    family = FAMILIES[name]
    classes = [getattr(family, framework).split(":")[0] for framework in FRAMEWORKS]
    others = [family.official, family.stages, family.losses_torch, family.losses_jax]
    for module in [*classes, *filter(None, others)]:
        assert importlib.util.find_spec(module) is not None, module


def test_every_variant_belongs_to_its_family() -> None:
    assert list(CONFIGS) == [variant for family in FAMILIES.values() for variant in family.variants]
    assert all(family_of(model).variants[model] is config for model, config in CONFIGS.items())


@pytest.mark.parametrize(
    ("occlusion", "expected_dist", "visible"),
    [(-5, -5, True), (5, -5, False), (-5, 5, False), (0.1, -100, False), (-0.1, -100, True), (-0.5, -0.5, False)],
)
def test_tapirs_points_are_visible_if_neither_logit_makes_that_unlikely(
    occlusion: float, expected_dist: float, visible: bool
) -> None:
    outputs = {"occlusion": np.float32([[occlusion]]), "expected_dist": np.float32([[expected_dist]])}
    assert FAMILIES["tapir"].visible(outputs).tolist() == [[visible]]


def test_tapnexts_points_are_visible_if_their_logit_is_positive() -> None:
    outputs = {"tracks": np.zeros((1, 3, 2), np.float32), "visible_logits": np.float32([[-0.1, 0, 0.1]])}
    assert FAMILIES["tapnext"].visible(outputs).tolist() == [[False, False, True]]


@pytest.mark.parametrize(("visible", "certain", "expected"), [(5, 5, True), (5, -5, False), (0.5, 0.5, False)])
def test_trajans_points_are_visible_if_both_logits_together_make_that_likely(
    visible: float, certain: float, expected: bool
) -> None:
    outputs = {"visible_logits": np.float32([[visible]]), "certain_logits": np.float32([[certain]])}
    assert FAMILIES["trajan"].visible(outputs).tolist() == [[expected]]


def test_what_can_be_trained_names_losses_of_both_frameworks() -> None:
    untrainable = replace(FAMILIES["tapir"], losses_jax=None)
    assert FAMILIES["tapir"].can_be_trained and FAMILIES["tapnext"].can_be_trained
    assert not untrainable.can_be_trained


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_losses_are_those_of_a_batch(framework: str) -> None:
    for package in FRAMEWORKS[framework]:
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[train,jax]'")
    for family in FAMILIES.values():
        if family.can_be_trained:
            assert callable(family.losses(framework).batch_losses)
