"""Training configurations: what a TOML file may say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tapsdk.errors import ModelError, TapsdkError
from tests.training.run.tiny import TOML, tiny, tiny_file
from training.models.registry import CONFIGS, FAMILIES
from training.run.config import ConfigError, Phase, TrainConfig, load_config

FILES = sorted((Path(__file__).parents[3] / "training" / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_configuration_in_the_repository_loads(path: Path) -> None:
    assert load_config(path).total_steps > 0


def test_the_repository_holds_configurations() -> None:
    assert "tapir-tiny" in {path.stem for path in FILES}


def test_phases_follow_one_another() -> None:
    config = TrainConfig("tapir", (Phase(steps=3, size=64), Phase(steps=2, size=128)))
    assert [config.phase_at(step).size for step in range(config.total_steps)] == [64, 64, 64, 128, 128]


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = TrainConfig("tapir", (Phase(steps=100),), learning_rate=1.0, warmup=10, decay=0.5)
    rates = [config.learning_rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:50] == pytest.approx([1.0] * 41)
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == 0


def test_a_cosine_begins_where_the_warm_up_ends_and_falls_to_zero() -> None:
    config = TrainConfig("tapir", (Phase(steps=110),), learning_rate=1.0, warmup=10, schedule="cosine")
    rates = [config.learning_rate_at(step) for step in range(111)]
    assert rates[:11] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
    assert rates[35] == pytest.approx((1 + 0.5**0.5) / 2)
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_model_without_losses_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "tapnext", replace(FAMILIES["tapnext"], losses_jax=None))
    with pytest.raises(ConfigError, match="tapnext/base cannot be trained here; these can: tapir/tiny"):
        _ = TrainConfig("tapnext/base", (Phase(1),)).model_config


@pytest.mark.parametrize(
    ("steps", "lengths", "warmup"),
    [
        (40, [30, 10], 20),
        (80, [60, 20], 20),
        (20, [15, 5], 10),
        (3, [2, 1], 2),
        (1, [1], 0),  # a phase without a step is none
    ],
)
def test_phases_keep_their_shares_of_another_number_of_steps(steps: int, lengths: list[int], warmup: int) -> None:
    config = TrainConfig("tapir", (Phase(30), Phase(10)), warmup=20).with_steps(steps)
    assert [phase.steps for phase in config.phases] == lengths
    assert config.total_steps == steps
    assert config.warmup == warmup


@pytest.mark.parametrize("steps", [0, -5])
def test_a_run_has_steps(tmp_path: Path, steps: int) -> None:
    with pytest.raises(ConfigError, match=f"a run of {steps} steps"):
        load_config(tiny_file(tmp_path), steps=steps)


def test_the_architecture_of_the_model_can_be_overridden(tmp_path: Path) -> None:
    found, base = tiny(tmp_path).model_config, CONFIGS["tapir/tiny"]
    assert (found.channels, found.mixer_width, found.resolution) == ((8, 8, 8, 8), 16, (32, 32))
    assert (found.causal, found.pyramid_level, found.motion_prior) == (
        base.causal,
        base.pyramid_level,
        base.motion_prior,
    )


def test_the_encoder_of_the_model_can_be_chosen(tmp_path: Path) -> None:
    path = tiny_file(tmp_path)
    path.write_text(path.read_text().replace('"residual"', '"efficientnet-lite"'))
    assert load_config(path).model_config.encoder == "efficientnet-lite"
    path.write_text(path.read_text().replace("efficientnet-lite", "resnet-50"))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    sentence = "[architecture]: encoder is 'resnet-50'; it must be 'residual' or 'efficientnet-lite'"
    assert str(error.value).endswith(sentence)


def test_a_run_starts_from_all_weights_or_from_the_encoders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave out init or encoder_weights"):
        tiny(tmp_path, init="w.safetensors", encoder_weights="lite0.pth")


def test_a_backbone_does_not_learn_backwards(tmp_path: Path) -> None:
    assert tiny(tmp_path, backbone_rate=0.02).backbone_rate == 0.02
    with pytest.raises(ConfigError, match=r"backbone_rate is -0\.1; it must be at least 0"):
        tiny(tmp_path, backbone_rate=-0.1)


def test_overrides_take_the_place_of_what_the_file_says(tmp_path: Path) -> None:
    assert tiny(tmp_path, framework="jax", textures=None, workers=3).framework == "jax"
    assert tiny(tmp_path, workers=3).workers == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('model = "tapir"', "has no [[phases]]"),
        ('model = "tapir"\nphases = []', "has no [[phases]]"),
        ('model = "tapir"\nphases = [1]', "[[phases]] must be a table, not 1"),
        ('model = "tapir"\nspeed = 3\n[[phases]]\nsteps = 1', "unknown speed; allowed: model, phases"),
        ('model = "tapir"\n[[phases]]\nsteps = 1\nsise = 64', "[[phases]]: unknown sise; allowed: steps, size"),
        ("[[phases]]\nsteps = 1", "missing 1 required"),
        ("model = ", "is not valid TOML"),
        ('model = "tapir"\ndrop_tokens = 0.5\n[[phases]]\nsteps = 1', "not for tapir/tiny: leave it out"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert sentence in str(error.value)
    assert isinstance(error.value, TapsdkError)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"steps": '"many"'}, "steps is 'many'; it must be int"),
        ({"steps": "true"}, "steps is True; it must be int"),
        ({"size": 36}, "size is 36; it must be a multiple of 8"),
        ({"batch": 0.5}, "batch is 0.5; it must be int"),
        ({"save_every": 0}, "save_every is 0; it must be at least 1"),
        ({"evaluate_every": -1}, "evaluate_every is -1; it must be at least 0"),
        ({"channels": "[8, 8]"}, "[architecture]: channels is [8, 8]; it must be 4 of int, not negative"),
        ({"mixer_width": -16}, "[architecture]: mixer_width is -16; it must be int, not negative"),
        ({"head": 4}, "[architecture]: head is 4; it must be 3 of int"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(tiny_file(tmp_path, **changes))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("learning_rate = nan", "learning_rate is nan; it must be at least 0"),
        ("average = 1.5", "average is 1.5; it must be in [0, 1]"),
        ("betas = [0.9, 0.99, 0.999]", "betas is (0.9, 0.99, 0.999); it must be 2 of float"),
        ("betas = [0.9, 1.0]", "betas is (0.9, 1.0); both must be below 1"),
        ("betas = [-0.1, 0.9]", "betas is (-0.1, 0.9); it must be in [0, 1]"),
        ('schedule = "step"', "schedule is 'step'; it must be 'linear' or 'cosine'"),
        ("data_share = 2.0", "data_share is 2.0; it must be in [0, 1]"),
        ("architecture.depth = 3", "[architecture]: unknown depth; allowed: causal, encoder, channels"),
        ("init = 3", "init is 3; it must be str | None"),
    ],
)
def test_a_wrong_line_says_what_is_allowed(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "run.toml"
    text = TOML.replace("[architecture]", "[nothing]") if line.startswith("architecture") else TOML
    path.write_text(line + text.replace("[nothing]", "[[phases]]\nsteps = 1\n[phases.scene]"))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert sentence in str(error.value)


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown model 'tapir/huge'"):
        load_config(tiny_file(tmp_path, model='"tapir/huge"'))


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / name)


def test_batches_are_shared_equally_between_devices() -> None:
    config = TrainConfig("tapir", (Phase(1, batch=4), Phase(1, batch=6), Phase(1, batch=1)))
    config.check_devices(1)
    with pytest.raises(ConfigError, match="batches of 1 cannot be shared equally between 2 devices"):
        config.check_devices(2)
    with pytest.raises(ConfigError, match="batches of 1, 6 cannot"):
        config.check_devices(4)


@pytest.mark.parametrize("text", ["a = " + "[" * 10_000, "a" + ".a" * 10_000 + " = 1", "\udcff", "a = 1\na = 2", "\0"])
def test_what_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError, match=r"run\.toml"):
        load_config(tmp_path / "run.toml")
