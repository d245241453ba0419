"""Batch normalisation in the loop: its running means follow the batches, in both frameworks alike."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.support import known_model
from tests.training.run.test_updaters import PACKAGES, assert_same_state, run, updater_or_skip
from tests.training.test_main import assert_same, state
from tests.training.test_main import run as train
from training.models import load
from training.run.batches import make_batch
from training.run.config import TrainConfig, load_config
from training.run.run_state import Checkpoint, load_checkpoint, save_checkpoint

TOML = """
model = "tapnet/base"
weight_decay = 0.1
workers = 0

[architecture]
stem = 8
channels = [8, 16, 16]
head = [4, 4, 4]

[[phases]]
steps = 10
size = 32
frames = 3
points = 6
batch = 2
"""
NORM = "encoder.units.0.0.norm_0"
"""It sees what the first convolution gives."""


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    path = tmp_path / "tapnet.toml"
    path.write_text(TOML)
    return load_config(path)


@pytest.fixture(params=PACKAGES)
def framework(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_frameworks_train_the_same(config: TrainConfig) -> None:
    """Losses, weights, running means and the mean of all of them."""
    torch, jax = (updater_or_skip(config, framework) for framework in PACKAGES)
    jax.restore(torch.state())
    expected, found = run(torch, config, range(5)), run(jax, config, range(5))
    for step, (row, wanted) in enumerate(zip(found, expected, strict=True)):
        assert row.keys() == wanted.keys() == {"position", "occlusion", "total", "grad_norm"}
        assert row == pytest.approx(wanted, rel=1e-2, abs=1e-3), step
    for part in ("weights", "average"):
        arrays, others = getattr(torch.state(), part), getattr(jax.state(), part)
        assert arrays.keys() == others.keys()
        for name, array in arrays.items():
            np.testing.assert_allclose(others[name], array, rtol=1e-2, atol=2e-3, err_msg=name)


def test_running_means_move_and_neither_decay_nor_have_moments(config: TrainConfig, framework: str) -> None:
    updater = updater_or_skip(config, framework)
    first = updater.state()
    updater.step(make_batch(config, 0), 1e-3)
    now = updater.state()
    for name in (f"{NORM}.running_mean", f"{NORM}.running_var"):
        assert np.abs(now.weights[name] - first.weights[name]).max() > 1e-3
        expected = config.average * first.weights[name] + (1 - config.average) * now.weights[name]
        np.testing.assert_allclose(now.average[name], expected, atol=1e-6)
        assert not now.first_moment[name].any() and not now.second_moment[name].any()


def test_a_step_that_is_not_finite_moves_no_running_mean(config: TrainConfig, framework: str) -> None:
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    updater.step(batch, 1e-3)
    before = updater.state()
    assert np.isnan(updater.step({**batch, "xy": batch["xy"] * np.float32("nan")}, 1e-3)["total"])
    assert_same_state(updater.state(), before)


def test_a_restored_run_goes_on_bit_for_bit(config: TrainConfig, framework: str, tmp_path: Path) -> None:
    updater = updater_or_skip(config, framework)
    run(updater, config, range(2))
    save_checkpoint(Checkpoint(2, updater.state(), dataclasses.asdict(config)), tmp_path)
    other = updater_or_skip(config, framework, seed=1)
    other.restore(load_checkpoint(tmp_path / "checkpoint.npz").state)
    assert_same_state(other.state(), updater.state())
    assert run(other, config, range(2, 4)) == run(updater, config, range(2, 4))
    assert_same_state(other.state(), updater.state())


def test_predictions_are_those_of_the_mean_model_which_they_leave_as_it_is(config: TrainConfig, framework: str) -> None:
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    run(updater, config, range(2))
    before = updater.state()
    found = updater.predict(batch["video"][0], batch["queries_tyx"][0])
    assert_same_state(updater.state(), before)
    video, queries = np.float32(batch["video"][:1]) / 127.5 - 1, batch["queries_tyx"][:1]
    with known_model("tapnet/base", config.model_config):
        model = load("tapnet/base", before.average, framework)
    if framework == "torch":
        import torch

        with torch.inference_mode():
            expected = model.clip(torch.from_numpy(video), torch.from_numpy(queries))
    else:
        expected = model.clip(video, queries)
    assert {name: array.shape for name, array in found.items()} == {"tracks": (6, 3, 2), "occlusion": (6, 3)}
    for name, array in found.items():
        np.testing.assert_allclose(array, np.asarray(expected[name])[0], atol=1e-3, err_msg=name)


def test_training_lowers_the_loss_on_a_clip_seen_again_and_again(config: TrainConfig, framework: str) -> None:
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    losses = [updater.step(batch, 3e-3)["total"] for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow  # four processes that import PyTorch
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """On halves of the same batches; the first one also validates, while the other ends."""
    pytest.importorskip("torch")
    config = tmp_path / "tapnet.toml"
    config.write_text(TOML.replace("steps = 10", "steps = 4"))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training")
    train(config, "-o", tmp_path / "two", launcher=torchrun)
    train(config, "-o", tmp_path / "one")
    assert_same(state(tmp_path / "two", 4), state(tmp_path / "one", 4), tolerance=1e-5)
