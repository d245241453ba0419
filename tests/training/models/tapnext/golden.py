"""TAPNext's goldens: weights by formula in DeepMind's layouts, and whether outputs are DeepMind's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import formula, official
from training.checkpoints import Canonical, convert
from training.models.registry import CONFIGS
from training.models.tapnext.official import official_names

FOLDER = Path(official.__file__).parent
SHAPES = json.loads((FOLDER / "tapnext_shapes.json").read_text())
BLOCKS = 12
FULL = CONFIGS["tapnext/base"]
PIXELS, LOGITS = 0.01, 0.005

ROWS = [("tapnext_torch_256", "torch"), ("tapnext_torch_late_256", "torch"), ("tapnext_jax_online_late_256", "jax")]
"""(file, layout of the weights)"""


def published_shapes(layout: str) -> dict[str, list[int]]:
    """Of all parameters of an official file, by their official names; layout is "torch" or "jax"."""
    return {
        name.replace("*", str(i)): shape  # "*" stands for the number of a block
        for name, shape in SHAPES[layout].items()
        for i in range(BLOCKS if "*" in name else 1)
    }


def load_golden(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


def golden_weights(layout: str, seed: int) -> dict[str, np.ndarray]:
    """Drawn in the official layout, turned into ours."""
    shapes, weights = published_shapes(layout), {}
    drawn: dict[str, np.ndarray] = {}
    for ours, *columns in official_names(FULL):
        theirs, turn = columns[:2] if layout == "torch" else columns[2:]
        if theirs not in drawn:
            drawn = {theirs: formula.weight(theirs, shapes[theirs], layout, seed)}
        weights[ours] = np.ascontiguousarray(turn(drawn[theirs]))
    return weights


def convert_golden(layout: str, seed: int, folder: Path) -> Canonical:
    """The same, by way of an official file."""
    shapes = published_shapes(layout)
    parameters = {name: formula.weight(name, shape, layout, seed) for name, shape in shapes.items()}
    path = official.write(folder / {"torch": "official.ckpt", "jax": "official.npz"}[layout], parameters)
    del parameters
    try:
        return convert(path, "tapnext/base")
    finally:
        path.unlink()


def golden_inputs(arrays: Mapping[str, np.ndarray], frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first frames of the video in [-1, 1], and the queries."""
    video = formula.video(*arrays["video_shape"], seed=int(arrays["seed"]))[:frames]
    return video[None].astype(np.float32) / 255 * 2 - 1, arrays["queries_tyx"][None]


def assert_golden(outputs: Mapping[str, Any], arrays: Mapping[str, np.ndarray], way: str) -> None:
    """Compares as many frames as there are. DeepMind's outputs are (y, x); of the logits some points' were kept."""
    tracks = np.asarray(outputs["tracks"])[0].swapaxes(0, 1)
    frames = len(tracks)
    np.testing.assert_allclose(tracks[..., ::-1], arrays[f"{way}_tracks_yx"][:frames], rtol=0, atol=PIXELS)
    visible = np.asarray(outputs["visible_logits"])[0].T
    if f"{way}_visible" in arrays:
        np.testing.assert_array_equal(visible > 0, arrays[f"{way}_visible"][:frames, :, 0] > 0.5)
    else:
        np.testing.assert_allclose(visible, arrays[f"{way}_visible_logits"][:frames, :, 0], rtol=0, atol=LOGITS)
    if way == "clip":
        expected = arrays["clip_track_logits"][:frames]
        found = np.asarray(outputs["coordinate_logits"])[0, : expected.shape[1], :, ::-1].swapaxes(0, 1)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=LOGITS)
