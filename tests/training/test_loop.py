"""Training stops and goes on as if it had not stopped."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install '.[train]'")

from training.config import Phase, TrainConfig  # noqa: E402
from training.loop import CHECKPOINT, train  # noqa: E402
from training.models import configs  # noqa: E402
from training.models.configs import TapirConfig  # noqa: E402
from training.update_torch import TorchUpdater  # noqa: E402

SMALL = TapirConfig(
    causal=True,
    channels=(8, 8, 8, 8),
    blocks=(1, 1, 1, 1),
    pyramid_level=1,
    head=(4, 4, 4),
    mixer_width=16,
    mixer_blocks=2,
    iterations=2,
)


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.CONFIGS, "tapir/small", SMALL)


def config(steps: int, **changes: object) -> TrainConfig:
    """A run of clips that are quick to make. The schedule looks at the steps of both phases."""
    phases = (
        Phase(steps=steps, size=32, frames=3, points=6, batch=1),
        Phase(steps=6 - steps, size=40, frames=2, points=4),
    )
    return TrainConfig("tapir/small", phases, workers=0, save_every=2, **changes)  # type: ignore[arg-type]


def test_a_run_that_was_killed_and_resumed_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = TorchUpdater(config(3))
    train(config(3), whole, tmp_path / "whole", progress=False)

    class Killed(BaseException):
        """Stands for kill -9: nothing of the process runs any more."""

    interrupted = TorchUpdater(config(3))
    step, taken = interrupted.step, []

    def step_until_killed(*args: object) -> dict[str, float]:
        if len(taken) == 5:
            raise Killed
        taken.append(1)
        return step(*args)  # type: ignore[arg-type]

    interrupted.step = step_until_killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        train(config(3), interrupted, tmp_path / "parts", progress=False)

    resumed = TorchUpdater(config(3, seed=0))
    train(config(3), resumed, tmp_path / "parts", progress=False)
    for name, value in whole.state()["average"].items():
        assert torch.equal(value, resumed.state()["average"][name]), name


def test_training_lowers_the_loss_on_a_clip_seen_again_and_again() -> None:
    updater = TorchUpdater(config(6))
    from training.batches import Batches

    batch = Batches(config(6))[0]
    losses = [updater.step(batch, 3e-3)["total"] for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_checkpoint_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updater = TorchUpdater(config(6))
    train(config(6), updater, tmp_path, progress=False)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def write_half(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", write_half)
    from training.loop import save

    with pytest.raises(OSError, match="No space"):
        save(updater, tmp_path, 7)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    updater = TorchUpdater(config(6))
    from training.batches import Batches

    batch = Batches(config(6))[0]
    batch["xy"] = batch["xy"] * float("nan")
    before = {k: v.clone() for k, v in updater.state()["model"].items()}
    updater.step(batch, 1e-3)
    assert all(torch.equal(v, before[k]) for k, v in updater.state()["model"].items())
