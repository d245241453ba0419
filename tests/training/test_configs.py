"""The recipes in training/configs: each trains, at a size for tests, as its file says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT
from tests.training.run.tiny import TAPNEXT, tiny_file, write_videos
from training.data.synthetic import SceneConfig, make_clip
from training.run.batches import make_batch, open_videos
from training.run.config import Phase, TrainConfig, load_config

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install '.[train]'")
pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from training.run.updaters import make_updater  # noqa: E402

PUBLISHED = {
    "tapir-base": (1e-3, 1000, 1e-1),
    "tapir-causal": (1e-3, 1000, 1e-1),
    "tapir-boots": (1e-3, 1000, 1e-1),
    "tapnet-base": (2e-3, 5000, 1e-2),
}
"""Learning rate, steps of warming up and weight decay."""
OTHERS = ("fine-tuning-tapir", "fine-tuning-tapnext", "tapnext-small")


def recipe(name: str) -> TrainConfig:
    return load_config(ROOT / "training" / "configs" / f"{name}.toml")


def small(config: TrainConfig, folder: Path) -> TrainConfig:
    """The recipe with a tiny model of its family, on a tiny labelled video."""
    family = config.model.split("/")[0]
    sizes = {
        "tapir": load_config(tiny_file(folder)).architecture,
        "tapnext": TAPNEXT["architecture"],
        "tapnet": {"stem": 8, "channels": [8, 16, 16], "head": [4, 4, 4]},
    }
    scene = SceneConfig(height=32, width=48, frames=4, points=8)
    return replace(
        config,
        phases=(Phase(steps=3, size=32, frames=3, points=6, batch=2, scene={"query": "random"}),),
        architecture=sizes[family],
        data=str(write_videos(folder / "videos", [make_clip(scene, 0)])),
        workers=0,
        warmup=1,
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_are_as_published(name: str) -> None:
    config = recipe(name)
    assert (config.learning_rate, config.warmup, config.weight_decay) == PUBLISHED[name]
    assert (config.total_steps, config.betas, config.schedule) == (100_000, (0.9, 0.95), "cosine")
    assert config.augment == {"crop": 1.0, "colour": 0.8, "grey": 0.2}
    (phase,) = config.phases
    assert (phase.size, phase.frames, phase.points, phase.batch) == (256, 24, 256, 8)
    assert phase.scene == {"query": "random"}
    assert not (np.isfinite(config.clip_norm) or config.heatmap_weight or config.match_weight or config.average)


@pytest.mark.parametrize("name", [*PUBLISHED, *OTHERS])
def test_recipes_train(name: str, tmp_path: Path) -> None:
    config = small(recipe(name), tmp_path)
    updater = make_updater(config)
    before = updater.state().weights
    with open_videos(config) as videos:
        for step in range(config.total_steps):
            losses = updater.step(make_batch(config, step, videos=videos), config.learning_rate_at(step))
            assert all(np.isfinite(value) for value in losses.values())
    state = updater.state()
    assert state.updates == 3
    assert sum(not np.array_equal(state.weights[part], array) for part, array in before.items()) > len(before) / 2
