"""TAPIR gives DeepMind's numbers, from DeepMind's own file formats."""

from pathlib import Path

import numpy as np
import pytest

from tests.golden import formula, official
from training.checkpoints import convert
from training.models import load
from training.models.rollout import frame_by_frame

GOLDEN = Path(official.__file__).parent
PIXELS, LOGITS = 0.01, 0.005


@pytest.fixture(scope="module", params=official.TAPIR_GOLDENS)
def golden(request, tmp_path_factory):
    """(the golden's arrays, model, weights that were converted from an official file of its layout)."""
    name, model = request.param, official.TAPIR_GOLDENS[request.param]
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    layout = "jax" if "_jax_" in name else "torch"
    parameters = official.tapir_parameters("boots" in model, layout, int(arrays["seed"]))
    path = official.write(tmp_path_factory.mktemp("official") / f"{name}{official.SUFFIX[layout]}", parameters)
    weights = convert(path, model).weights
    path.unlink()
    return arrays, model, weights


def run_torch(model, weights, video, queries_tyx, online):
    import torch

    module = load(model, weights)
    video, queries_tyx = torch.from_numpy(video), torch.from_numpy(queries_tyx)
    with torch.inference_mode():
        if not online:
            return {name: value.numpy() for name, value in module.clip(video, queries_tyx).items()}
        return frame_by_frame(module, video, queries_tyx)


def run_jax(model, weights, video, queries_tyx, online):
    module = load(model, weights, framework="jax")
    if online:
        return frame_by_frame(module, video, queries_tyx)
    return {name: np.asarray(value) for name, value in module.clip(video, queries_tyx).items()}


RUN = {"torch": run_torch, "jax": run_jax}
NEEDS = {"torch": "torch", "jax": "equinox"}


@pytest.mark.parametrize("framework", ["torch", pytest.param("jax", marks=pytest.mark.slow)])  # it compiles
def test_golden(golden, framework):
    pytest.importorskip(NEEDS[framework])
    arrays, model, weights = golden
    video = formula.video(*arrays["video_shape"], seed=int(arrays["seed"]))
    video = video[None].astype(np.float32) / 255 * 2 - 1
    outputs = RUN[framework](model, weights, video, arrays["queries_tyx"][None], online="causal" in model)
    for name, tolerance in (("tracks", PIXELS), ("occlusion", LOGITS), ("expected_dist", LOGITS)):
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name][0], arrays[name], rtol=0, atol=tolerance, err_msg=name)
