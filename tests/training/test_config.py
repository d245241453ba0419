"""Training configurations: what a TOML file may say."""

from pathlib import Path

import pytest

from training.config import ConfigError, Phase, TrainConfig, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_configuration_in_the_repository_loads(path: Path) -> None:
    assert load_config(path).total_steps > 0


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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('model = "tapir"', "has no [[phases]]"),
        ('model = "tapir"\nspeed = 3\n[[phases]]\nsteps = 1', "unknown speed; allowed: model, phases, seed"),
        ('model = "tapir"\n[[phases]]\nsteps = 1\nsise = 64', "[[phases]]: unknown sise; allowed: steps, size"),
        ("[[phases]]\nsteps = 1", "missing 1 required"),
        ("model = ", "is not valid TOML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert sentence in str(error.value)
