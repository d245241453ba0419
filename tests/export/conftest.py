"""Small models of every kind, and their artifacts, each exported once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import save_random
from tests.golden import formula, official
from tests.support import SMALL, SMALL_CLIP, import_or_skip, known_model

SMALL_LITE = "tapir/toy-lite"
"""SMALL with the encoder that can be pretrained, which is as large as ever."""
SMALL_NEXT = "tapnext/small"
SMALL_NET = "tapnet/small"


@dataclass(frozen=True)
class SmallModel:
    """A model for tests that `known_model(name, config)` makes known."""

    name: str
    config: Any
    weights: Path

    def load(self) -> Any:
        from training.models import load

        with known_model(self.name, self.config):
            return load(self.name, self.weights)


@pytest.fixture(scope="session")
def next_config() -> Any:
    """A TAPNext with as little of everything as shows each part at work, and not square."""
    import_or_skip("torch")
    from training.models.tapnext.config import TapnextConfig

    return TapnextConfig(
        width=16, depth=2, heads=2, mlp_width=32, patch=8, grid=(4, 4), head_width=16, bins=64, resolution=(32, 48)
    )


@pytest.fixture(scope="session")
def small_models(
    small_config: Any, small_model: Path, clip_config: Any, clip_model: Path, next_config: Any, tmp_path_factory: Any
) -> dict[str, SmallModel]:
    """By name, with random weights."""
    import torch

    from tests.training.models.tapnet.small import SMALL as NET_CONFIG
    from tests.training.models.tapnet.small import random_weights
    from training.checkpoints import Canonical, save_canonical
    from training.models.tapnet.torch import Tapnet
    from training.models.tapnext.torch import Tapnext

    def saved(name: str, config: Any, weights: Mapping[str, Any]) -> SmallModel:
        path = tmp_path_factory.mktemp("weights") / "random.safetensors"
        save_canonical(Canonical(name, config, dict(weights), "random", "0" * 64), path)
        return SmallModel(name, config, path)

    torch.manual_seed(0)
    lite_config = replace(small_config, encoder="efficientnet-lite")
    models = (
        SmallModel(SMALL, small_config, small_model),
        SmallModel(SMALL_LITE, lite_config, save_random(SMALL_LITE, lite_config, tmp_path_factory.mktemp("weights"))),
        SmallModel(SMALL_CLIP, clip_config, clip_model),
        saved(SMALL_NEXT, next_config, {name: x.numpy() for name, x in Tapnext(next_config).state_dict().items()}),
        saved(SMALL_NET, NET_CONFIG, random_weights(Tapnet(NET_CONFIG).state_dict())),
    )
    return {model.name: model for model in models}


@pytest.fixture(scope="session")
def artifact_of(
    small_models: dict[str, SmallModel],
    exported: Path,
    exported_clip: Path,
    traced_once: None,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Callable[..., Path]:
    """artifact_of(model, target, precision="fp32"): a directory. Do not write into it."""
    from export.pipeline import Options, export
    from export.verification import verify

    made = {(SMALL, "onnx", "fp32"): exported, (SMALL_CLIP, "onnx", "fp32"): exported_clip}

    def make(model: str, target: str, precision: str = "fp32") -> Path:
        key = (model, target, precision)
        if target == "tflite":
            request.getfixturevalue("converted_once")
        if key not in made:
            small = small_models[model]
            directory = tmp_path_factory.mktemp("artifacts") / "artifact"
            with known_model(model, small.config), pytest.MonkeyPatch.context() as patch:
                patch.setattr(verify, "FRAMES", 4)  # a few; longer rollouts have tests of their own
                export(model, target, directory, Options(small.weights, precision))
            made[key] = directory
        return made[key]

    return make


@pytest.fixture(scope="session")
def official_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of full-size models in the official formats, with weights by formula, by model."""
    import_or_skip("torch")
    from tests.training.models.tapnext.golden import published_shapes

    folder, shapes = tmp_path_factory.mktemp("official"), published_shapes("jax")
    tapnext = {name: formula.weight(name, shape, "jax", seed=1) for name, shape in shapes.items()}
    return {
        "tapir/boots-causal": official.write(folder / "boots.npy", official.tapir_parameters(True, "jax", seed=5)),
        "tapnext/base": official.write(folder / "tapnext.npz", tapnext),
        "tapnet/base": official.write(folder / "tapnet.npy", official.tapnet_arrays(seed=5)),
    }
