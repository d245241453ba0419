"""The order in which points join on both ways through a video, told by a model that only takes notes."""

from types import SimpleNamespace

import numpy as np
import pytest

from tapsdk.points import parse_query_points
from tapsdk.runtime.whole_video import CausalRun
from tapsdk.tracks import RunReport, Tracks
from tapsdk.video.frames import frames_from_array

T, SIZE = 6, (10, 20)
VIDEO = np.broadcast_to(np.arange(T, dtype=np.uint8)[:, None, None, None], (T, *SIZE, 3))
"""A video whose frames say which they are."""

QUERIES = np.float32([[2, 1, 1], [0, 2, 2], [4, 3, 3], [2, 4, 4], [0, 5, 5]])


class NoteTaker:
    """A model and its stream: a point's x grows by 100 a frame, so that x tells the frame and y the point."""

    def __init__(self, join):
        self.model, self.report = self, RunReport()
        self.manifest = SimpleNamespace(points=SimpleNamespace(join=join))
        self.joined = []
        """(frame, y of the point, delay) of every point that joined."""
        self.clear()

    def stream(self):
        return self

    def check_room(self, points):
        pass

    def clear(self):
        self._points = np.zeros((0, 2), np.float32)

    def prepare(self, image):
        return np.full((1, 1, 1, 3), image[0, 0, 0], np.float32)

    def advance(self, frame, size, added, delay):
        assert size == SIZE
        t = int(frame[0, 0, 0, 0])
        self.joined += [(t, int(y), int(d)) for (_, y), d in zip(added, delay, strict=True)]
        self._points = np.concatenate([self._points, added])
        xy = self._points + np.float32([100 * t, 0])
        count = len(xy)
        return Tracks(xy[:, None], np.ones((count, 1), bool), np.full((count, 1), t / T))


def run(join, queries=QUERIES):
    model = NoteTaker(join)
    query = parse_query_points(queries, num_frames=T, frame_size=SIZE)
    return model, CausalRun(model, frames_from_array(VIDEO), query).run()


@pytest.mark.parametrize("join", ["query", "start"])
def test_every_frame_of_every_point_is_put_where_it_belongs(join):
    _, tracks = run(join)
    for point, (_, x, y) in enumerate(QUERIES):
        np.testing.assert_array_equal(tracks.xy[point, :, 0], x + 100 * np.arange(T))
        np.testing.assert_array_equal(tracks.xy[point, :, 1], y)
    np.testing.assert_allclose(tracks.confidence, np.tile(np.arange(T) / T, (len(QUERIES), 1)), rtol=1e-6)
    assert tracks.visible.all()
    np.testing.assert_array_equal(tracks.queries, QUERIES)


def test_points_join_in_the_frame_of_their_query():
    model, _ = run("query")
    forwards, backwards = model.joined[:5], model.joined[5:]
    assert forwards == [(0, 2, 0), (0, 5, 0), (2, 1, 0), (2, 4, 0), (4, 3, 0)]
    assert backwards == [(4, 3, 0), (2, 1, 0), (2, 4, 0), (0, 2, 0), (0, 5, 0)]


def test_or_all_at_the_start_with_a_delay():
    model, _ = run("start")
    forwards, backwards = model.joined[:5], model.joined[5:]
    assert forwards == [(0, 1, 2), (0, 2, 0), (0, 3, 4), (0, 4, 2), (0, 5, 0)]
    assert backwards == [(4, 1, 2), (4, 2, 4), (4, 3, 0), (4, 4, 2), (4, 5, 4)]


@pytest.mark.parametrize("join", ["query", "start"])
def test_queries_on_the_first_frame_need_no_way_back(join):
    model, tracks = run(join, [[0, 1, 1], [0, 2, 2]])
    assert len(model.joined) == 2
    assert tracks.visible.all()
