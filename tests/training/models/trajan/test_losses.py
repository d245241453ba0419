"""What TRAJAN is trained on, in both frameworks."""

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

SURE = 50.0


@pytest.fixture(params=["torch", "jax"])
def framework(request: pytest.FixtureRequest) -> SimpleNamespace:
    """losses: the module; array: from numpy to the framework's own."""
    library = pytest.importorskip(request.param)
    if request.param == "jax":
        pytest.importorskip("optax", reason="needs optax: pip install '.[jax]'")
    losses = importlib.import_module(f"training.models.trajan.losses_{request.param}")
    array = library.from_numpy if request.param == "torch" else library.numpy.asarray
    return SimpleNamespace(losses=losses, array=array, name=request.param)


def perfect() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What a model says that makes no error, in more frames than the batch has, and the batch."""
    rng = np.random.default_rng(0)
    xy = rng.random((2, 3, 4, 2), np.float32)
    visible = rng.random((2, 3, 4)) < 0.5
    visible[..., 0], visible[..., 1] = True, False
    more = ((0, 0), (0, 0), (0, 2))
    outputs = {
        "tracks": np.pad(xy, (*more, (0, 0)), constant_values=9),
        "visible_logits": np.pad(np.where(visible, SURE, -SURE).astype(np.float32), more),
        "certain_logits": np.full((2, 3, 6), SURE, np.float32),
    }
    batch = {name: np.zeros(1, np.float32) for name in ("given", "given_visible", "frames", "queries_txy")}
    return outputs, {**batch, "xy": xy, "visible": visible}


def compute(framework: SimpleNamespace, outputs: dict[str, np.ndarray], batch: dict[str, np.ndarray]) -> dict[str, Any]:
    def reconstruct(*given: Any) -> dict[str, Any]:
        assert len(given) == 4
        return {name: framework.array(array) for name, array in outputs.items()}

    arrays = {name: framework.array(array) for name, array in batch.items()}
    last = framework.array(np.float32(batch["visible"].sum())[None])[0] if framework.name == "torch" else False
    losses = framework.losses.batch_losses(SimpleNamespace(reconstruct=reconstruct), arrays, last)
    return {name: float(value) for name, value in losses.items()}


def test_nothing_is_lost_on_perfect_tracks(framework: SimpleNamespace) -> None:
    losses = compute(framework, *perfect())
    assert losses == pytest.approx({"position": 0, "visible": 0, "certain": 0}, abs=1e-6)


@pytest.mark.parametrize(("pixels", "expected"), [(1, 0.5), (4, 8), (10, 32)])
def test_the_position_loss_is_a_parabola_and_then_a_line(
    framework: SimpleNamespace, pixels: float, expected: float
) -> None:
    """In pixels at 256x256, the mean over visible positions."""
    outputs, batch = perfect()
    outputs["tracks"] = outputs["tracks"] + np.float32([0, pixels / 256])
    assert compute(framework, outputs, batch)["position"] == pytest.approx(0.05 * expected, rel=1e-3)


def test_hidden_positions_teach_nothing_but_that_they_are_hidden(framework: SimpleNamespace) -> None:
    outputs, batch = perfect()
    batch["xy"] = np.where(batch["visible"][..., None], batch["xy"], np.float32(5))
    assert compute(framework, outputs, batch) == pytest.approx({"position": 0, "visible": 0, "certain": 0}, abs=1e-6)
    outputs["visible_logits"] = -outputs["visible_logits"]
    assert compute(framework, outputs, batch)["visible"] == pytest.approx(SURE)


@pytest.mark.parametrize(("pixels", "expected"), [(5.9, 0), (6.1, SURE)])
def test_certain_is_what_lies_within_six_pixels(framework: SimpleNamespace, pixels: float, expected: float) -> None:
    outputs, batch = perfect()
    outputs["tracks"] = outputs["tracks"] + np.float32([pixels / 256, 0])
    assert compute(framework, outputs, batch)["certain"] == pytest.approx(expected, abs=1e-3)


def test_where_nothing_is_visible_no_position_is_lost(framework: SimpleNamespace) -> None:
    outputs, batch = perfect()
    batch["visible"] = np.zeros_like(batch["visible"])
    losses = compute(framework, outputs, batch)
    assert losses["position"] == losses["certain"] == 0
    assert np.isfinite(losses["visible"])
