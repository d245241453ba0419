"""TRAJAN's goldens: weights by formula in DeepMind's layout, inputs, and whether outputs are DeepMind's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import formula, official
from training.models.registry import CONFIGS
from training.models.trajan.official import TRANSFORMERS, official_names

FOLDER = Path(official.__file__).parent
PUBLISHED = CONFIGS["trajan/base"]
LATENTS, EXACT, MOST, MEAN = 1e-4, 1e-4, 2e-2, 2e-3
"""Tolerances. Embedding an embedding multiplies rounding by a million: where positions are not exact, the reference
itself differs from its float64 by 8e-3, and by 9e-4 on average; outputs have a deviation of 1."""


def published_shapes() -> dict[str, list[int]]:
    """Of all parameters of the official file, by their official names."""
    layers = {name: getattr(PUBLISHED, ours)[1] for ours, name in TRANSFORMERS.items()}
    shapes = json.loads((FOLDER / "trajan_shapes.json").read_text())
    return {
        name.replace("*", str(i)): shape  # "*" stands for the number of a layer
        for name, shape in shapes.items()
        for i in range(layers[name.split("/")[0]] if "*" in name else 1)
    }


def golden_parameters(seed: int) -> dict[str, np.ndarray]:
    """In the official layout."""
    return {name: formula.weight(name, shape, "jax", seed) for name, shape in published_shapes().items()}


def golden_weights(seed: int) -> dict[str, np.ndarray]:
    """The same, turned into ours."""
    parameters = golden_parameters(seed)
    return {ours: turn(parameters.pop(theirs)) for ours, _, _, theirs, turn in official_names(PUBLISHED)}


def load_golden(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


def golden_inputs(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tracks and visible, frames, and queries, each with a batch axis; not padded."""
    points, queries, frames, seed = (int(arrays[name]) for name in ("support", "queries", "frames", "seed"))
    tracks, visible = formula.smooth_tracks(points, frames, seed)
    kept = formula.track_queries(queries, frames, seed)[:: int(arrays.get("keep_every", 1))]
    return tracks[None], visible[None], np.array([frames]), kept[None]


def assert_golden(outputs: Mapping[str, Any], arrays: Mapping[str, np.ndarray], which: str, exact: bool) -> None:
    """exact: whether positions lie where embedding them rounds nothing."""
    for name in ("tracks", "visible_logits", "certain_logits"):
        expected = arrays[f"{which}{name}"]
        error = np.abs(np.asarray(outputs[name])[0] - expected)
        assert error.shape == expected.shape
        assert error.max() < (EXACT if exact else MOST), name
        assert error.mean() < (EXACT if exact else MEAN), name
