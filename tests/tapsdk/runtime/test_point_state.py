"""What a model remembers: of every point by row, and of the video."""

import dataclasses

import numpy as np
import pytest

from tapsdk.artifact.manifest import TensorSpec
from tapsdk.errors import BackendError
from tapsdk.runtime.point_state import EMPTY, StateStore

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


@pytest.fixture(
    params=[{}, {"buckets": (2, 4, 16)}, {"block": 2}, {"rounded": True}],
    ids=["any number", "buckets", "blocks", "rounded"],
)
def store(request):
    return StateStore(SPECS, ENGINE, **request.param)


def state_of(store, *points):
    """Rows whose numbers say which point they are of; the video's say which point came first."""
    arrays = {
        "features": np.repeat(np.float32(points)[:, None], 3, 1),
        "memory": np.broadcast_to(np.float32(points)[None, :, None], (2, len(points), 4)).copy(),
        "video": np.full(5, points[0], np.float32),
    }
    return store.from_arrays(arrays, len(points))


def points_of(store, rows):
    """Which points the rows are of; every tensor must say the same, and have the rows that its block has."""
    points, capacity = [], store.capacity(rows.count)
    for block in rows.blocks:
        features, memory = block["features"].array, block["memory"].array
        assert features.shape == (capacity, 3)
        np.testing.assert_array_equal(memory, np.broadcast_to(features[None, :, :1], (2, capacity, 4)))
        points += features[:, 0].tolist()
    assert not any(points[rows.count :])
    assert len(points) - rows.count < max(1, capacity)
    return points[: rows.count]


@pytest.mark.parametrize("parts", [[[1, 2], [3]], [[1], [2], [3, 4]], [[1, 2], [3, 4, 5]], [[7]]])
def test_points_are_joined_in_order_and_share_the_first_ones_video(store, parts):
    rows = store.concatenate([state_of(store, *points) for points in parts])
    everybody = [point for points in parts for point in points]
    assert rows.count == len(everybody)
    assert points_of(store, rows) == everybody
    for block in rows.blocks:
        np.testing.assert_array_equal(block["video"].array, parts[0][0])


def test_points_that_were_saved_without_a_texture_are_not_doubted_and_leave_others_theirs(store):
    old, new = state_of(store, 1, 2), dataclasses.replace(state_of(store, 3), texture=np.float32([0.5]))
    assert store.concatenate([old, new]).texture.tolist() == [np.inf, np.inf, 0.5]
    assert store.concatenate([new, old]).texture.tolist() == [0.5, np.inf, np.inf]
    assert store.concatenate([old, old]).texture is None


def test_nobody_adds_nothing(store):
    assert points_of(store, store.concatenate([EMPTY, state_of(store, 4), EMPTY])) == [4]
    assert store.concatenate([EMPTY, EMPTY]) == EMPTY


@pytest.mark.parametrize("index", [[0], [2, 0], [1, 2, 0], []])
def test_points_are_selected_in_any_order_and_keep_the_video(store, index):
    rows = store.select(state_of(store, 5, 6, 7), np.array(index, np.int64))
    assert rows.count == len(index)
    assert points_of(store, rows) == [[5, 6, 7][i] for i in index]
    for block in rows.blocks:
        np.testing.assert_array_equal(block["video"].array, 5)


def test_arrays_come_back_as_rows_whatever_the_buckets(store):
    arrays = store.to_arrays(state_of(store, 5, 6, 7))
    assert {name: array.shape for name, array in arrays.items()} == {
        "features": (3, 3),
        "memory": (2, 3, 4),
        "video": (5,),
    }
    assert points_of(store, store.from_arrays(arrays, 3)) == [5, 6, 7]


def test_without_points_there_is_nothing_to_save(store):
    nobody = store.select(state_of(store, 5), np.array([], np.int64))
    assert store.to_arrays(nobody) == {}
    assert store.from_arrays({}, 0).count == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_arrays_of_another_number_of_points_are_refused(store, count):
    with pytest.raises(ValueError, match=f"but {count} points have"):
        store.from_arrays(store.to_arrays(state_of(store, 5, 6)), count)


@pytest.mark.parametrize("count, rows", [(1, 2), (2, 2), (3, 4), (16, 16)])
def test_the_smallest_bucket_that_fits(count, rows):
    assert StateStore(SPECS, ENGINE, (2, 4, 16)).capacity(count) == rows


def test_more_points_than_the_largest_bucket():
    with pytest.raises(BackendError, match="17 points are too many: this artifact takes 16 at most"):
        StateStore(SPECS, ENGINE, (2, 4, 16)).capacity(17)


@pytest.mark.parametrize("count, blocks", [(0, 0), (1, 1), (4, 1), (5, 2), (130, 33)])
def test_all_blocks_have_the_same_number_of_rows(count, blocks):
    store = StateStore(SPECS, ENGINE, block=4)
    rows = state_of(store, *range(1, count + 1)) if count else EMPTY
    assert [block["memory"].array.shape for block in rows.blocks] == [(2, 4, 4)] * blocks
    assert points_of(store, rows) == list(range(1, count + 1))


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_without_buckets_there_are_as_many_rows_as_points(count):
    assert StateStore(SPECS, ENGINE).capacity(count) == count


# The frame that rows have come through


def with_frame(store, *points):
    """Rows that have been through a frame full of ones."""
    rows = state_of(store, *points)
    return dataclasses.replace(rows, frame=np.ones((1, 4, 6, 3), np.float32), followed=rows.count)


def fresh(store, *points):
    return dataclasses.replace(state_of(store, *points), followed=0)


def test_rows_that_join_have_not_been_through_the_frame(store):
    rows = store.concatenate([with_frame(store, 1, 2), fresh(store, 3)])
    assert (rows.count, rows.followed, rows.frame.mean()) == (3, 2, 1)


def test_rows_that_join_nobody_have_been_through_none(store):
    rows = store.concatenate([EMPTY, fresh(store, 3)])
    assert (rows.count, rows.followed, rows.frame) == (1, 0, None)


def test_selected_rows_keep_the_frame_and_know_how_many_were_in_it(store):
    rows = store.select(store.concatenate([with_frame(store, 1, 2), fresh(store, 3)]), np.array([1, 2]))
    assert (rows.count, rows.followed, rows.frame.mean()) == (2, 1, 1)


def test_the_frame_is_saved_with_the_rows(store):
    arrays = store.to_arrays(with_frame(store, 1, 2))
    rows = store.from_arrays(arrays, 2)
    assert points_of(store, rows) == [1, 2]
    assert (rows.followed, rows.frame.mean()) == (2, 1)


@pytest.mark.parametrize(
    "frame", [np.ones((4, 6, 3), np.float32), np.ones((1, 4, 6, 3)), np.ones((2, 4, 6, 3), np.float32)]
)
def test_a_frame_that_is_none_is_not_restored(store, frame):
    arrays = store.to_arrays(state_of(store, 1)) | {"frame": frame}
    with pytest.raises(ValueError, match=r"frame float(32|64) \[.*\], not float32 \[1, H, W, 3\]"):
        store.from_arrays(arrays, 1)


@pytest.mark.parametrize("count, rows", [(0, 16), (1, 16), (16, 16), (17, 32), (1000, 1024), (1025, 2048)])
def test_numbers_of_rows_are_few_where_they_are_rounded(count, rows):
    assert StateStore((), ENGINE, rounded=True).capacity(count) == rows


def test_buckets_and_blocks_are_not_rounded():
    assert StateStore((), ENGINE, buckets=(3, 7), rounded=True).capacity(2) == 3
    assert StateStore((), ENGINE, block=5, rounded=True).capacity(2) == 5
