"""What was tracked is kept, whatever comes and goes."""

import numpy as np
import pytest

from tapsdk.live import history as live_history
from tapsdk.live.history import History
from tapsdk.tracks import Tracks


def at(ids, x):
    """Points in one frame, all at (x, their id)."""
    xy = np.array([[x, id] for id in ids], np.float32).reshape(-1, 1, 2)
    return Tracks(xy, np.ones((len(ids), 1), bool), np.full((len(ids), 1), 0.75), ids=np.array(ids, np.int64))


@pytest.fixture(params=[1 << 20, 1], ids=["in memory", "on disk"])
def history(request, monkeypatch):
    monkeypatch.setattr(live_history, "MEMORY_BYTES", request.param)
    history = History(25.0, None)
    yield history
    history.close()


def fill(history, rows):
    for t, ids in enumerate(rows):
        row = history.begin(t / 10)
        new = [id for id in ids if not any(id in before for before in rows[:t])]
        history.ask(new, row, at(new, t).xy[:, 0])
        history.add(row, at(ids, t))


def test_points_that_come_and_go_are_rows_with_gaps(history):
    fill(history, [[], [0, 1], [1], [1, 5]])
    (tracks,) = history.tracks()
    assert (len(history), history.points) == (4, 3)
    assert tracks.ids.tolist() == [0, 1, 5]
    nan = np.nan
    np.testing.assert_array_equal(tracks.xy[..., 0], [[nan, 1, nan, nan], [nan, 1, 2, 3], [nan, nan, nan, 3]])
    np.testing.assert_array_equal(tracks.visible, np.isfinite(tracks.xy[..., 0]))
    np.testing.assert_array_equal(tracks.confidence, 0.75 * tracks.visible)
    np.testing.assert_array_equal(tracks.queries, [[1, 1, 0], [1, 1, 1], [3, 3, 5]])
    np.testing.assert_array_equal(tracks.times, [0, 0.1, 0.2, 0.3])
    assert tracks.fps == 25


def test_what_is_known_late_belongs_to_its_row(history):
    fill(history, [[0], [0], [0]])
    history.ask([1], 1, np.array([[1, 1]], np.float32))
    for row in (1, 2):
        history.add(row, at([1], row))
    (tracks,) = history.tracks()
    np.testing.assert_array_equal(tracks.xy[1, :, 0], [np.nan, 1, 2])


def test_a_part_knows_what_is_in_it_and_from_where(history):
    fill(history, [[0, 1], [0, 1], [1, 2], [1]])
    (tracks,) = history.tracks(1, 3)
    assert tracks.ids.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(tracks.queries, [[0, 1, 0], [0, 1, 1], [1, 2, 2]])
    np.testing.assert_array_equal(tracks.times, [0.1, 0.2])


def test_what_is_too_much_for_one_comes_in_parts(history, monkeypatch):
    monkeypatch.setattr(live_history, "MOST_CELLS", 6)
    fill(history, [[0, 1]] * 7)
    parts = list(history.tracks())
    assert [part.num_frames for part in parts] == [3, 3, 1]
    assert all(part.ids.tolist() == [0, 1] for part in parts)
    np.testing.assert_array_equal(np.concatenate([part.xy[0, :, 0] for part in parts]), np.arange(7))
    np.testing.assert_array_equal(np.concatenate([part.times for part in parts]), np.arange(7) / 10)


def test_nothing_was_tracked(history):
    (tracks,) = history.tracks()
    assert tracks.xy.shape == (0, 0, 2)
    history.begin(0.0)
    (tracks,) = history.tracks()
    assert tracks.xy.shape == (0, 1, 2)


def test_a_rate_that_nobody_says_is_that_of_the_times():
    history = History(None, None)
    for t in range(5):
        history.begin(t / 8)
    assert next(history.tracks()).fps == 8
    history.close()
