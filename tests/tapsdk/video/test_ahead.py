"""Frames that are read ahead: which, how far, in which thread, and how that ends."""

import threading
import time

import numpy as np
import pytest

from tapsdk.errors import FramesError
from tapsdk.video.ahead import AHEAD, as_it_is, read_ahead
from tapsdk.video.files import open_frames
from tapsdk.video.frames import FrameSource

COUNT = 12
VIDEO = np.broadcast_to(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (COUNT, 4, 6, 3))


class Origin:
    """Frames that are counted as they are taken. fails_at: the number of one that cannot be read."""

    def __init__(self, fails_at=None):
        self.taken, self.fails_at, self.threads = 0, fails_at, set()

    def __iter__(self):
        for t in range(COUNT):
            self.threads.add(threading.get_ident())
            if t == self.fails_at:
                raise FramesError("torn")
            self.taken += 1
            yield VIDEO[t]

    def source(self, **options):
        return FrameSource(iter(self), may_be_read_ahead=True, **options)


def readers():
    return [each for each in threading.enumerate() if each.name == "frames read ahead"]


def settled(origin):
    """How many frames were taken once no more are."""
    before = -1
    while before != origin.taken:
        before = origin.taken
        time.sleep(0.05)
    return before


def numbers(frames):
    return [int(frame[0, 0, 0]) for frame in frames]


@pytest.mark.parametrize("ahead", [True, False])
def test_frames_come_in_order_each_as_it_was_prepared(ahead):
    source = FrameSource(iter(VIDEO), may_be_read_ahead=ahead)
    with read_ahead(source, lambda frame: int(frame[0, 0, 0])) as found:
        assert list(found) == list(range(COUNT))
        assert list(found) == []


@pytest.mark.parametrize("asked", [0, 1, 3])
def test_they_are_read_so_far_ahead_and_no_further(asked):
    origin = Origin()
    with read_ahead(origin.source(), as_it_is) as frames:
        assert numbers(next(frames) for _ in range(asked)) == list(range(asked))
        assert settled(origin) == asked + AHEAD
    assert origin.taken <= asked + AHEAD + 1
    assert threading.get_ident() not in origin.threads


@pytest.mark.parametrize("fails_at", [0, 1, 5, COUNT - 1])
def test_an_error_comes_where_the_frame_would_have_come(fails_at):
    with read_ahead(Origin(fails_at).source(), as_it_is) as frames:
        for t in range(fails_at):
            assert next(frames)[0, 0, 0] == t
        with pytest.raises(FramesError, match="torn"):
            next(frames)
        assert list(frames) == []


def test_so_does_one_of_the_preparation():
    def prepare(frame):
        if frame[0, 0, 0] == 2:
            raise MemoryError
        return frame

    with read_ahead(Origin().source(), prepare) as frames:
        assert numbers([next(frames), next(frames)]) == [0, 1]
        with pytest.raises(MemoryError):
            next(frames)


@pytest.mark.parametrize("taken", [0, 1, 4, COUNT])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_no_thread_is_left_however_it_ends(taken, error):
    source = Origin().source()
    try:
        with read_ahead(source, as_it_is) as frames:
            for _ in range(taken):
                next(frames)
            if error:
                raise error
    except (KeyboardInterrupt, ValueError) as caught:
        assert type(caught) is error
    assert readers() == []
    source.close()


def generator():
    yield from VIDEO


# What may be read ahead


@pytest.mark.parametrize(
    "frames, ahead",
    [(VIDEO, True), (list(VIDEO), False), (generator(), False), (map(np.array, VIDEO), False)],
    ids=["array", "list", "generator", "map"],
)
def test_arrays_are_and_what_may_run_anything_is_not(frames, ahead):
    assert open_frames(frames).may_be_read_ahead is ahead


def test_files_are_and_open_files_are_not(video_file):
    with open_frames(video_file) as source:
        assert source.may_be_read_ahead
    with open_frames(video_file.read_bytes()) as source:
        assert source.may_be_read_ahead
    with open(video_file, "rb") as file, open_frames(file) as source:
        assert not source.may_be_read_ahead


def test_a_generator_is_taken_from_in_the_callers_thread_when_it_is_asked():
    origin = Origin()
    with read_ahead(open_frames(iter(origin)), as_it_is) as frames:
        for t in range(COUNT):
            assert origin.taken == t
            next(frames)
    assert origin.threads == {threading.get_ident()}
    assert readers() == []


def test_a_video_is_the_same_read_ahead(video_file):
    with open_frames(video_file) as source:
        expected = list(source)
    with open_frames(video_file) as source, read_ahead(source, as_it_is) as frames:
        np.testing.assert_array_equal(list(frames), expected)
        assert len(source.times) == len(expected)


def test_a_source_is_closed_only_when_no_frame_is_being_read():
    reading, go_on, log = threading.Event(), threading.Event(), []

    def frames():
        reading.set()
        go_on.wait(10)
        log.append("read")
        yield VIDEO[0]

    source = FrameSource(frames(), close=lambda: log.append("closed"), hurry=go_on.set)
    reader = threading.Thread(target=lambda: next(source))
    reader.start()
    reading.wait(10)
    source.close()
    reader.join()
    assert log == ["read", "closed"]
