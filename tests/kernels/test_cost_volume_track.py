"""What makes `cost_volume_track` TAPIR's first guess, whatever the instruction set."""

from dataclasses import replace

import numpy as np
import pytest

from tapkernels import ArgumentError, CostVolumeHead, cost_volume_track


def make_head(seed=0, temperature=20.0, motion_prior=3.0):
    rng = np.random.default_rng(seed)
    shapes = {
        "shared": (16, 1, 3, 3),
        "heatmap": (1, 16, 3, 3),
        "occlusion_conv": (24, 16, 3, 3),
        "occlusion_hidden": (16, 24),
        "occlusion_out": (2, 16),
    }
    state = {f"head.{n}.weight": rng.normal(size=s) / np.prod(s[1:]) ** 0.5 for n, s in shapes.items()}
    state |= {f"head.{n}.bias": rng.normal(size=s[0]) / 10 for n, s in shapes.items()}
    return CostVolumeHead.of(state, "head.", temperature=temperature, motion_prior=motion_prior)


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def problem(size=(9, 14), channels=20, points=5, seed=0):
    rng = np.random.default_rng(seed)
    grid, features = unit(rng.normal(size=(*size, channels))), unit(rng.normal(size=(points, channels)))
    return grid, features, rng.uniform(0, size[::-1], size=(points, 2)).astype(np.float32)


@pytest.mark.parametrize("variant", ["tapir/tiny", "tapir/base"])
@pytest.mark.parametrize("size", [(24, 42), (16, 9), (1, 1), (5, 1)])
def test_finds_what_the_model_finds(isa, variant, size):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from training.models.tapir.config import VARIANTS
    from training.models.tapir.torch import Tapir

    config = replace(VARIANTS[variant], channels=(8, 8, 8, 40), mixer_width=8, mixer_blocks=1)
    model, generator = Tapir(config).double(), torch.Generator().manual_seed(0)
    low, query = (
        torch.nn.functional.normalize(torch.randn(1, *s, config.low_width, generator=generator), dim=-1)
        for s in (size, (30,))
    )
    previous = torch.rand(1, 30, 2, generator=generator) * torch.tensor(size[::-1]) if config.motion_prior else None
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
        doubles = (t if t is None else t.double() for t in (low, query, previous))
        xy, *logits, _ = (t[0] for t in model.locate(*doubles))
    state = {name: parameter.numpy() for name, parameter in model.state_dict().items()}
    scales = {"temperature": config.softmax_temperature, "motion_prior": config.motion_prior}
    head = CostVolumeHead.of(state, "head.", **scales)
    found = cost_volume_track(low[0].numpy(), query[0].numpy(), None if previous is None else previous[0].numpy(), head)
    np.testing.assert_allclose(found[0], xy, atol=1e-4)
    np.testing.assert_allclose(found[1], np.stack(logits, -1), atol=1e-5)


def test_without_a_previous_position_there_is_no_prior(isa):
    grid, features, previous = problem()
    free, bound = make_head(motion_prior=0.0), make_head(motion_prior=3.0)
    xy, logits = cost_volume_track(grid, features, None, bound)
    for head, known in [(free, None), (free, previous)]:
        for one, other in zip(cost_volume_track(grid, features, known, head), (xy, logits), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(cost_volume_track(grid, features, previous, bound)[0], xy)


def test_a_strong_prior_holds_points_where_they_were(isa):
    grid, features, previous = problem(points=40)
    held, _ = cost_volume_track(grid, features, previous, make_head(motion_prior=1000.0))
    np.testing.assert_allclose(held, np.floor(previous) + 0.5, atol=0.5)


@pytest.mark.parametrize(("where", "value"), [("previous", np.nan), ("previous", np.inf), ("features", np.nan)])
def test_what_is_no_number_spoils_its_own_point_alone(isa, where, value):
    grid, features, previous = problem()
    xy, logits = cost_volume_track(grid, features, previous, make_head())
    {"previous": previous, "features": features}[where][3, 1] = value
    spoilt_xy, spoilt_logits = cost_volume_track(grid, features, previous, make_head())
    assert np.isnan(spoilt_xy[3]).all()
    assert np.isnan(spoilt_logits[3]).all() == (where == "features")
    others = [0, 1, 2, 4]
    np.testing.assert_array_equal(spoilt_xy[others], xy[others])
    np.testing.assert_array_equal(spoilt_logits[others], logits[others])


def test_a_cell_that_is_no_number_leaves_nothing_to_say(isa):
    grid, features, previous = problem()
    grid[8, 13, 0] = np.nan
    xy, logits = cost_volume_track(grid, features, previous, make_head())
    assert np.isnan(xy).all()
    assert np.isnan(logits).all()


@pytest.mark.parametrize("far", [(-1e3, 5.0), (7.0, 1e6), (1e15, -1e15)])
def test_a_point_may_have_been_outside(isa, far):
    grid, features, previous = problem()
    previous[:] = far
    xy, _ = cost_volume_track(grid, features, previous, make_head())
    assert ((xy > 0) & (xy < (14, 9))).all()


def test_takes_features_that_lie_among_others(isa):
    grid, features, previous = problem()
    among = np.random.default_rng(1).normal(size=(10, 57)).astype(np.float32)
    among[::2, 7:47:2] = features
    for one, other in zip(
        cost_volume_track(grid, among[::2, 7:47:2], previous, make_head()),
        cost_volume_track(grid, features, previous, make_head()),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_of_equal_cells_the_first_column_and_row_count(isa):
    """A grid of zeros: all cells that have eight neighbours are equal, and so are all corners."""
    grid, features, _ = problem(size=(30, 40))
    xy, _ = cost_volume_track(np.zeros_like(grid), features, None, make_head(temperature=0.0))
    near = [(x, y) for y in range(5) for x in range(5) if x * x + y * y < 25]
    np.testing.assert_allclose(xy, np.tile(np.mean(near, axis=0) + 0.5, (5, 1)), atol=1e-5)


def test_a_missing_parameter_is_named():
    with pytest.raises(KeyError, match=r"head\.shared\.weight"):
        CostVolumeHead.of({}, "head.", temperature=1.0)


def test_says_what_it_takes():
    grid, features, previous = problem()
    for arguments, message in [
        ((grid[:0], features, previous), "the grid has no cells"),
        ((grid, features, previous[:3]), "previous must have as many rows as features, 5, or none, got 3"),
        (
            (grid, features[:, :7], None),
            r"features must be float32 \[N, C\] with C = 20 as in grid, got float32 \[5, 7\]",
        ),
    ]:
        with pytest.raises(ArgumentError, match=f"cost_volume_track: {message}"):
            cost_volume_track(*arguments, make_head())
