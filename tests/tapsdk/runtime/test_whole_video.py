"""The order in which points join on both ways through a video, told by a model that only takes notes."""

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from tapsdk.errors import FramesError
from tapsdk.points import parse_query_points
from tapsdk.runtime import journal, whole_video
from tapsdk.runtime.journal import Journal
from tapsdk.runtime.video_pass import Means
from tapsdk.runtime.whole_video import CausalRun
from tapsdk.tracks import RunReport, Tracks
from tapsdk.video.frames import frames_from_iterable

T, SIZE = 6, (10, 20)
VIDEO = np.broadcast_to(np.arange(T, dtype=np.uint8)[:, None, None, None], (T, *SIZE, 3))
"""A video whose frames say which they are."""

QUERIES = np.float32([[2, 1, 1], [0, 2, 2], [4, 3, 3], [2, 4, 4], [0, 5, 5]])


class NoteTaker:
    """A model and its stream: a point's x grows by 100 a frame, so that x tells the frame and y the point.

    at_once: points that are tracked together. stop: after so many frames that it is shown, Ctrl-C comes.
    """

    def __init__(self, join, at_once=99, stop=None):
        self.model, self.report = self, RunReport()
        self.at_once, self.stop = at_once, stop
        self.most = 0
        """Points that were tracked together."""
        self.manifest = SimpleNamespace(points=SimpleNamespace(join=join, query_frame="model"))
        self.steps = 0
        """Frames that it was shown."""
        self.joined = []
        """(frame, y of the point, delay) of every point that joined."""
        self.clear()

    def stream(self):
        return self

    def points_at_once(self, points, budget, frames):
        return min(points, self.at_once)

    def clear(self):
        self._points = np.zeros((0, 2), np.float32)

    def as_array(self, frame):
        return frame

    def save_state(self):
        return {"points": self._points}

    def restore_state(self, arrays, count):
        assert len(arrays["points"]) == count
        self._points = arrays["points"]

    def prepare(self, image):
        return np.full((1, 1, 1, 3), image[0, 0, 0], np.float32)

    def advance(self, frame, size, added, delay):
        assert size == SIZE
        if self.stop is not None:
            self.stop -= 1
            if self.stop < 0:
                raise KeyboardInterrupt
        self.steps += 1
        t = int(frame[0, 0, 0, 0])
        self.joined += [(t, int(y), int(d)) for (_, y), d in zip(added, delay, strict=True)]
        self._points = np.concatenate([self._points, added])
        xy = self._points + np.float32([100 * t, 0])
        count = len(xy)
        self.most = max(self.most, count)
        return Tracks(xy[:, None], np.ones((count, 1), bool), np.full((count, 1), t / T))


def started(model, queries=QUERIES, video=VIDEO):
    query = parse_query_points(queries, num_frames=T, frame_size=SIZE)
    return CausalRun(model, frames_from_iterable(video), query)


def run(join, queries=QUERIES, **options):
    model = NoteTaker(join, **options)
    return model, started(model, queries).run()


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


# Groups of points


@pytest.mark.parametrize("join", ["query", "start"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 5])
def test_points_in_groups_get_the_tracks_of_points_together(join, at_once):
    _, together = run(join)
    model, tracks = run(join, at_once=at_once)
    assert model.most <= at_once
    for name in ("xy", "visible", "confidence", "queries"):
        np.testing.assert_array_equal(getattr(tracks, name), getattr(together, name))


def test_frames_are_read_once_whatever_the_number_of_groups():
    read = []

    def frames():
        for t in range(T):
            read.append(t)
            yield VIDEO[t]

    tracks = started(NoteTaker("query", at_once=1), video=frames()).run()
    assert tracks.num_frames == T
    assert read == list(range(T))


def test_frames_for_other_groups_may_lie_on_disk(monkeypatch):
    _, together = run("query")
    monkeypatch.setattr(whole_video, "SPOOL_BYTES", 1)
    _, tracks = run("query", at_once=2)
    np.testing.assert_array_equal(tracks.xy, together.xy)


def test_every_group_has_a_bar_of_its_own():
    bars = []

    def note(frames, total, label):
        bars.append((label, total, 0))
        for frame in frames:
            bars[-1] = (label, total, bars[-1][2] + 1)
            yield frame

    started(NoteTaker("query", at_once=2)).run(note)
    assert bars == [
        ("tracking, points 1 to 2", T, T),
        ("tracking backwards, points 1 to 2", 3, 3),
        ("tracking, points 3 to 4", T, T),
        ("tracking backwards, points 3 to 4", 5, 5),
        ("tracking, points 5 to 5", T, T),
    ]


@pytest.mark.parametrize(
    "stop, done, begun",
    [(T, [], [0, 1]), (T + 3, [0, 1], []), (T + 3 + 5, [0, 1], [2, 3]), (2 * T + 3 + 5 + 2, [0, 1, 2, 3], [4])],
    ids=["way back", "before the second group", "in the second group", "in the last group"],
)
def test_an_interruption_leaves_the_groups_that_are_done_and_what_there_is_of_the_next(stop, done, begun):
    _, whole = run("query")
    run_ = started(NoteTaker("query", at_once=2, stop=stop))
    with pytest.raises(KeyboardInterrupt):
        run_.run()
    tracks = run_.tracks()
    assert tracks.num_frames == T
    np.testing.assert_array_equal(tracks.xy[done], whole.xy[done])
    assert tracks.visible[done].all()
    for point in begun:
        seen = tracks.visible[point]
        assert seen.any()
        np.testing.assert_array_equal(tracks.xy[point, seen], whole.xy[point, seen])
    for point in sorted({*range(5)} - {*done, *begun}):
        np.testing.assert_array_equal(tracks.xy[point], np.tile(QUERIES[point, 1:], (T, 1)))
        assert not tracks.visible[point].any()
        assert not tracks.confidence[point].any()


def test_an_interruption_while_frames_are_read_leaves_those_frames():
    run_ = started(NoteTaker("query", at_once=2, stop=3))
    with pytest.raises(KeyboardInterrupt):
        run_.run()
    tracks = run_.tracks()
    assert tracks.num_frames == 3
    assert tracks.visible.tolist() == [[False, False, True], [True] * 3, [False] * 3, [False] * 3, [False] * 3]


# Runs that were killed


@pytest.mark.parametrize("join", ["query", "start"])
@pytest.mark.parametrize("at_once", [2, 99])
def test_a_run_goes_on_where_another_was_stopped_and_does_nothing_twice(join, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SECONDS", -1)
    model, whole = run(join, at_once=at_once)
    query = parse_query_points(QUERIES, num_frames=T, frame_size=SIZE)
    steps = model.steps
    for stop in range(1, steps, 4):
        folder = tmp_path / str(stop)
        first, second = NoteTaker(join, at_once, stop), NoteTaker(join, at_once)
        with closing(Journal(folder, {})) as notes, pytest.raises(KeyboardInterrupt):
            CausalRun(first, frames_from_iterable(VIDEO), query, Means(journal=notes)).run()
        with closing(Journal(folder, {})) as notes:
            tracks = CausalRun(second, frames_from_iterable(VIDEO), query, Means(journal=notes)).run()
        for name in ("xy", "visible", "confidence"):
            np.testing.assert_array_equal(getattr(tracks, name), getattr(whole, name))
        assert second.steps == steps - stop
        assert tracks.report.frames_per_second is None


# Frames that end early


def broken(frames):
    """The frames up to one that cannot be read."""
    yield from VIDEO[:frames]
    raise FramesError("damaged")


@pytest.mark.parametrize("join", ["query", "start"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
@pytest.mark.parametrize("frames", [1, 3, 5])
def test_frames_that_could_be_read_are_tracked_for_every_group(join, at_once, frames):
    _, whole = run(join)
    run_ = started(NoteTaker(join, at_once), video=broken(frames))
    with pytest.raises(FramesError, match="damaged"):
        run_.run()
    tracks = run_.tracks()
    assert tracks.num_frames == frames
    reached = QUERIES[:, 0] < frames
    assert tracks.visible[reached].all()
    np.testing.assert_array_equal(tracks.xy[reached], whole.xy[reached, :frames])
    assert not tracks.visible[~reached].any()
    assert not tracks.confidence[~reached].any()
    np.testing.assert_array_equal(tracks.xy[~reached], np.repeat(QUERIES[~reached, None, 1:], frames, axis=1))


def test_the_way_back_begins_at_the_last_query_that_was_reached():
    model = NoteTaker("query", at_once=2)
    with pytest.raises(FramesError):
        started(model, video=broken(3)).run()
    back = [(t, y) for t, y, _ in model.joined]
    assert back == [(0, 2), (2, 1), (2, 1), (0, 2), (2, 4), (2, 4), (0, 5)]


@pytest.mark.parametrize("at_once", [1, 5])
def test_an_early_end_keeps_the_times_of_what_there_was(at_once):
    source = frames_from_iterable(broken(3)).at_rate(4)
    query = parse_query_points(QUERIES, num_frames=T, frame_size=SIZE)
    run_ = CausalRun(NoteTaker("query", at_once), source, query)
    with pytest.raises(FramesError, match="damaged"):
        run_.run()
    np.testing.assert_array_equal(run_.tracks().times, [0, 0.25, 0.5])
    assert run_.tracks().fps == 4
