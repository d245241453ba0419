import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapsdk.video.colors import distinct_colors, position_colors, spread_colors

PROPERTY = settings(deadline=None)


def luminance(rgb):
    return rgb.astype(float) @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("n", [0, 1, 3, 1000])
def test_one_colour_a_point(n):
    colors = distinct_colors(n)
    assert colors.shape == (n, 3)
    assert colors.dtype == np.uint8


def test_points_close_in_number_differ_clearly():
    colors = distinct_colors(256).astype(float)
    for step in range(1, 5):
        assert np.linalg.norm(colors[step:] - colors[:-step], axis=1).min() > 40


def test_no_colour_is_too_dark_or_too_pale_to_see():
    colors = distinct_colors(500)
    assert luminance(colors).min() > 90
    assert luminance(colors).max() < 225
    # The range of the channels: grey has none.
    assert np.ptp(colors.astype(int), axis=1).min() > 50


@PROPERTY
@given(st.integers(1, 50))
def test_the_first_colours_do_not_depend_on_the_number(n):
    np.testing.assert_array_equal(distinct_colors(n), distinct_colors(50)[:n])


def test_neighbours_look_alike_and_the_ends_do_not():
    x = np.arange(0, 640)
    colors = position_colors(np.stack([x, np.full(640, 240)], axis=1), (480, 640)).astype(float)
    assert np.linalg.norm(np.diff(colors, axis=0), axis=1).max() < 12
    assert np.linalg.norm(colors[0] - colors[-1]) > 100


def test_lightness_runs_along_y():
    top, bottom = position_colors([[320, 0], [320, 480]], (480, 640))
    assert luminance(bottom) > luminance(top) + 30


@pytest.mark.parametrize("corner, side", [((0, 0), 640), ((300, 100), 20), ((-50, 1e4), 3)])
def test_points_of_a_small_part_take_up_all_hues_too(corner, side):
    unit = np.stack(np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 4)), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(spread_colors(corner + side * unit), position_colors(unit, (1, 1)), atol=1)


@pytest.mark.parametrize("xy", [np.zeros((0, 2)), [[5, 5]], [[5, 5], [5, 5]], [[np.nan, 3], [2, np.nan]]], ids=len)
def test_every_point_has_a_colour_where_there_is_no_extent(xy):
    assert spread_colors(xy).shape == (len(xy), 3)


def test_position_colors_of_nothing():
    assert position_colors(np.zeros((0, 2)), (480, 640)).shape == (0, 3)
