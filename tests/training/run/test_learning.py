"""What runs come to: slow, and what they are for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import ROOT
from tests.training.run.tiny import write_videos
from training.data.labelled_video import LabelledVideo
from training.data.synthetic import SceneConfig, make_clip
from training.models.registry import family_of
from training.run.config import TrainConfig, load_config
from training.run.loop import train
from training.run.release import release
from training.run.report import LOG, read_log
from training.run.validation import validate

pytest.importorskip("torch", reason="training needs PyTorch: pip install '.[train]'")
pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from training.run.updaters import make_updater

pytestmark = pytest.mark.slow

SIDE, FRAMES, DRIFT = 32, 4, (-2.0, -1.0)


def recipe(steps: int, **fields: Any) -> TrainConfig:
    config = load_config(ROOT / "training" / "configs" / "tapnext-small.toml", steps=steps, workers=0, **fields)
    return replace(config, evaluate_every=0, picture_every=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 steps on generated clips."""
    folder, config = tmp_path_factory.mktemp("run"), recipe(400)
    train(config, make_updater(config), folder, progress=False)
    return folder


def test_tapnext_learns_from_generated_clips(run: Path) -> None:
    """At first it guesses one of 32 bins, twice; then it reads the query and carries it along."""
    coordinate = [row["coordinate"] for row in read_log(run / LOG)]
    assert coordinate[0] == pytest.approx(2 * np.log(32), abs=0.5)
    assert np.mean(coordinate[-5:]) < 3


def drifting(seed: int, points: int = 16) -> LabelledVideo:
    """A window that slides over a picture, so that all in it drifts to the upper left."""
    picture = make_clip(SceneConfig(height=2 * SIDE, width=2 * SIDE, frames=1, points=1), seed).frames[0]
    steps = -np.arange(FRAMES)[:, None] * np.array(DRIFT)
    frames = np.stack([picture[int(y) :, int(x) :][:SIDE, :SIDE] for x, y in steps])
    start = np.random.default_rng(seed).uniform(0, SIDE, (points, 1, 2))
    xy = (start - steps).astype(np.float32)
    visible = (xy >= 0).all(axis=-1)
    queries = np.concatenate([np.zeros((points, 1)), start[:, 0]], axis=1).astype(np.float32)
    return LabelledVideo(frames, xy, visible, queries)


def test_a_few_labelled_videos_make_it_better_on_others_of_their_kind(run: Path, tmp_path: Path) -> None:
    weights, family = tmp_path / "w.safetensors", family_of("tapnext/base")
    release(run, weights)
    labelled = write_videos(tmp_path / "labelled", [drifting(seed) for seed in range(6)])
    config = recipe(150, init=str(weights), data=str(labelled))
    updater, others = make_updater(config), [drifting(seed) for seed in range(100, 108)]
    before = validate(updater, family, others)
    train(config, updater, tmp_path / "tuned", progress=False)
    after = validate(updater, family, others)
    assert after["d_avg"] > before["d_avg"] + 0.1
    assert after["AJ"] > before["AJ"] + 0.05
