"""The families of models, as data: where each one's modules and its table of official names are.

Nothing here imports a framework until a module is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tapsdk.artifact.registry import ALIASES
from tapsdk.errors import ModelError
from training.models.tapir.config import VARIANTS as TAPIR
from training.models.tapir.config import TapirConfig
from training.models.tapnext.config import VARIANTS as TAPNEXT
from training.models.tapnext.config import TapnextConfig

FRAMEWORKS = {"torch": ("torch",), "jax": ("jax", "equinox")}
"""What each one needs to be installed."""


@dataclass(frozen=True)
class Family:
    """A family of models; "module:name" says where a thing is."""

    config: type
    torch: str
    """A torch.nn.Module, made from a config."""
    jax: str
    """An equinox.Module, made from a config and a random key, or by its `from_weights(config, weights)`."""
    official: str
    """Module with `official_names(config)`; with `IGNORED` where official files hold more than parameters, and with
    `as_published(config, layout)` where DeepMind's PyTorch and JAX code do not compute the same."""

    def module_class(self, framework: str) -> Any:
        """The class of the module in a framework of FRAMEWORKS; imports it."""
        module, name = getattr(self, framework).split(":")
        return getattr(importlib.import_module(module), name)

    def official_names(self, config: Any) -> Iterator[tuple[Any, ...]]:
        """Rows (our name, PyTorch name, its layout, JAX name, its layout)."""
        return importlib.import_module(self.official).official_names(config)

    def as_published(self, config: Any, layout: str) -> Any:
        """The config for weights of an official file, which belong to the code that made them: "torch" or "jax"."""
        adapt = getattr(importlib.import_module(self.official), "as_published", None)
        return config if adapt is None else adapt(config, layout)

    @property
    def ignored_names(self) -> frozenset[str]:
        """Tensors of official files that are not parameters."""
        return getattr(importlib.import_module(self.official), "IGNORED", frozenset())


FAMILIES: dict[str, Family] = {
    "tapir": Family(
        TapirConfig,
        torch="training.models.tapir.torch:Tapir",
        jax="training.models.tapir.jax:Tapir",
        official="training.models.tapir.official",
    ),
    "tapnext": Family(
        TapnextConfig,
        torch="training.models.tapnext.torch:Tapnext",
        jax="training.models.tapnext.jax:Tapnext",
        official="training.models.tapnext.official",
    ),
}


CONFIGS: dict[str, Any] = {**TAPIR, **TAPNEXT}
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
