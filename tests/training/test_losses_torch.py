"""TAPIR's losses on cases that can be worked out by hand."""

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install '.[train]'")

from training.losses_torch import cell_cross_entropy, estimate_loss  # noqa: E402
from training.models.tapir_torch import Estimate  # noqa: E402


def estimate(x: float, logit: float = 0.0) -> Estimate:
    """One point in one frame at (x, 0)."""
    return Estimate(torch.tensor([[[[x, 0.0]]]]), torch.full((1, 1, 1), logit), torch.full((1, 1, 1), logit))


TRUTH = torch.zeros(1, 1, 1, 2)
SEEN, HIDDEN = torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1, 1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("x", "size", "huber"),
    [(2, (256, 256), 2.0), (4, (256, 256), 8.0), (10, (256, 256), 32.0), (1, (256, 128), 2.0), (1, (128, 256), 0.5)],
)
def test_position_is_huber_in_pixels_at_256(x: float, size: tuple[int, int], huber: float) -> None:
    loss = estimate_loss(estimate(x), TRUTH, SEEN, size)
    assert float(loss["position"]) == pytest.approx(0.05 * huber, rel=1e-4)


def test_hidden_points_count_for_occlusion_alone() -> None:
    loss = estimate_loss(estimate(100, logit=20.0), TRUTH, HIDDEN, (256, 256))
    assert float(loss["position"]) == 0
    assert float(loss["expected_dist"]) == 0
    assert float(loss["occlusion"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("x", "logit", "right"), [(5, -20, True), (7, 20, True), (5, 20, False), (7, -20, False)])
def test_an_estimate_is_wrong_beyond_six_pixels(x: float, logit: float, right: bool) -> None:
    loss = float(estimate_loss(estimate(x, logit), TRUTH, SEEN, (256, 256))["expected_dist"])
    assert loss == pytest.approx(0, abs=1e-6) if right else loss > 10


def test_a_heatmap_that_singles_out_the_true_cell_costs_nothing() -> None:
    logits = torch.full((1, 1, 1, 4, 6), -50.0)
    logits[..., 2, 5] = 50
    at = torch.tensor([[[[5.5, 2.5]]]])
    assert float(cell_cross_entropy(logits, at, SEEN)) == pytest.approx(0, abs=1e-5)
    assert float(cell_cross_entropy(logits, at - 2, SEEN)) > 50
    assert float(cell_cross_entropy(logits, at - 2, HIDDEN)) == 0


def test_a_position_between_cells_is_shared_between_them() -> None:
    logits = torch.zeros(1, 1, 1, 4, 6)
    logits[..., 1:3, 1:3] = 50
    at = torch.tensor([[[[2.0, 2.0]]]])
    assert float(cell_cross_entropy(logits, at, SEEN)) == pytest.approx(float(torch.tensor(4.0).log()), rel=1e-4)
