"""TAP-Net's losses, in both frameworks: those of the reference, and cases that can be worked out by hand."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from tests.golden import official


@pytest.fixture(params=["torch", "jax"])
def framework(request: pytest.FixtureRequest) -> SimpleNamespace:
    """losses and models: its modules; array: from numpy to its own."""
    name = request.param
    library = pytest.importorskip(name)
    if name == "jax":
        pytest.importorskip("optax", reason="needs optax: pip install '.[jax]'")
    return SimpleNamespace(
        losses=importlib.import_module(f"training.models.tapnet.losses_{name}"),
        models=importlib.import_module(f"training.models.tapnet.{name}"),
        array=library.from_numpy if name == "torch" else library.numpy.asarray,
    )


def losses_at(
    framework: SimpleNamespace, x: float, visible: bool, size: tuple[int, int] = (256, 256), logit: float = 0.0
) -> dict[str, float]:
    """Of an estimate of one point in one frame at (x, 0), which truly is at (0, 0)."""
    array = framework.array
    estimate = framework.models.Estimate(array(np.float32([[[[x, 0]]]])), array(np.float32([[[logit]]])))
    truth = array(np.zeros((1, 1, 1, 2), np.float32)), array(np.full((1, 1, 1), visible))
    return {name: float(value) for name, value in framework.losses.estimate_loss(estimate, *truth, size).items()}


@pytest.mark.parametrize(
    ("x", "size", "huber"),
    [(2, (256, 256), 2.0), (4, (256, 256), 8.0), (10, (256, 256), 32.0), (1, (256, 128), 2.0), (1, (128, 256), 0.5)],
)
def test_position_is_huber_in_pixels_at_256(
    framework: SimpleNamespace, x: float, size: tuple[int, int], huber: float
) -> None:
    assert losses_at(framework, x, True, size)["position"] == pytest.approx(0.05 * huber, rel=1e-4)


def test_hidden_points_count_for_occlusion_alone(framework: SimpleNamespace) -> None:
    losses = losses_at(framework, 50, False, logit=3.0)
    assert losses["position"] == 0
    assert losses["occlusion"] == pytest.approx(np.log1p(np.exp(-3)), rel=1e-5)


def test_losses_are_those_of_the_reference(framework: SimpleNamespace) -> None:
    golden = np.load(official.FOLDER / "tapnet_loss.npz")
    array = framework.array
    estimate = framework.models.Estimate(array(golden["points"]), array(golden["occlusion"]))
    truth = array(golden["target_points"]), array(golden["target_occ"] == 0)
    losses = framework.losses.estimate_loss(estimate, *truth, tuple(golden["shape"][2:4].tolist()))
    found = [float(losses[name]) for name in ("position", "occlusion")]
    np.testing.assert_allclose(found, golden["out_plain"][:2], rtol=1e-5)
