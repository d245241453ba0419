"""The parts of `training.models.load`: where weights come from, and how a model gets them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.artifact.fetch import cached
from tapsdk.artifact.registry import ENLARGED, OFFICIAL
from tapsdk.errors import ModelError
from tapsdk.system.json_text import parse_json
from tapsdk.system.places import Place, local_copy
from tapsdk.system.reading import reading
from training.checkpoints.canonical import load_canonical
from training.checkpoints.convert import convert
from training.checkpoints.errors import CheckpointError
from training.checkpoints.fit import Table, fit
from training.models.registry import FRAMEWORKS, config_of, configs_of, family_of, parameter_shapes

OWN_WEIGHTS = Path(__file__).parent.parent / "weights"
"""Canonical weights of the models that were trained here."""


def find_weights(model: str) -> Path:
    """The weights that come with the package, else the official file. Raises ModelError, FetchError."""
    own = OWN_WEIGHTS / f"{_with_weights_of(model).replace('/', '-')}.safetensors"
    if own.exists():
        return own
    if model not in OFFICIAL:
        raise ModelError(f"{own} is missing: install tapsdk again, or give weights= (--weights FILE) of your own")
    official = cached(model)
    if official is None:
        raise ModelError(
            f"no weights of {model} are at hand. Either fetch the official file: tapsdk fetch {model}; "
            "or give a file of your own: weights=FILE (--weights FILE)"
        )
    return official


def read_weights(
    model: str, path: Place, framework: str = "torch"
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Weights by our names, and the metadata of canonical weights, from such a file or an official one.

    Raises CheckpointError.
    """
    with local_copy(path, CheckpointError) as copy:
        if copy.suffix.lower() == ".safetensors":
            return load_canonical(copy, model, _with_weights_of(model))
        official = convert(copy, model, framework)
        return official.weights, official.metadata


def _with_weights_of(model: str) -> str:
    """The model whose weights this one has: itself, unless it is one on larger frames."""
    return ENLARGED[model].base if model in ENLARGED else model


def config_for(model: str, path: Place, metadata: Mapping[str, str]) -> Any:
    """The model's config, which has to be that of metadata; some settings, such as a temperature, show in no shape.

    Of a model on larger frames, metadata may have that of the one whose weights it has.

    Weights outlive configurations: raises CheckpointError, with the path of their file, where the model has no such
    config (any more).
    """
    named = metadata.get("model", model)
    configs = configs_of(named)
    for config in configs:
        if not settings_unlike(config, path, metadata):
            return config if named == model else config_of(model)
    other = settings_unlike(configs[0], path, metadata)
    raise CheckpointError(f"{path} was made for another configuration of {named}: {', '.join(other)}")


def settings_unlike(config: Any, path: Place, metadata: Mapping[str, str]) -> list[str]:
    """In which settings the config of metadata differs from this one, for people. Raises CheckpointError."""
    with reading(path, "does not say what configuration its weights were made for", CheckpointError):
        stored = dict(parse_json(metadata["config"]))
    # A setting that is younger than the file was then what its default does.
    stored, ours = {**_as_stored(type(config)()), **stored}, _as_stored(config)
    return [f"{k} {v} (here {ours.get(k)})" for k, v in stored.items() if ours.get(k) != v]


def _as_stored(config: Any) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    return dict(json.loads(json.dumps(dataclasses.asdict(config))))


def check_framework(framework: str) -> None:
    """Raises ModelError for an unknown one, and for one that is not installed."""
    if framework not in FRAMEWORKS:
        raise ModelError(f"unknown framework {framework!r}; these exist: {', '.join(FRAMEWORKS)}")
    for package in FRAMEWORKS[framework]:
        if importlib.util.find_spec(package) is None:
            raise ModelError(f"framework {framework!r} needs the package {package}: pip install 'tapsdk[{framework}]'")


def build(model: str, config: Any, weights: Mapping[str, ArrayLike], framework: str) -> Any:
    """A model of a framework with this config, these weights and no others. Raises CheckpointError."""
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    shapes = parameter_shapes(model, framework)
    result = fit(Table.of_ours(shapes), arrays, shapes)
    if not result.is_exact:
        raise result.error(f"the weights given are not those of {model}")
    make = _build_torch if framework == "torch" else _build_jax
    return make(model, config, result.weights)


def _build_torch(model: str, config: Any, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    import torch

    module = family_of(model).module_class("torch")(config)
    module.load_state_dict({name: torch.tensor(array) for name, array in weights.items()}, strict=True)
    return module.eval()


def _build_jax(model: str, config: Any, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    return family_of(model).module_class("jax").from_weights(config, weights)
