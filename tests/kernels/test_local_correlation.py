"""What makes a local correlation one, whatever the instruction set."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapkernels import local_correlation

SIZES = st.integers(1, 12)
SEEDS = st.integers(0, 2**32 - 1)
# An instruction set stays chosen over the examples of a property, which is what is wanted here.
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def problem(seed, height, width, channels=9, points=5):
    rng = np.random.default_rng(seed)
    grid = rng.normal(size=(height, width, channels)).astype(np.float32)
    query = rng.normal(size=(points, channels)).astype(np.float32)
    xy = rng.uniform(-4, 16, size=(points, 2)).astype(np.float32)
    return grid, query, xy


@PROPERTY
@given(seed=SEEDS, height=SIZES, width=SIZES, a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_is_linear_in_the_query(isa, seed, height, width, a, b):
    grid, first, xy = problem(seed, height, width)
    second = first[::-1].copy()
    mixed = (a * first + b * second).astype(np.float32)
    expected = a * local_correlation(grid, first, xy) + b * local_correlation(grid, second, xy)
    np.testing.assert_allclose(local_correlation(grid, mixed, xy), expected, atol=1e-4)


@PROPERTY
@given(seed=SEEDS, height=SIZES, width=SIZES, left=st.integers(0, 5), top=st.integers(0, 5))
def test_moves_with_the_grid(isa, seed, height, width, left, top):
    """A border of zeros changes nothing but the coordinates, since cells outside count as zero."""
    grid, query, xy = problem(seed, height, width)
    xy = np.round(xy * 8) / 8  # so that adding whole cells is exact
    framed = np.pad(grid, ((top, 2), (left, 3), (0, 0)))
    moved = local_correlation(framed, query, xy + np.float32([left, top]))
    np.testing.assert_allclose(moved, local_correlation(grid, query, xy), atol=1e-6)


@PROPERTY
@given(
    seed=SEEDS,
    height=SIZES,
    width=SIZES,
    radius=st.integers(0, 4),
    far=st.floats(0, 2.0**120, width=32),
    side=st.integers(0, 3),
)
def test_is_zero_away_from_the_grid(isa, seed, height, width, radius, far, side):
    grid, query, xy = problem(seed, height, width, points=1)
    axis, before = side % 2, side < 2
    reach = radius + 0.5
    xy[0, axis] = -reach - far if before else (width, height)[axis] + reach + far
    assert not local_correlation(grid, query, xy, radius).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, -(2.0**31), 2.0**63, 3.4e38])
@pytest.mark.parametrize("axis", [0, 1])
def test_is_zero_at_coordinates_that_are_no_place(isa, value, axis):
    grid, query, xy = problem(0, 6, 7)
    xy[:] = 3
    expected = local_correlation(grid, query, xy)
    xy[2, axis] = value
    result = local_correlation(grid, query, xy)
    assert not result[2].any()
    np.testing.assert_array_equal(np.delete(result, 2, axis=0), np.delete(expected, 2, axis=0))


def test_gives_plain_dot_products_at_the_centres_of_cells(isa):
    grid, query, _ = problem(0, 5, 8, points=1)
    scores = local_correlation(grid, query, np.float32([[4.5, 2.5]]), radius=2).reshape(5, 5)
    np.testing.assert_allclose(scores, grid[:, 2:7] @ query[0], rtol=1e-5, atol=1e-5)


def test_orders_scores_by_y_then_x(isa):
    grid = np.zeros((5, 5, 1), np.float32)
    grid[1, 3] = 1
    scores = local_correlation(grid, np.ones((1, 1), np.float32), np.float32([[2.5, 2.5]]), radius=1)
    np.testing.assert_array_equal(scores, [[0, 0, 1, 0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize(("height", "width"), [(12, 7), (1, 30), (1, 1)])
def test_agrees_with_grid_sample(isa, height, width):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    grid, query, xy = problem(0, height, width, channels=20, points=60)
    offset = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4)), axis=-1).reshape(1, 49, 2)
    normalized = (xy[:, None] + offset) / (width, height) * 2 - 1
    samples = torch.nn.functional.grid_sample(
        torch.from_numpy(grid).double().permute(2, 0, 1)[None],
        torch.from_numpy(normalized)[None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    expected = torch.einsum("cns,nc->ns", samples[0], torch.from_numpy(query).double())
    np.testing.assert_allclose(local_correlation(grid, query, xy), expected, atol=2e-5)
