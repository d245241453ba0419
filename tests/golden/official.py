"""Checkpoints in the official formats, as small as their content allows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.golden import formula

FOLDER = Path(__file__).parent
TAPIR_GOLDENS = {
    "tapir_jax_clip_256": "tapir/base",
    "tapir_jax_clip_256x320": "tapir/base",
    "tapir_torch_clip_256": "tapir/base",
    "causal_tapir_jax_online_256": "tapir/causal",
    "bootstapir_jax_clip_256": "tapir/boots",
    "bootstapir_torch_clip_256": "tapir/boots",
    "causal_bootstapir_jax_online_256": "tapir/boots-causal",
    "causal_bootstapir_torch_online_256": "tapir/boots-causal",
}
"""Their model by name."""
SUFFIX = {"jax": ".npy", "torch": ".pt"}
"""Of official files, by their layout."""


def tapir_shapes(boots: bool, layout: str) -> dict[str, list[int]]:
    """Shapes of all parameters of an official TAPIR or BootsTAPIR file, by their official names.

    layout: "jax" or "torch".
    """
    tables = json.loads((FOLDER / f"tapir_{layout}_shapes.json").read_text())
    return {**tables["tapir"], **(tables["bootstapir"] if boots else {})}


def tapir_parameters(boots: bool, layout: str, seed: int) -> dict[str, np.ndarray]:
    """The same with formula weights."""
    shapes = tapir_shapes(boots, layout)
    return {name: formula.weight(name, shape, layout, seed) for name, shape in shapes.items()}


def tapnet_arrays(seed: int) -> dict[str, np.ndarray]:
    """All that an official TAP-Net file holds, with formula weights; names of its "state" begin with "state/"."""
    tables = json.loads((FOLDER / "tapnet_jax_shapes.json").read_text())
    arrays = {name: formula.weight(name, shape, "jax", seed) for name, shape in tables["tapnet"].items()}
    for name, shape in tables["tapnet_state"].items():
        average = f"{name.rpartition('/')[0]}/average"
        counter = name.endswith("/counter")
        arrays[f"state/{name}"] = np.zeros((), np.int32) if counter else formula.state(average, shape, seed)
    return arrays


def write_npy(path: Path, parameters: Mapping[str, np.ndarray]) -> None:
    """Haiku: {"params": {module: {parameter: array}}, "state": {module: {...}}}, pickled."""
    content: dict[str, dict[str, dict[str, np.ndarray]]] = {"params": {}, "state": {}}
    for name, array in parameters.items():
        module, _, parameter = name.removeprefix("state/").rpartition("/")
        content["state" if name.startswith("state/") else "params"].setdefault(module, {})[parameter] = array
    np.save(path, content, allow_pickle=True)


def write_npz(path: Path, parameters: Mapping[str, np.ndarray]) -> None:
    """Flax, flattened: "a/b/c"."""
    np.savez(path, **parameters)


def write_pt(path: Path, parameters: Mapping[str, np.ndarray]) -> None:
    """A PyTorch state_dict."""
    import torch

    torch.save({name: torch.from_numpy(array) for name, array in parameters.items()}, path)


def write_ckpt(path: Path, parameters: Mapping[str, np.ndarray], prefix: str = "tapnext.") -> None:
    """PyTorch Lightning: the state_dict of the module that trains the model, among other things."""
    import torch

    state = {prefix + name: torch.from_numpy(array) for name, array in parameters.items()}
    torch.save({"epoch": 1, "global_step": 7, "state_dict": state, "optimizer_states": [{"lr": 1e-4}]}, path)


WRITERS = {".npy": write_npy, ".npz": write_npz, ".pt": write_pt, ".pth": write_pt, ".ckpt": write_ckpt}


def write(path: Path, parameters: Mapping[str, np.ndarray]) -> Path:
    """In the format that the file's ending says."""
    WRITERS[path.suffix](path, parameters)
    return path
