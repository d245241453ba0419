"""What is to be said of a family of models; each family says it beside its code, as `FAMILY`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact.manifest import Curve, Visibility
from tapsdk.runtime.stages import certainty_of
from tapsdk.system.machine import cores

STATE = "state/"
"""What the names of arrays of an official file begin with here that are no parameters, but what layers remember of
their training."""
MOVED = "moved"
"""Among the losses of a batch in JAX no loss, but parameters that it moved without a gradient, by their names: the
running means of batch normalisation."""


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models; "module:name" says where a thing is. No framework is imported until one is asked for."""

    variants: Mapping[str, Any]
    """Frozen configurations by "family/variant"."""
    visibility: Visibility
    """Which outputs say whether a point is visible, and how; see `visibility_of`."""
    torch: str
    """A torch.nn.Module, made from a config."""
    jax: str
    """An equinox.Module, made from a config and a random key, or by its `from_weights(config, weights)`."""
    official: str
    """Module with `official_names(config)`; with `IGNORED` where official files hold more than parameters, and with
    `as_published(config, layout)` where DeepMind's PyTorch and JAX code do not compute the same."""
    stages: str | None = None
    """Module with `cut(model, style)` (see `export.stages`); None for models that cannot be exported."""
    losses_torch: str | None = None
    """Module with `batch_losses(model, batch, seen)` and `COMPILED`; None for models that cannot be trained here."""
    losses_jax: str | None = None
    """Module with `batch_losses(model, batch, mixed_precision)`, which may give MOVED, too; None as for torch."""
    backbone: str | None = None
    """What the names of an encoder's parameters begin with that can be pretrained on pictures, in configurations that
    have such an encoder; None for families that have none."""
    pretrained: str | None = None
    """Module with `load_backbone(source)`: these parameters, by the rest of their names."""
    method: str = "clip"
    """Of the modules, that gives tracks: "clip" those of points in a video, "reconstruct" those of a scene by others of
    it. Training makes examples for the one or the other (`training.run.batches`)."""
    sees_tokens: bool = False
    """Whether its frames are tokens, which training may hide from some frame on (`hidden_from` of a batch)."""
    calibrations: Mapping[str, Curve] = field(default_factory=dict)
    """Of variants whose confidence was measured; see `Visibility`."""
    in_training: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the modules, beside the config, where they are trained."""

    @property
    def can_be_trained(self) -> bool:
        return self.losses_torch is not None and self.losses_jax is not None

    def visibility_of(self, model: str) -> Visibility:
        """What artifacts of a variant, "family/variant", go by."""
        return replace(self.visibility, calibration=self.calibrations.get(model, ()))

    def module_class(self, framework: str) -> Any:
        """The class of the module in a framework of FRAMEWORKS; imports it."""
        if framework == "jax":
            _let_jax_call_back()
        module, name = getattr(self, framework).split(":")
        return getattr(importlib.import_module(module), name)

    def losses(self, framework: str) -> Any:
        """The module of the losses in a framework, of a family that can be trained; imports it."""
        return importlib.import_module(getattr(self, f"losses_{framework}"))

    def is_backbone(self, name: str) -> bool:
        """Whether a parameter belongs to what can be pretrained on pictures."""
        return self.backbone is not None and name.startswith(self.backbone)

    def visible(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
        """Whether points are visible, by outputs of a model of the family: [...] as the logits are."""
        return certainty_of(outputs, self.visibility) > self.visibility.threshold

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


def _let_jax_call_back() -> None:
    """Give XLA a second thread where it would have one.

    A function that it calls back waits for its arguments, and what copies them is XLA's threads: with one alone, which
    waits for the function, it waits for ever. XLA reads NPROC when JAX is used for the first time.
    """
    if cores() == 1:
        os.environ.setdefault("NPROC", "2")
