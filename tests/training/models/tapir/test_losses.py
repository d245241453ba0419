"""TAPIR's losses, in both frameworks, on cases that can be worked out by hand."""

import importlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

TABLE = np.load(Path(__file__).parents[3] / "golden" / "tapnet_loss.npz")
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "expected_dist": {},
    "all": {
        "mask": TABLE["mask"],
        "rebalance": 0.5,
        "occlusion_mask": TABLE["occlusion_loss_mask"],
        "huber_delta": 2.0,
        "expected_dist": 8.0,
        "position_weight": 0.1,
    },
}
"""With which arguments the reference gave its numbers, by the end of their name."""


@pytest.fixture(params=["torch", "jax"])
def framework(request: pytest.FixtureRequest) -> SimpleNamespace:
    """losses and models: its modules; array: from numpy to its own; seen: what its cell_cross_entropy wants besides."""
    name = request.param
    library = pytest.importorskip(name)
    if name == "jax":
        pytest.importorskip("optax", reason="needs optax: pip install '.[jax]'")
    array = library.from_numpy if name == "torch" else library.numpy.asarray
    return SimpleNamespace(
        losses=importlib.import_module(f"training.models.tapir.losses_{name}"),
        models=importlib.import_module(f"training.models.tapir.{name}"),
        array=array,
        seen=lambda visible: (array(np.float32(visible.sum())[None])[0],) if name == "torch" else (),
    )


TRUTH = np.zeros((1, 1, 1, 2), np.float32)
SEEN, HIDDEN = np.ones((1, 1, 1), bool), np.zeros((1, 1, 1), bool)


def losses_at(
    framework: SimpleNamespace, x: float, visible: np.ndarray, size: tuple[int, int] = (256, 256), logit: float = 0.0
) -> dict[str, float]:
    """Of an estimate of one point in one frame at (x, 0), which truly is at (0, 0)."""
    logits = np.full((1, 1, 1), logit, np.float32)
    arrays = (np.float32([[[[x, 0]]]]), logits, logits)
    estimate = framework.models.Estimate(*map(framework.array, arrays))
    losses = framework.losses.estimate_loss(estimate, framework.array(TRUTH), framework.array(visible), size)
    return {name: float(value) for name, value in losses.items()}


def cross_entropy(framework: SimpleNamespace, logits: np.ndarray, xy: tuple[float, float], visible: Any) -> float:
    """Of logits [h, w] and one point, in frames whose pixels are the cells."""
    heatmap, at = logits[None, None, None].astype(np.float32), np.float32(xy)[None, None, None]
    arrays = map(framework.array, (heatmap, at, visible))
    return float(framework.losses.cell_cross_entropy(*arrays, logits.shape, *framework.seen(visible)))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_loss_is_the_references(framework: SimpleNamespace, setting: str) -> None:
    options = {k: framework.array(v) if isinstance(v, np.ndarray) else v for k, v in SETTINGS[setting].items()}
    estimate = framework.models.Estimate(
        *(framework.array(TABLE[name]) for name in ("points", "occlusion", "expected_dist"))
    )
    truth = framework.array(TABLE["target_points"]), framework.array(1 - TABLE["target_occ"])
    losses = framework.losses.estimate_loss(estimate, *truth, TABLE["shape"][2:4].tolist(), **options)
    assert list(losses) == ["position", "occlusion", "expected_dist"]
    expected = TABLE[f"out_{setting}"]
    scored = 2 if setting == "plain" else 3  # the reference was given no expected_dist there
    np.testing.assert_allclose([float(loss) for loss in losses.values()][:scored], expected[:scored], rtol=1e-5)


def test_what_is_masked_out_costs_nothing_and_teaches_nothing(framework: SimpleNamespace) -> None:
    """Half of the points, and then none; the mean is over all of them either way."""
    estimate = framework.models.Estimate(
        framework.array(np.float32([[[[10, 0], [10, 0]]]])), *[framework.array(np.ones((1, 1, 2), np.float32))] * 2
    )
    truth = framework.array(np.zeros((1, 1, 2, 2), np.float32)), framework.array(np.ones((1, 1, 2), bool))
    whole = framework.losses.estimate_loss(estimate, *truth, (256, 256))
    for share, mask in ((0.5, [1, 0]), (0, [0, 0])):
        masked = framework.losses.estimate_loss(estimate, *truth, (256, 256), framework.array(np.float32([[mask]])))
        for name, loss in masked.items():
            assert float(loss) == pytest.approx(share * float(whole[name]), rel=1e-5), name


@pytest.mark.parametrize(
    ("x", "size", "huber"),
    [(2, (256, 256), 2.0), (4, (256, 256), 8.0), (10, (256, 256), 32.0), (1, (256, 128), 2.0), (1, (128, 256), 0.5)],
)
def test_position_is_huber_in_pixels_at_256(
    framework: SimpleNamespace, x: float, size: tuple[int, int], huber: float
) -> None:
    assert losses_at(framework, x, SEEN, size)["position"] == pytest.approx(0.05 * huber, rel=1e-4)


def test_hidden_points_count_for_occlusion_alone(framework: SimpleNamespace) -> None:
    losses = losses_at(framework, 100, HIDDEN, logit=20.0)
    assert losses["position"] == losses["expected_dist"] == 0
    assert losses["occlusion"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("x", "logit", "right"), [(5, -20, True), (7, 20, True), (5, 20, False), (7, -20, False)])
def test_an_estimate_is_wrong_beyond_six_pixels(
    framework: SimpleNamespace, x: float, logit: float, right: bool
) -> None:
    loss = losses_at(framework, x, SEEN, logit=logit)["expected_dist"]
    assert loss == pytest.approx(0, abs=1e-6) if right else loss > 10


def test_a_heatmap_that_singles_out_the_true_cell_costs_nothing(framework: SimpleNamespace) -> None:
    logits = np.full((4, 6), -50.0)
    logits[2, 5] = 50
    assert cross_entropy(framework, logits, (5.5, 2.5), SEEN) == pytest.approx(0, abs=1e-5)
    assert cross_entropy(framework, logits, (3.5, 0.5), SEEN) > 50
    assert cross_entropy(framework, logits, (3.5, 0.5), HIDDEN) == 0


def test_a_position_between_cells_is_shared_between_them(framework: SimpleNamespace) -> None:
    logits = np.zeros((4, 6))
    logits[1:3, 1:3] = 50
    assert cross_entropy(framework, logits, (2, 2), SEEN) == pytest.approx(math.log(4), rel=1e-4)


def test_a_position_off_the_frame_belongs_to_the_cell_at_the_border(framework: SimpleNamespace) -> None:
    logits = np.full((4, 6), -50.0)
    logits[0, 5] = 50
    assert cross_entropy(framework, logits, (99, -99), SEEN) == pytest.approx(0, abs=1e-5)


def test_features_that_match_at_one_cell_single_it_out(framework: SimpleNamespace) -> None:
    grid = np.zeros((1, 1, 2, 3, 2), np.float32)
    grid[..., 0] = 1
    grid[0, 0, 1, 2] = 0, 1
    query = np.float32([[[0, 1]]])
    grids = framework.models.Grids(framework.array(grid), None, (2, 3))
    heatmap = framework.losses.match_logits(grids, framework.models.Query(framework.array(query), None))
    expected = np.zeros((1, 1, 1, 2, 3))
    expected[..., 1, 2] = framework.losses.MATCH_TEMPERATURE
    np.testing.assert_allclose(np.asarray(heatmap), expected)


def test_the_frameworks_agree_on_every_constant() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    pytest.importorskip("optax")
    from training.models.tapir import losses_jax, losses_torch

    for name in ("LOSS_SIZE", "HUBER_DELTA", "EXPECTED_DIST", "POSITION_WEIGHT", "MATCH_TEMPERATURE"):
        assert getattr(losses_jax, name) == getattr(losses_torch, name), name
