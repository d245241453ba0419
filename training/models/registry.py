"""The families of models, collected from their folders, and what is asked of them by a model's name.

Nothing here imports a framework until a module is asked for.
"""

from __future__ import annotations

from typing import Any

from tapsdk.artifact.registry import ALIASES
from tapsdk.errors import ModelError
from training.models import tapir, tapnet, tapnext, trajan
from training.models.family import Family

FRAMEWORKS = {"torch": ("torch",), "jax": ("jax", "equinox")}
"""What each one needs to be installed."""

FAMILIES: dict[str, Family] = {
    "tapir": tapir.FAMILY,
    "tapnext": tapnext.FAMILY,
    "tapnet": tapnet.FAMILY,
    "trajan": trajan.FAMILY,
}

CONFIGS: dict[str, Any] = {name: config for family in FAMILIES.values() for name, config in family.variants.items()}
"""Every variant of every family, by "family/variant"."""


def model_names() -> list[str]:
    """Every model, as "family/variant"."""
    return list(CONFIGS)


def resolve(model: str) -> str:
    """The full name of a model or an alias. Raises ModelError for unknown ones."""
    name = ALIASES.get(model, model)
    if name not in CONFIGS:
        known = ", ".join([*ALIASES, *CONFIGS])
        raise ModelError(f"unknown model {model!r}; these exist: {known}")
    return name


def family_of(model: str) -> Family:
    return FAMILIES[model.split("/")[0]]


def config_of(model: str) -> Any:
    return CONFIGS[model]


def configs_of(model: str) -> list[Any]:
    """All that weights of a model may be for: its own first, then those of official files."""
    own, family = config_of(model), family_of(model)
    return [own, *(family.as_published(own, layout) for layout in FRAMEWORKS)]


def parameter_names(model: str) -> list[str]:
    """Our names of all parameters."""
    return [row[0] for row in family_of(model).official_names(config_of(model))]


def parameter_shapes(model: str, framework: str = "torch") -> dict[str, tuple[int, ...]]:
    """By our names, as a framework's module has them; the same in all. Takes no memory for the numbers."""
    module_class, config = family_of(model).module_class(framework), config_of(model)
    if framework == "torch":
        import torch

        with torch.device("meta"):
            return {name: tuple(p.shape) for name, p in module_class(config).state_dict().items()}
    import equinox
    import jax

    from training.models.layers.modules_jax import named_parameters

    skeleton = equinox.filter_eval_shape(module_class, config, jax.random.key(0))
    return {name: tuple(leaf.shape) for name, leaf in named_parameters(skeleton).items()}
