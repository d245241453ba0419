"""TAP-Net gives DeepMind's numbers, from DeepMind's own file format."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import formula, official
from training.checkpoints import convert
from training.models import load

GOLDEN = Path(official.__file__).parent
PIXELS, LOGITS, FEATURES = 0.01, 1e-4, 1e-5

ROWS = [
    "tapnet_jax_clip_256",  # queries of all frames
    "tapnet_jax_clip_256x320_first",
    "tapnet_jax_clip_single_200x264",  # one frame, of 25 x 33 cells
]
STEP = 8
"""Of the rows and columns of a grid that a golden has."""


@pytest.fixture(scope="module", params=ROWS)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """(the golden's arrays, weights that were converted from an official file, video in [-1, 1])"""
    arrays = dict(np.load(GOLDEN / f"{request.param}.npz"))
    seed = int(arrays["seed"])
    path = tmp_path_factory.mktemp("official") / "checkpoint.npy"
    weights = convert(official.write(path, official.tapnet_arrays(seed)), "tapnet/base").weights
    video = formula.video(*arrays["video_shape"], seed=seed)[None].astype(np.float32) / 255 * 2 - 1
    return arrays, weights, video


def run_torch(weights: dict[str, np.ndarray], video: np.ndarray, queries: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    model = load("tapnet/base", weights)
    video, queries = torch.from_numpy(video), torch.from_numpy(queries)
    with torch.inference_mode():
        grid = model.encode(video)
        outputs = {"grid": grid, "features": model.describe(grid, queries, tuple(video.shape[2:4]))}
        outputs |= model.clip(video, queries)
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def run_jax(weights: dict[str, np.ndarray], video: np.ndarray, queries: np.ndarray) -> dict[str, np.ndarray]:
    model = load("tapnet/base", weights, framework="jax")
    grid = model.encode(video)
    outputs = {"grid": grid, "features": model.describe(grid, queries, video.shape[2:4])}
    return {name: np.asarray(array) for name, array in (outputs | model.clip(video, queries)).items()}


RUN = {"torch": run_torch, "jax": run_jax}
NEEDS = {"torch": "torch", "jax": "equinox"}


@pytest.mark.parametrize("framework", ["torch", pytest.param("jax", marks=pytest.mark.slow)])  # it compiles
def test_golden(golden: tuple[Any, ...], framework: str) -> None:
    pytest.importorskip(NEEDS[framework])
    arrays, weights, video = golden
    outputs = RUN[framework](weights, video, arrays["queries_tyx"][None])
    outputs["grid"] = outputs["grid"][:, :, ::STEP, ::STEP]
    for name, theirs, tolerance in (
        ("grid", "feature_grid_8", FEATURES),
        ("features", "query_feats", FEATURES),
        ("occlusion", "occlusion", LOGITS),
        ("tracks", "tracks", PIXELS),
    ):
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name][0], arrays[theirs], rtol=0, atol=tolerance, err_msg=name)
