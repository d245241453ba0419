"""What a model remembers: of every point by row, and of the video."""

import numpy as np
import pytest

from tapsdk.manifest import TensorSpec
from tapsdk.rows import Rows, concatenate, from_arrays, select, to_arrays, zero_rows

SPECS = [
    TensorSpec("features", ("N", 3), "query"),
    TensorSpec("memory", (2, "N", 4), "state"),
    TensorSpec("video", (5,), "state"),
]


class Kept:
    """A tensor on the engine's side."""

    def __init__(self, array):
        self.array = array


class Engine:
    def keep(self, array):
        return Kept(array)

    def fetch(self, tensor):
        return tensor.array


ENGINE = Engine()


def rows_of(*points):
    """Rows whose numbers say which point they are of; the video's say which point came first."""
    arrays = {
        "features": np.repeat(np.float32(points)[:, None], 3, 1),
        "memory": np.broadcast_to(np.float32(points)[None, :, None], (2, len(points), 4)).copy(),
        "video": np.full(5, points[0], np.float32),
    }
    return Rows(len(points), {name: ENGINE.keep(array) for name, array in arrays.items()})


def points_of(rows):
    """Which points the rows are of; every tensor must say the same."""
    arrays = {name: tensor.array for name, tensor in rows.tensors.items()}
    np.testing.assert_array_equal(
        arrays["memory"], np.broadcast_to(arrays["features"][None, :, :1], (2, rows.count, 4))
    )
    return arrays["features"][:, 0].tolist()


def test_state_begins_at_zero():
    zeros = zero_rows(SPECS, 6, ENGINE)
    assert {name: tensor.array.shape for name, tensor in zeros.items()} == {
        "features": (6, 3),
        "memory": (2, 6, 4),
        "video": (5,),
    }
    assert not any(tensor.array.any() for tensor in zeros.values())


@pytest.mark.parametrize("parts", [[[1, 2], [3]], [[1], [2], [3, 4]], [[7]]])
def test_points_are_joined_in_order_and_share_the_first_ones_video(parts):
    rows = concatenate([rows_of(*points) for points in parts], SPECS, ENGINE)
    everybody = [point for points in parts for point in points]
    assert rows.count == len(everybody)
    assert points_of(rows) == everybody
    np.testing.assert_array_equal(rows.tensors["video"].array, parts[0][0])


def test_nobody_adds_nothing():
    nobody = Rows(0, {})
    assert points_of(concatenate([nobody, rows_of(4), nobody], SPECS, ENGINE)) == [4]
    assert concatenate([nobody, nobody], SPECS, ENGINE) == nobody


@pytest.mark.parametrize("index", [[0], [2, 0], [1, 2, 0], []])
def test_points_are_selected_in_any_order_and_keep_the_video(index):
    rows = select(rows_of(5, 6, 7), np.array(index, np.int64), SPECS, ENGINE)
    assert rows.count == len(index)
    assert points_of(rows) == [[5, 6, 7][i] for i in index]
    np.testing.assert_array_equal(rows.tensors["video"].array, 5)


def test_arrays_come_back_as_rows():
    arrays = to_arrays(rows_of(5, 6), ENGINE)
    assert points_of(from_arrays(arrays, 2, SPECS, ENGINE)) == [5, 6]


def test_without_points_there_is_nothing_to_save():
    nobody = select(rows_of(5), np.array([], np.int64), SPECS, ENGINE)
    assert to_arrays(nobody, ENGINE) == {}
    assert from_arrays({}, 0, SPECS, ENGINE).count == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_arrays_of_another_number_of_points_are_refused(count):
    with pytest.raises(ValueError, match=f"but {count} points have"):
        from_arrays(to_arrays(rows_of(5, 6), ENGINE), count, SPECS, ENGINE)
