"""What the loop asks of a framework, and which module answers: the losses and the update are all that differs."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import ModelError
from tapsdk.system.places import place
from training.checkpoints.loading import check_framework, read_weights, settings_unlike
from training.models.registry import family_of
from training.run.batches import Batch
from training.run.config import ConfigError, TrainConfig
from training.run.run_state import Arrays, RunState, check_fit

logger = logging.getLogger(__name__)

UPDATERS = {"torch": "training.run.update_torch:TorchUpdater", "jax": "training.run.update_jax:JaxUpdater"}
"""By framework: "module:class" of an Updater that is made from a TrainConfig."""


class Updater(Protocol):
    """Holds the model that is being trained."""

    rank: int
    """Number of this process among those that train together; 0 writes what there is to write."""
    world: int
    """How many processes train together; each gives `step` its own share of the batch."""

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        """Improves the model and returns its losses before that, by name, their weighted sum as "total", and grad_norm.

        A step whose gradient is not finite changes nothing.
        """

    def predict(self, *inputs: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """What the family's `method` of the mean model says of one example; no batch axis, and pictures are uint8.

        For "clip": a video [T, H, W, 3] and queries_tyx [N, 3].
        """

    def state(self) -> RunState: ...

    def restore(self, state: RunState) -> None: ...

    def close(self) -> None:
        """Leaves the other processes."""


def make_updater(config: TrainConfig) -> Updater:
    """Raises ModelError for a framework that is unknown or not installed, and what its updater raises."""
    check_framework(config.framework)
    if config.framework == "jax" and importlib.util.find_spec("optax") is None:
        raise ModelError("training in framework 'jax' needs the package optax: pip install 'tapsdk[jax]'")
    module, name = UPDATERS[config.framework].split(":")
    updater: Any = getattr(importlib.import_module(module), name)
    return updater(config)


def decays(name: str, array: Any) -> bool:
    """Whether a parameter decays: weights do; scales and biases, those that come in groups among them, do not."""
    return array.ndim > 1 and not name.endswith("bias")


def with_pretrained(config: TrainConfig, weights: Arrays) -> Arrays:
    """Random weights of a model with the numbers of `config.encoder_weights`, if any, in place of those of its encoder.

    Raises ConfigError for a model whose encoder has no pretrained part, CheckpointError for a file that does not fit.
    """
    if config.encoder_weights is None:
        return weights
    family = family_of(config.model_name)
    random = {name: array for name, array in weights.items() if family.is_backbone(name)}
    if not random or family.pretrained is None:
        raise ConfigError(
            f"encoder_weights is {config.encoder_weights!r}, but the encoder of this run has no pretrained part; "
            "leave encoder_weights out, or choose another encoder under [architecture]"
        )
    loaded = importlib.import_module(family.pretrained).load_backbone(config.encoder_weights)
    pretrained = {f"{family.backbone}{name}": array for name, array in loaded.items()}
    check_fit(pretrained, random, f"{config.encoder_weights} does not fit the encoder of this run")
    return {**weights, **pretrained}


def initial_weights(config: TrainConfig) -> Arrays | None:
    """Of `config.init`, by our names; None asks for random ones. Raises CheckpointError."""
    if config.init is None:
        return None
    path = place(config.init)
    weights, metadata = read_weights(config.model_name, path, config.framework)
    other = settings_unlike(config.model_config, path, metadata)
    if other:
        logger.warning("%s was made for %s; [architecture] can say so", config.init, ", ".join(other))
    return weights
