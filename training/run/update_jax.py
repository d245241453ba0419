"""One training step in JAX: losses, gradients, update (optax), running mean of the weights.

Mixed precision: parts of the model that its losses choose compute in bfloat16, and matrix products are as coarse as the
device likes them best (TensorFloat-32 on GPUs, bfloat16 on TPUs); without it all is float32.
Several devices: every one of `jax.devices()` takes an equal share of the batch and has all weights.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from training.models.family import MOVED, Family
from training.models.layers.modules_jax import named_parameters
from training.models.registry import family_of
from training.run.batches import Batch
from training.run.config import TrainConfig
from training.run.run_state import Arrays, RunState, check_fit
from training.run.updaters import decays, initial_weights, with_pretrained

Parameters = dict[str, Array]
"""By our names."""


class Training(NamedTuple):
    """What a step turns into the next one's."""

    weights: Parameters
    average: Parameters
    optimizer: optax.OptState


class Recipe(NamedTuple):
    """What a step is compiled for, besides the shape of its batch."""

    family: Family
    model_config: Any
    heatmap_weight: float
    match_weight: float
    betas: tuple[float, float]
    clip_norm: float
    weight_decay: float
    average: float
    backbone_rate: float
    mixed_precision: bool
    everywhere: NamedSharding
    """Places arrays on all devices, as a whole."""

    @classmethod
    def of(cls, config: TrainConfig, everywhere: NamedSharding) -> Recipe:
        names = [name for name in cls._fields if name not in ("family", "everywhere")]
        fields = {name: getattr(config, name) for name in names}
        return cls(family=family_of(config.model_name), everywhere=everywhere, **fields)

    def model(self, weights: Parameters, **changes: Any) -> Any:
        """With these weights, and `changes` of the configuration."""
        module_class = self.family.module_class("jax")
        return module_class.from_weights(replace(self.model_config, **changes), weights, **self.family.in_training)

    def factor(self, name: str) -> float:
        """On the learning rate of a parameter."""
        return self.backbone_rate if self.family.is_backbone(name) else 1.0

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW, but for the learning rate."""
        return optax.chain(
            optax.clip_by_global_norm(self.clip_norm),
            optax.scale_by_adam(*self.betas),
            optax.add_decayed_weights(self.weight_decay, mask=_decays),
        )


def _decays(weights: Parameters) -> dict[str, bool]:
    return {name: decays(name, array) for name, array in weights.items()}


class JaxUpdater:
    """See `training.run.updaters.Updater`. One process drives all of its devices."""

    rank, world = 0, 1

    def __init__(self, config: TrainConfig) -> None:
        config.check_devices(jax.device_count())
        mesh = Mesh(np.array(jax.devices()), ("clips",))
        self._by_clip = NamedSharding(mesh, PartitionSpec("clips"))
        self.recipe = Recipe.of(config, NamedSharding(mesh, PartitionSpec()))
        self.restore(RunState.fresh(_first_weights(config)))

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        arrays = jax.device_put(batch, self._by_clip)
        with jax.default_matmul_precision("default" if self.recipe.mixed_precision else "float32"):
            self._training, losses = update(self._training, arrays, np.float32(learning_rate), recipe=self.recipe)
        return {name: float(value) for name, value in losses.items()}

    def predict(self, *inputs: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        method = getattr(self.recipe.model(self._training.average), self.recipe.family.method)
        outputs = method(*(_scaled(jnp.asarray(array)[None]) for array in inputs))
        return {name: np.asarray(array[0]) for name, array in outputs.items()}

    def state(self) -> RunState:
        weights, average, optimizer = self._training
        parts = (weights, average, optax.tree.get(optimizer, "mu"), optax.tree.get(optimizer, "nu"))
        arrays = [{name: np.array(array) for name, array in part.items()} for part in parts]
        return RunState(*arrays, updates=int(optax.tree.get(optimizer, "count")))

    def restore(self, state: RunState) -> None:
        moments = {"mu": state.first_moment, "nu": state.second_moment, "count": np.int32(state.updates)}
        optimizer = optax.tree.set(jax.eval_shape(self.recipe.optimizer.init, state.weights), **moments)
        # Copies, as a step takes the memory of what it is given.
        training = Training(state.weights, state.average, optimizer)
        self._training = jax.device_put(training, self.recipe.everywhere, may_alias=False)

    def close(self) -> None:
        pass


def _first_weights(config: TrainConfig) -> Arrays:
    key, given = jax.random.key(config.seed), initial_weights(config)
    model = {"family": family_of(config.model_name), "model_config": config.model_config}
    if given is None:
        return with_pretrained(config, {name: np.asarray(a) for name, a in _draw_weights(key, **model).items()})
    shapes = jax.eval_shape(partial(_random_weights, **model), key)
    check_fit(given, shapes, f"{config.init} does not fit the model of this run")
    return given


def _random_weights(key: Array, family: Family, model_config: Any) -> Parameters:
    return named_parameters(family.module_class("jax")(model_config, key))


# It runs once: optimising it would take longer than running it.
QUICKLY = {"xla_backend_optimization_level": 0}
_draw_weights = jax.jit(_random_weights, static_argnames=("family", "model_config"), compiler_options=QUICKLY)


@partial(jax.jit, static_argnames="recipe", donate_argnames="training")
def update(
    training: Training, batch: Batch, learning_rate: Array, *, recipe: Recipe
) -> tuple[Training, dict[str, Array]]:
    """What a step leads to, and its losses; where the gradient is not finite, it leads to the same as before.

    batch: see `training.run.batches.Batch`.
    """
    gradient, (losses, moved) = jax.grad(_losses, has_aux=True)(training.weights, batch, recipe)
    norm = optax.tree.norm(gradient)
    changes, optimizer = recipe.optimizer.update(gradient, training.optimizer, training.weights)
    weights = {
        name: array - learning_rate * recipe.factor(name) * changes[name] for name, array in training.weights.items()
    } | moved
    average = jax.tree.map(lambda mean, w: mean + (1 - recipe.average) * (w - mean), training.average, weights)
    after = Training(weights, average, optimizer)
    kept = jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(norm), new, old), after, training)
    return jax.lax.with_sharding_constraint(kept, recipe.everywhere), {**losses, "grad_norm": norm}


def _losses(weights: Parameters, batch: Batch, recipe: Recipe) -> tuple[Array, tuple[dict[str, Array], Parameters]]:
    """The weighted sum of the mean losses over a batch; all of them by name; and what the batch moved besides."""
    weights = {name: array if recipe.factor(name) else jax.lax.stop_gradient(array) for name, array in weights.items()}
    # Clips are worked on at their own size.
    model = recipe.model(weights, **({"resolution": batch["video"].shape[2:4]} if "video" in batch else {}))
    batch = {name: _scaled(array) for name, array in batch.items()}
    losses = recipe.family.losses("jax").batch_losses(model, batch, recipe.mixed_precision)
    moved = losses.pop(MOVED, {})
    factors = {"heatmap": recipe.heatmap_weight, "match": recipe.match_weight}
    losses["total"] = sum(factors.get(name, 1.0) * value for name, value in losses.items())
    return losses["total"], (losses, moved)


def _scaled(array: Array) -> Array:
    """Pictures in [-1, 1]; all else as it is."""
    return array.astype(jnp.float32) / 127.5 - 1 if array.dtype == jnp.uint8 else array
