"""Query points by name, and from files."""

import json

import numpy as np
import pytest

from tapsdk.errors import PointsError
from tapsdk.points import grid_points, in_mask, parse_query_points, random_points, read_points_file

TXY = np.float32([[0, 1, 2], [3, 4.5, 5]])


class Table:
    """As much of a DataFrame as is looked at."""

    def __init__(self, **columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._columns[name]


STRUCTURED = np.array([(2.0, 0, 1.0), (5.0, 3, 4.5)], [("y", "f4"), ("t", "i4"), ("x", "f4")])
COLUMNS = {"id": ["a", "b"], "y": [2.0, 5.0], "x": [1.0, 4.5], "t": [0, 3]}


@pytest.mark.parametrize("points", [Table(**COLUMNS), COLUMNS, STRUCTURED], ids=["table", "dict", "structured"])
@pytest.mark.parametrize("query_format", ["txy", "tyx", "xyt"])
def test_named_columns_count_whatever_their_order(points, query_format):
    found = parse_query_points(points, query_format=query_format, frame_size=(10, 10))
    np.testing.assert_array_equal(found.as_txy(), TXY)


def test_numbered_columns_are_none_and_go_by_their_order():
    class Numbered:
        columns = (np.int64(0), np.int64(1), np.int64(2))

        def __array__(self, dtype=None, copy=None):
            return TXY[:, [0, 2, 1]]

    found = parse_query_points(Numbered(), query_format="tyx", frame_size=(10, 10))
    np.testing.assert_array_equal(found.as_txy(), TXY)


def test_without_a_column_t_points_are_in_the_first_frame():
    found = parse_query_points({"y": [2.0], "x": [1.0]}, frame_size=(10, 10))
    np.testing.assert_array_equal(found.as_txy(), [[0, 1, 2]])


def test_a_table_without_points():
    assert len(parse_query_points({"x": [], "y": []}, frame_size=(10, 10))) == 0


@pytest.mark.parametrize(
    "points, complaint",
    [
        ({"x": [1], "z": [2]}, "needs columns x and y, and t if need be; this one has x, z"),
        ({"x": [1, 2], "y": [2]}, "columns x, y do not fit together"),
        ({"x": [1], "y": [2], "frame": [5]}, "names its frames t, and this one has frame"),
        ({"x": [1], "y": [2], "T": [5]}, "names its frames t, and this one has T"),
        ({"x": ["one"], "y": ["two"]}, "points must be ints or floats"),
        ({"x": [11.0], "y": [2.0]}, r"points\[0\]: x = 11, but x must be in \[0, 10\]"),
    ],
    ids=str,
)
def test_a_table_that_holds_no_points(points, complaint):
    with pytest.raises(PointsError, match=complaint):
        parse_query_points(points, frame_size=(10, 10))


# Files

TEXTS = {
    "plain.csv": "0,1,2\n3,4.5,5\n",
    "header.csv": "id,y,x,t\na,2,1,0\nb,5,4.5,3\n",
    "spaces.CSV": "\ufeffT, X, Y\n0, 1, 2\n\n3, 4.5, 5\n",
    "rows.json": "[[0, 1, 2], [3, 4.5, 5]]",
    "objects.json": '[{"x": 1, "y": 2, "t": 0}, {"y": 5, "t": 3, "x": 4.5, "name": "b"}]',
    "columns.json": '{"x": [1, 4.5], "y": [2, 5], "t": [0, 3]}',
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_of_points(tmp_path, name):
    path = tmp_path / name
    path.write_text(TEXTS[name], encoding="utf-8")
    np.testing.assert_array_equal(parse_query_points(read_points_file(path), frame_size=(10, 10)).as_txy(), TXY)


def test_a_file_of_an_array(tmp_path):
    np.save(tmp_path / "points.npy", TXY)
    np.testing.assert_array_equal(read_points_file(tmp_path / "points.npy"), TXY)


def test_random_points_are_anywhere_in_the_frame_and_the_same_for_the_same_seed():
    points = random_points(2000, (40, 80), t=3)
    assert points.shape == (2000, 3) and points.dtype == np.float32 and (points[:, 0] == 3).all()
    np.testing.assert_allclose(points[:, 1:].mean(axis=0), [40, 20], rtol=0.1)
    np.testing.assert_allclose(points[:, 1:].max(axis=0), [80, 40], rtol=0.01)
    np.testing.assert_array_equal(points, random_points(2000, (40, 80), t=3))
    assert (points[:, 1:] != random_points(2000, (40, 80), seed=1)[:, 1:]).all()


@pytest.mark.parametrize(
    "name, text, complaint",
    [
        ("points.txt", "1,2", "the suffix must be one of .csv, .json, .npy"),
        ("points.csv", "", "holds no points"),
        ("points.csv", "x,y\n1,2,3\n", "every line must have 2 columns"),
        ("points.csv", "x,y\n1,two\n", "holds no points, or is damaged"),
        ("points.csv", "x,z\n1,2\n", "needs columns x and y"),
        ("points.json", "{", "holds no points, or is damaged"),
        ("points.json", "[" * 100_000, "holds no points, or is damaged"),
        ("points.csv", "point,frame,x,y\n0,5,1,2\n", "names its frames t, and this one has frame"),
        ("points.json", json.dumps([{"x": 1}]), "needs columns x and y"),
        ("points.json", json.dumps([{"x": 1, "y": 2}, {"x": 1}]), "holds no points, or is damaged"),
        ("points.json", json.dumps([{"x": 1, "y": 2, "t": 5}, {"x": 1, "y": 2}]), "some points have a t and some"),
        ("points.json", json.dumps([{"x": 1, "y": 2, "time": 0.2}]), "names its frames t, and this one has time"),
        ("points.npy", "not an array", "holds no points, or is damaged"),
        ("points.csv", "1,2\n3\n", "points must"),
        ("points.csv", "1,2\0\n", "holds no points|points must"),
        ("points.csv", "9" * 200_000, "holds no points, or is damaged"),
        ("points.json", '{"x":' * 100_000, "holds no points, or is damaged: it is nested too deeply"),
        ("points.json", '[{"x": 1, "y": ' + "9" * 400 + "}]", "holds no points, or is damaged"),
        ("points.json", "[[1e400, 2]]", "NaN and infinity are not allowed"),
        ("points.json", '"text"', "points must be ints or floats"),
        ("points.json", "null", "points must be ints or floats"),
        ("points.json", '{"x": {"a": 1}, "y": 2}', "do not fit together"),
        ("points.csv", "x\x1b[31m,z\n1,2\n", r"this one has x\\x1b\[31m, z"),
        ("points.json", '[{"x": "one", "y": 2}]', "holds no points, or is damaged"),
        ("points.npy", "\x93NUMPY", "holds no points, or is damaged"),
    ],
)
def test_a_file_that_holds_no_points(tmp_path, name, text, complaint):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(PointsError, match=complaint):
        parse_query_points(read_points_file(path), frame_size=(10, 10))


def test_an_array_that_says_a_huge_shape_gets_no_memory(tmp_path):
    with open(tmp_path / "points.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)})
    with pytest.raises(PointsError, match="has 12000000000000 bytes, not 0"):
        read_points_file(tmp_path / "points.npy")


def test_a_text_in_another_encoding_is_an_error(tmp_path):
    for name in ("points.csv", "points.json"):
        (tmp_path / name).write_bytes(b"[\xe9]")
        with pytest.raises(PointsError, match="holds no points, or is damaged"):
            read_points_file(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PointsError, match=r"none\.csv cannot be read: No such file"):
        read_points_file(tmp_path / "none.csv")


def test_a_pickle_is_no_array(tmp_path):
    np.save(tmp_path / "points.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(PointsError, match="holds no points, or is damaged"):
        read_points_file(tmp_path / "points.npy")


# Grids and masks


def test_a_grid_of_columns_and_rows():
    points = grid_points((3, 2), (20, 60), t=4)
    assert points.tolist() == [[4, x, y] for y in (5, 15) for x in (10, 30, 50)]
    np.testing.assert_array_equal(grid_points((4, 4), (20, 60)), grid_points(4, (20, 60)))


@pytest.mark.parametrize("n", [0, (0, 3), (3, -1)])
def test_a_grid_of_nothing(n):
    with pytest.raises(PointsError, match="at least 1 point a side"):
        grid_points(n, (20, 60))


def test_points_in_a_mask():
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:] = 255
    xy = [[2, 1], [1.99, 1], [6, 2.5], [6, 3], [0, 0], [-1, 2], [np.nan, 1], [1e30, 1]]
    assert in_mask(xy, mask).tolist() == [True, False, True, False, False, False, False, False]
    assert in_mask(np.zeros((0, 2)), mask).shape == (0,)


@pytest.mark.parametrize("mask", [np.ones((4, 6, 3)), np.ones(4), np.ones((0, 6))], ids=lambda m: str(m.shape))
def test_a_mask_that_is_none(mask):
    with pytest.raises(PointsError, match=r"a mask must have shape \[H, W\]"):
        in_mask([[1, 1]], mask)
