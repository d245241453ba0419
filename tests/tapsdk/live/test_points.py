"""Points may be meant for a frame that is over already."""

import numpy as np
import pytest

import tapsdk
from tapsdk.errors import PointsError
from tapsdk.live import points as live_points
from tapsdk.live.history import History
from tapsdk.live.points import LivePoints
from tapsdk.tracker import Tracker
from tests.support import EXACT, copy_artifact, moving_texture, random_points

FUSED = "onnxruntime:fused"


@pytest.fixture(scope="module")
def loaded(bundled):
    return tapsdk.load(bundled, backend=FUSED, threads=1)


@pytest.fixture
def history():
    history = History(25.0, None)
    yield history
    history.close()


def alone(model, video, start, points):
    """[N, T, 2] of points that begin in frame `start`."""
    tracker = Tracker(model)
    tracker.add(points)
    return np.concatenate([tracker.step(frame).xy for frame in video[start:]], axis=1)


def steps(points, video, first=0, last=None):
    for number in range(first, len(video) if last is None else last):
        points.step(video[number], number, number / 25)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_points_of_a_past_frame_are_tracked_from_there(loaded, history, video, number):
    points = LivePoints(loaded, history)
    first = points.add(random_points(3, video))
    steps(points, video, 0, 4)
    clicked = random_points(2, video, seed=1)
    ids = points.add(clicked, number)
    assert points.latest.ids.tolist() == first + ids
    steps(points, video, 4)
    (tracks,) = history.tracks()
    assert tracks.ids.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(tracks.xy[:3], alone(loaded, video, 0, random_points(3, video)), atol=EXACT)
    np.testing.assert_allclose(tracks.xy[3:, number:], alone(loaded, video, number, clicked), atol=EXACT)
    assert np.isnan(tracks.xy[3:, :number]).all()
    np.testing.assert_array_equal(tracks.queries[3:], np.insert(clicked, 0, number, axis=1))


def test_the_first_points_of_all_may_come_late(loaded, history, video):
    points = LivePoints(loaded, history)
    steps(points, video, 0, 3)
    points.add([[20.5, 30]], 1)
    steps(points, video, 3)
    (tracks,) = history.tracks()
    np.testing.assert_allclose(tracks.xy[:, 1:], alone(loaded, video, 1, [[20.5, 30]]), atol=EXACT)


def test_of_frames_that_are_long_over_the_oldest_one_stands_for_all(loaded, history, video, monkeypatch):
    monkeypatch.setattr(live_points, "KEPT_BYTES", 2 * video[0].nbytes)
    points = LivePoints(loaded, history)
    steps(points, video, 0, 4)
    points.add([[20.5, 30]], 0)
    (tracks,) = history.tracks()
    np.testing.assert_array_equal(np.isfinite(tracks.xy[0, :, 0]), [False, False, True, True])


def test_points_without_a_frame_are_in_the_newest(loaded, history, video):
    points = LivePoints(loaded, history)
    steps(points, video, 0, 2)
    points.add(np.array([[20.5, 30]], np.float32))
    np.testing.assert_array_equal(points.latest.xy[:, 0], [[20.5, 30]])
    assert points.latest.confidence[0, 0] == 1


def test_removed_points_are_gone_and_the_others_go_on(loaded, history, video):
    points = LivePoints(loaded, history)
    start = random_points(3, video)
    points.add(start)
    steps(points, video, 0, 3)
    assert points.remove([1, 77]) == [1]
    assert points.latest.ids.tolist() == [0, 2]
    steps(points, video, 3)
    (tracks,) = history.tracks()
    np.testing.assert_allclose(tracks.xy[[0, 2]], alone(loaded, video, 0, start[[0, 2]]), atol=EXACT)
    np.testing.assert_array_equal(np.isfinite(tracks.xy[1, :, 0]), [True] * 3 + [False] * 3)


@pytest.mark.parametrize("wrong", [[[81, 1]], [[np.nan, 1]], [[1, 2, 3]]])
def test_points_that_cannot_be_change_nothing(loaded, history, video, wrong):
    points = LivePoints(loaded, history)
    points.add(random_points(2, video))
    steps(points, video, 0, 2)
    before = points.latest
    with pytest.raises(PointsError):
        points.add(np.array(wrong, np.float32), 0)
    assert points.latest is before
    steps(points, video, 2, 3)
    assert points.ids == [0, 1]


def test_more_points_than_there_may_be(loaded, history, video, monkeypatch):
    monkeypatch.setattr(live_points, "MOST_POINTS", 3)
    points = LivePoints(loaded, history)
    points.add(random_points(2, video))
    with pytest.raises(PointsError, match="4 points are too many at once: 3 are the most"):
        points.add(random_points(2, video))


def test_points_that_see_each_other_begin_in_the_frame_that_comes(bundled, history, video, tmp_path):
    def see_each_other(table):
        table["points"]["independent"] = False

    other = tapsdk.load(copy_artifact(bundled, tmp_path / "model", see_each_other), backend=FUSED, threads=1)
    points = LivePoints(other, history)
    points.add(random_points(2, video))
    steps(points, video, 0, 4)
    ids = points.add(np.array([[20.5, 30]], np.float32), 1)
    assert points.latest.ids.tolist() == [0, 1, *ids]
    steps(points, video, 4)
    (tracks,) = history.tracks()
    found = alone(other, video[:4], 1, [[20.5, 30]])
    np.testing.assert_allclose(tracks.xy[2:, 1:4], found, atol=EXACT)
    np.testing.assert_allclose(tracks.xy[2:, 4], found[:, -1].clip(0, (80, 48)), atol=EXACT)


@pytest.mark.parametrize("backend", ["onnxruntime:fused", "onnxruntime:native"])
def test_with_the_bundled_model_late_points_follow_as_those_in_time(bundled, history, backend):
    """Which also follow the picture from frame to frame."""
    loaded = tapsdk.load(bundled, backend=backend, threads=1)
    video = moving_texture(7, 72, 104)
    points = LivePoints(loaded, history)
    points.add(random_points(2, video))
    steps(points, video, 0, 5)
    clicked = random_points(2, video, seed=1)
    points.add(clicked, 2)
    steps(points, video, 5)
    (tracks,) = history.tracks()
    np.testing.assert_allclose(tracks.xy[:2], alone(loaded, video, 0, random_points(2, video)), atol=EXACT)
    np.testing.assert_allclose(tracks.xy[2:, 2:], alone(loaded, video, 2, clicked), atol=EXACT)
