"""Depth between pixels: exact on planes, and never a mixture of two surfaces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapsdk.space.surfaces import surfaces_at

SIZE, FOCAL = (40, 60), 55.0


def ray(xy):
    return np.concatenate([(xy - (SIZE[1] / 2, SIZE[0] / 2)) / FOCAL, np.ones((*xy.shape[:-1], 1))], axis=-1)


def centres():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.stack([x, y], -1)


def positions(count=500, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (count, 2)) * SIZE[::-1]


@settings(max_examples=40, deadline=None)
@given(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2), st.floats(0.1, 50))
def test_depth_on_a_plane_is_exact_however_steep(a, b, distance):
    normal = np.array([a, b, 2.0])
    depth = distance / (ray(centres()) @ normal)
    found = surfaces_at(depth, positions())
    np.testing.assert_allclose(found.depth, distance / (ray(positions()) @ normal), rtol=1e-6)
    assert found.clean.all() and np.isnan(found.other).all()


def two_walls(step):
    """1 m on the left of x = 30, further away on the right."""
    return np.where(centres()[..., 0] < 30, 1.0, 1.0 + step)


@pytest.mark.parametrize("step", [0.03, 0.2, 9.0])
def test_nothing_bleeds_over_an_edge(step):
    xy = positions()
    found = surfaces_at(two_walls(step), xy)
    np.testing.assert_allclose(found.depth, np.where(xy[:, 0] < 30, 1.0, 1.0 + step))


def test_the_surface_across_an_edge_is_told_within_a_pixel():
    xy = np.array([[29.9, 10.5], [29.4, 10.5], [30.3, 10.5], [20.0, 10.0]])
    found = surfaces_at(two_walls(1.0), xy)
    np.testing.assert_allclose(found.other, [2, np.nan, 1, np.nan])
    assert found.clean.tolist() == [False, False, False, True]


def test_a_steep_floor_before_a_wall_keeps_its_slope_at_the_edge():
    """The floor's depth grows by a tenth from row to row; the wall behind begins in the middle of the picture."""
    row = centres()[..., 1]
    depth = np.where(row > 25, 60.0 / (row - 15), 40.0)
    xy = np.array([[10.2, 25.9], [10.2, 25.1], [10.2, 24.9], [10.2, 30.3]])
    found = surfaces_at(depth, xy)
    np.testing.assert_allclose(found.depth, [60 / 10.9, 60 / 10.1, 40, 60 / 15.3], rtol=1e-6)
    np.testing.assert_allclose(found.slope[3], 1 / 15.5, rtol=1e-6)


def test_a_pixel_without_depth_takes_its_neighbours_and_is_not_clean():
    depth = 50.0 / (ray(centres()) @ [0.4, 0.2, 1.0])
    depth[10, 20] = np.nan
    xy = np.array([[20.3, 10.6], [20.5, 10.5]])
    found = surfaces_at(depth, xy)
    np.testing.assert_allclose(found.depth, 50.0 / (ray(xy) @ [0.4, 0.2, 1.0]), rtol=1e-3)
    assert not found.clean.any()


def test_nothing_is_known_in_a_hole_or_outside_of_the_frame():
    depth = np.ones(SIZE)
    depth[5:12, 5:12] = np.nan
    found = surfaces_at(depth, np.array([[8.5, 8.5], [-0.1, 3], [3, 40.1], [np.nan, 2], [1e30, 2]]))
    assert np.isnan(found.depth).all() and np.isnan(found.other).all() and not found.clean.any()


def test_the_borders_of_the_frame_belong_to_it():
    corners = np.array([[0, 0], [60, 0], [0, 40], [60, 40.0]])
    assert (surfaces_at(np.full(SIZE, 2.0), corners).depth == 2).all()
    assert surfaces_at(np.full((1, 1), 2.0), np.array([[1.0, 0.0]])).depth == [2]


def test_no_positions():
    assert surfaces_at(np.ones(SIZE), np.zeros((0, 2))).depth.shape == (0,)
