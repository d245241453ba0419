"""Points and grids as people write them."""

import pytest

from tapsdk.errors import PointsError
from tapsdk.points_text import grid_of_text, points_of_text


@pytest.mark.parametrize(
    "text, points",
    [("1,2", [[1, 2]]), ("1,2; 3.5,4 ;", [[1, 2], [3.5, 4]]), ("7,1,2;0,3,4", [[7, 1, 2], [0, 3, 4]])],
)
def test_points_are_rows(text, points):
    assert points_of_text(text) == points


def test_points_may_be_in_another_frame():
    assert points_of_text("1,2", at=5) == [[5, 1, 2]]


@pytest.mark.parametrize("text, at", [("", 0), (";", 0), ("a,b", 0), ("1,2;1,2,3", 0), ("0,1,2", 5)])
def test_what_is_no_points(text, at):
    with pytest.raises(PointsError):
        points_of_text(text, at)


def test_a_grid_is_a_side_or_columns_by_rows():
    assert [grid_of_text(text) for text in ("4", "10x6", "10X6")] == [(4, 4), (10, 6), (10, 6)]


@pytest.mark.parametrize("text", ["", "x", "3x", "3x3x3", "2.5"])
def test_what_is_no_grid(text):
    with pytest.raises(ValueError, match="neither N nor COLUMNSxROWS"):
        grid_of_text(text)
