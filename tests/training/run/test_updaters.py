"""A step of training: the same in both frameworks, from the same weights on the same batch."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapsdk.errors import ModelError
from tests.training.run.tiny import TAPNEXT, tiny
from training.checkpoints import Canonical, CheckpointError, save_canonical
from training.models.registry import FAMILIES
from training.run.batches import make_batch
from training.run.config import ConfigError, TrainConfig
from training.run.run_state import PARTS, RunState
from training.run.updaters import Updater, decays, make_updater

PACKAGES = {"torch": ("torch",), "jax": ("jax", "equinox", "optax")}


def updater_or_skip(config: TrainConfig, framework: str, **changes: Any) -> Updater:
    for package in PACKAGES[framework]:
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[train,jax]'")
    return make_updater(dataclasses.replace(config, framework=framework, **changes))


@pytest.fixture(params=PACKAGES)
def framework(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return tiny(tmp_path)


@pytest.fixture(params=["tapir", pytest.param("tapnext", marks=pytest.mark.slow)])  # JAX compiles once more
def each(request: pytest.FixtureRequest, tmp_path: Path) -> TrainConfig:
    """A run of each family."""
    return tiny(tmp_path) if request.param == "tapir" else tiny(tmp_path, **TAPNEXT, drop_tokens=0.5)


def assert_same_state(found: RunState, expected: RunState) -> None:
    assert found.updates == expected.updates
    for part in PARTS:
        arrays, wanted = getattr(found, part), getattr(expected, part)
        assert arrays.keys() == wanted.keys()
        assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted), part


def run(updater: Updater, config: TrainConfig, steps: range) -> list[dict[str, float]]:
    return [updater.step(make_batch(config, step), config.learning_rate_at(step)) for step in steps]


def test_the_frameworks_train_the_same(each: TrainConfig) -> None:
    """Losses and gradients on the same batch, and losses of twenty steps."""
    torch, jax = (updater_or_skip(each, framework) for framework in PACKAGES)
    jax.restore(torch.state())
    expected, found = ([*run(updater, each, range(1))] for updater in (torch, jax))
    # After one step Adam's first moment is a tenth of the gradient.
    gradient, others = torch.state().first_moment, jax.state().first_moment
    for name, array in gradient.items():
        np.testing.assert_allclose(others[name], array, rtol=0, atol=1e-5, err_msg=name)
    assert any(np.abs(array).max() > 1e-3 for array in gradient.values())
    expected += run(torch, each, range(1, 20))
    found += run(jax, each, range(1, 20))
    for step, (row, wanted) in enumerate(zip(found, expected, strict=True)):
        norm = row.pop("grad_norm"), wanted.pop("grad_norm")
        assert row == pytest.approx(wanted, abs=1e-3), step
        assert norm[0] == pytest.approx(norm[1], rel=1e-2), step
    averages = torch.state().average, jax.state().average
    for name, array in averages[0].items():
        np.testing.assert_allclose(averages[1][name], array, rtol=0, atol=1e-4, err_msg=name)


def test_training_lowers_the_loss_on_a_clip_seen_again_and_again(config: TrainConfig, framework: str) -> None:
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    losses = [updater.step(batch, 3e-3)["total"] for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_step_that_is_not_finite_changes_nothing(config: TrainConfig, framework: str) -> None:
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    updater.step(batch, 1e-3)
    before = updater.state()
    losses = updater.step({**batch, "xy": batch["xy"] * np.float32("nan")}, 1e-3)
    assert np.isnan(losses["total"])
    assert_same_state(updater.state(), before)
    updater.step(batch, 1e-3)
    assert updater.state().updates == 2


def test_a_restored_run_goes_on_bit_for_bit(config: TrainConfig, framework: str) -> None:
    updater = updater_or_skip(config, framework)
    run(updater, config, range(2))
    halfway = updater.state()
    expected = run(updater, config, range(2, 4))
    other = updater_or_skip(config, framework, seed=1)
    other.restore(halfway)
    assert_same_state(other.state(), halfway)
    assert run(other, config, range(2, 4)) == expected
    assert_same_state(other.state(), updater.state())


@pytest.mark.parametrize("framework", ["torch", pytest.param("jax", marks=pytest.mark.slow)])  # compiles once more
def test_tapnext_learns_and_goes_on_bit_for_bit(tmp_path: Path, framework: str) -> None:
    config = tiny(tmp_path, **TAPNEXT, drop_tokens=0.5)
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    losses = [updater.step(batch, 3e-3)["total"] for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    other = updater_or_skip(config, framework, seed=1)
    other.restore(updater.state())
    assert run(other, config, range(2)) == run(updater, config, range(2))
    assert_same_state(other.state(), updater.state())


def test_the_mean_follows_the_weights(config: TrainConfig, framework: str) -> None:
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    first = updater.state()
    updater.step(batch, 0.5)
    now = updater.state()
    for name, mean in now.average.items():
        assert np.array_equal(first.average[name], first.weights[name])
        expected = config.average * first.weights[name] + (1 - config.average) * now.weights[name]
        np.testing.assert_allclose(mean, expected, atol=1e-6, err_msg=name)
        assert np.abs(now.weights[name] - first.weights[name]).max() > 1e-3, name


def test_only_weights_with_several_axes_decay(config: TrainConfig, framework: str) -> None:
    """Those that no loss depends on show it: where no point is visible, none depends on the offsets of the mixer."""
    updater, batch = updater_or_skip(config, framework), make_batch(config, 0)
    first, rate = updater.state().weights, 0.5
    updater.step({**batch, "visible": np.zeros_like(batch["visible"])}, rate)
    offsets = slice(0, 2)
    found, before = (weights["mixer.out.weight"][offsets] for weights in (updater.state().weights, first))
    np.testing.assert_allclose(found, before * (1 - rate * config.weight_decay), rtol=1e-6)
    assert np.array_equal(updater.state().weights["mixer.out.bias"][offsets], first["mixer.out.bias"][offsets])


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("head.weight", (4, 4), True),
        ("norm.weight", (4,), False),
        ("head.bias", (4,), False),
        ("blocks.0.recurrence.lru.input_gate.bias", (2, 2), False),
    ],
)
def test_biases_do_not_decay_in_groups_either(name: str, shape: tuple[int, ...], expected: bool) -> None:
    assert decays(name, np.zeros(shape)) is expected


def test_predictions_are_those_of_the_mean_model(config: TrainConfig, framework: str) -> None:
    from training import models

    updater = updater_or_skip(config, framework)
    run(updater, config, range(1))
    batch = make_batch(config, 0)
    found = updater.predict(batch["video"][0], batch["queries_tyx"][0])
    assert {name: array.shape for name, array in found.items()} == {
        "tracks": (6, 3, 2),
        "occlusion": (6, 3),
        "expected_dist": (6, 3),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.registry.CONFIGS, "tapir/tiny", config.model_config)
        model = models.load("tapir/tiny", updater.state().average, framework)
    video, queries = np.float32(batch["video"][:1]) / 127.5 - 1, batch["queries_tyx"][:1]
    if framework == "torch":
        import torch

        with torch.inference_mode():
            expected = model.clip(torch.from_numpy(video), torch.from_numpy(queries))
    else:
        expected = model.clip(video, queries)
    for name, array in found.items():
        np.testing.assert_allclose(array, np.asarray(expected[name])[0], atol=1e-3, err_msg=name)


@pytest.mark.slow  # JAX compiles once more
def test_mixed_precision_changes_losses_a_little(config: TrainConfig, framework: str) -> None:
    exact, mixed = (updater_or_skip(config, framework, mixed_precision=value) for value in (False, True))
    mixed.restore(exact.state())
    expected, found = run(exact, config, range(3)), run(mixed, config, range(3))
    for row, wanted in zip(found, expected, strict=True):
        assert row != wanted
        assert row["total"] == pytest.approx(wanted["total"], rel=0.05)
    assert all(array.dtype == np.float32 for array in mixed.state().weights.values())


def save_weights(path: Path, model: str, weights: dict[str, np.ndarray], config: TrainConfig) -> None:
    save_canonical(Canonical(model, config.model_config, weights, "a test", "0" * 64), path)


def test_a_run_starts_from_given_weights(config: TrainConfig, framework: str, tmp_path: Path) -> None:
    weights = updater_or_skip(config, framework, seed=1).state().weights
    save_weights(tmp_path / "w.safetensors", "tapir/tiny", weights, config)
    state = updater_or_skip(config, framework, init=str(tmp_path / "w.safetensors")).state()
    assert_same_state(state, RunState.fresh(weights))


def test_weights_to_start_from_must_fit(config: TrainConfig, framework: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, "tapir/tiny", {"mixer.out.bias": np.zeros(3)}, config)
    with pytest.raises(CheckpointError, match=r"does not fit the model of this run: .* missing"):
        updater_or_skip(config, framework, init=str(path))
    save_weights(path, "tapir/base", {}, config)
    with pytest.raises(CheckpointError, match="holds weights of 'tapir/base', not of 'tapir/tiny'"):
        updater_or_skip(config, framework, init=str(path))
    with pytest.raises(CheckpointError, match="cannot be read"):
        updater_or_skip(config, framework, init=str(tmp_path / "nowhere.safetensors"))


def test_weights_of_another_configuration_are_told(
    config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a temperature, which shows in no shape."""
    path = str(tmp_path / "w.safetensors")
    save_weights(Path(path), "tapir/tiny", updater_or_skip(config, "torch").state().weights, config)
    updater_or_skip(config, "torch", init=path)
    assert not caplog.records
    warmer = {**config.architecture, "softmax_temperature": 10.0}
    updater_or_skip(config, "torch", init=path, architecture=warmer)
    (record,) = caplog.records
    assert f"{path} was made for softmax_temperature 20.0 (here 10.0)" in record.getMessage()


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> str:
    """What the names of its parameters begin with. The residual encoder stands for it: it compiles faster."""
    prefix = "resnet."
    monkeypatch.setitem(FAMILIES, "tapir", dataclasses.replace(FAMILIES["tapir"], backbone=prefix))
    return prefix


def moved(first: RunState, now: RunState, prefix: str) -> tuple[float, float]:
    """The largest change of any number of the backbone, and of the rest."""
    change = {name: float(np.abs(now.weights[name] - first.weights[name]).max()) for name in first.weights}
    inside = max(value for name, value in change.items() if name.startswith(prefix))
    return inside, max(value for name, value in change.items() if not name.startswith(prefix))


@pytest.mark.parametrize("factor", [0.0, pytest.param(0.02, marks=pytest.mark.slow)])  # JAX compiles once more
def test_a_backbone_learns_at_its_share_of_the_rate(
    config: TrainConfig, framework: str, backbone: str, factor: float
) -> None:
    """Adam's first step is as large as the learning rate, whatever the gradient. What is frozen does not decay."""
    updater = updater_or_skip(config, framework, backbone_rate=factor, weight_decay=0.0 if factor else 0.5)
    first = updater.state()
    updater.step(make_batch(config, 0), 1e-3)
    now = updater.state()
    inside, outside = moved(first, now, backbone)
    assert inside == pytest.approx(factor * 1e-3, rel=0.05)
    assert outside >= 0.95e-3
    still = [not moment.any() for name, moment in now.first_moment.items() if name.startswith(backbone)]
    assert all(still) is (factor == 0)


def test_a_frozen_backbone_adds_nothing_to_the_norm_of_the_gradient(config: TrainConfig, backbone: str) -> None:
    frozen, whole = (updater_or_skip(config, "torch", backbone_rate=factor) for factor in (0.0, 1.0))
    norms = [updater.step(make_batch(config, 0), 1e-3)["grad_norm"] for updater in (frozen, whole)]
    assert norms[0] < 0.9 * norms[1]


def test_a_restored_run_with_a_frozen_backbone_goes_on_bit_for_bit(config: TrainConfig, backbone: str) -> None:
    config = dataclasses.replace(config, backbone_rate=0.0)
    updater, other = (updater_or_skip(config, "torch", seed=seed) for seed in (0, 1))
    run(updater, config, range(2))
    other.restore(updater.state())
    assert_same_state(other.state(), updater.state())
    assert run(other, config, range(2, 4)) == run(updater, config, range(2, 4))
    assert_same_state(other.state(), updater.state())
    assert other.state().updates == 4


def pretrained_file(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, np.ndarray]) -> None:
    """Published weights that come to these parameters of the backbone, whatever file is asked for."""
    from training.checkpoints import efficientnet

    monkeypatch.setattr(efficientnet, "load_backbone", lambda source: parameters)


def test_an_encoder_starts_from_published_weights_and_the_rest_from_random_ones(
    config: TrainConfig, framework: str, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = updater_or_skip(config, framework).state().weights
    given = {name: np.full_like(array, 0.5) for name, array in plain.items() if name.startswith(backbone)}
    pretrained_file(monkeypatch, {name.removeprefix(backbone): array for name, array in given.items()})
    state = updater_or_skip(config, framework, encoder_weights="lite0.pth").state()
    assert_same_state(state, RunState.fresh({**plain, **given}))


def test_published_weights_must_be_those_of_the_encoder(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"the encoder of this run has no pretrained part; .* \[architecture\]"):
        updater_or_skip(config, "torch", encoder_weights="lite0.pth")
    pretrained_file(monkeypatch, {"stem.bias": np.zeros(32, np.float32)})
    architecture = {**config.architecture, "encoder": "efficientnet-lite"}
    with pytest.raises(CheckpointError, match=r"lite0\.pth does not fit the encoder of this run: .* missing"):
        updater_or_skip(config, "torch", encoder_weights="lite0.pth", architecture=architecture)


def test_batches_must_be_shared_equally(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="batches of 2 cannot be shared equally between 3 devices"):
        updater_or_skip(config, "torch")


def test_an_unknown_framework_is_an_error(config: TrainConfig) -> None:
    with pytest.raises(ModelError, match="unknown framework 'numpy'; these exist: torch, jax"):
        make_updater(dataclasses.replace(config, framework="numpy"))
