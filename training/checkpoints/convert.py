"""From an official file to canonical weights."""

from __future__ import annotations

import os
from pathlib import Path

from tapsdk.system.files import sha256
from tapsdk.system.places import local_copy
from training.checkpoints.canonical import Canonical, is_canonical
from training.checkpoints.errors import CheckpointError
from training.checkpoints.fit import Arrays, Fit, fit, shortened
from training.checkpoints.formats import read_parameters
from training.checkpoints.layouts import best_layout, layouts
from training.models.registry import config_of, family_of, model_names, parameter_shapes, resolve


def convert(path: str | os.PathLike[str], model: str, framework: str = "torch") -> Canonical:
    """Reads an official checkpoint of a model.

    path: of a file, or its URL: .npy, .npz, .pt, .pth, .ckpt or .safetensors with the names of DeepMind's PyTorch or
    JAX code; which of the two, the names tell. Raises CheckpointError if the file cannot be read or its parameters
    are not exactly those of the model, ModelError for an unknown model.
    framework: "torch" or "jax", the one whose module tells which shapes are right; the result is the same.
    """
    name = resolve(model)
    with local_copy(path, CheckpointError) as copy:
        return _converted(copy, name, framework)


def _converted(path: Path, name: str, framework: str) -> Canonical:
    found = read_parameters(path)
    if is_canonical(path):
        raise CheckpointError(f"{path} holds canonical weights already, there is nothing to convert")
    layout, result = _fit(name, found, framework)
    if layout is None or result is None or not result.is_exact:
        raise _misfit(path, name, found, framework, result)
    config = family_of(name).as_published(config_of(name), layout)
    return Canonical(name, config, result.weights, path.name, sha256(path))


def _fit(model: str, found: Arrays, framework: str) -> tuple[str, Fit] | tuple[None, None]:
    """The file's layout and how it fits; None if the file shares no name with the model."""
    tables = layouts(model)
    layout = best_layout(tables, found)
    if layout is None:
        return None, None
    return layout, fit(tables[layout], found, parameter_shapes(model, framework))


def _misfit(path: Path, model: str, found: Arrays, framework: str, result: Fit | None) -> CheckpointError:
    fits = {other: _fit(other, found, framework)[1] for other in model_names() if other != model}
    fitting = [other for other, fit in fits.items() if fit is not None and fit.is_exact]
    hint = f". The file fits {' or '.join(fitting)}" if fitting else ""
    if result is None:
        some = shortened(sorted(found)) or "nothing"
        return CheckpointError(f"{path} has no parameter of {model}; it has {some}{hint}", unexpected=sorted(found))
    return result.error(f"the parameters of {path} are not those of {model}", hint)
