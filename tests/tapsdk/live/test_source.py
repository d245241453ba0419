"""Frames as they come: the newest first, and back again after they were lost."""

import threading
import time

import numpy as np
import pytest

from tapsdk.errors import FramesError
from tapsdk.live import source as live_source
from tapsdk.live.origin import Origin
from tapsdk.live.source import LiveSource
from tapsdk.video.frames import FrameSource
from tests.support import moving_texture
from tests.tapsdk.live.scenes import SECONDS, Camera, file_of


@pytest.fixture
def opened():
    """Opens sources, and closes them in the end."""
    sources = []

    def open(origin, **options):
        sources.append(LiveSource(origin, **options))
        sources[-1].start()
        return sources[-1]

    yield open
    for source in sources:
        source.close()


def until(holds):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def taken(source):
    """The next frame; news of the source are passed over."""
    deadline = time.monotonic() + SECONDS
    while (arrival := source.take(0.1)) is None:
        assert time.monotonic() < deadline
    return arrival


# Of a file


def taken_to_the_end(source):
    """The frames that a busy machine finds time for."""
    arrivals = []
    while source.state != "ended":
        arrival = source.take(0.1)
        arrivals += [arrival] if arrival else []
    return arrivals


def test_a_file_is_played_by_its_clock(opened, video):
    source = opened(file_of(video, fps=10))
    arrivals = taken_to_the_end(source)
    assert len(arrivals) + source.dropped == len(video)
    for arrival in arrivals:
        assert arrival.time == pytest.approx(arrival.number / 10)
        np.testing.assert_array_equal(arrival.picture, video[arrival.number])
    assert arrivals[-1].number == len(video) - 1
    assert arrivals[-1].at - arrivals[0].at >= 0.9 * (arrivals[-1].time - arrivals[0].time)
    assert source.reason == ""
    assert source.take(0.0) is None


def test_frames_that_nobody_takes_are_dropped_and_counted(opened, video):
    source = opened(file_of(video))
    until(lambda: source.dropped == len(video) - 1)
    arrival = source.take(SECONDS)
    assert arrival.number == len(video) - 1
    np.testing.assert_array_equal(arrival.picture, video[-1])


def test_a_file_that_is_paused_waits_and_goes_step_by_step(opened, video):
    source = opened(file_of(video), playing=False)
    assert source.take(SECONDS).number == 0  # its first frame is on show
    assert source.take(0.05) is None
    for number in (1, 2):
        source.step()
        assert source.take(SECONDS).number == number
        assert source.take(0.05) is None
    source.play()
    assert source.take(SECONDS).number >= 3
    source.pause()
    assert source.state in ("paused", "ended")


def test_a_file_starts_over_and_its_time_goes_on(opened, video):
    source = opened(file_of(video[:2], fps=50))
    arrivals = []
    for _ in range(3):
        arrivals += taken_to_the_end(source)
        source.play()
    assert len(arrivals) + source.dropped >= 6
    np.testing.assert_allclose([arrival.time for arrival in arrivals], [arrival.number / 50 for arrival in arrivals])


def test_a_file_that_is_cut_off_ends_with_the_reason(opened, video):
    def cut_off():
        yield from video[:2]
        raise FramesError("the file is cut off")

    source = opened(Origin("cut", lambda: FrameSource(cut_off()).at_rate(1000), live=False))
    until(lambda: source.dropped == 1)
    assert source.take(SECONDS).number == 1
    until(lambda: source.state == "ended")
    assert source.reason == "the file is cut off"


def test_what_cannot_be_opened_is_refused_at_once():
    camera = Camera()
    camera.broken.set()
    with pytest.raises(FramesError, match="unplugged"):
        LiveSource(camera.origin())


def test_a_file_without_frames_is_refused(video):
    with pytest.raises(FramesError, match="no frames"):
        LiveSource(file_of(video[:0]))


# Of a camera


def test_a_camera_cannot_be_paused(opened, video):
    camera = Camera()
    camera.show(video[0])
    source = opened(camera.origin(), playing=False)
    source.pause()
    assert source.state == "playing"
    assert source.take(SECONDS).number == 0


def test_a_camera_that_is_lost_is_opened_again(opened, video, monkeypatch):
    monkeypatch.setattr(live_source, "FIRST_WAIT", 0.02)
    camera = Camera()
    camera.show(video[0])
    source = opened(camera.origin())
    before = source.take(SECONDS)
    camera.broken.set()
    camera.show(OSError("the plug was pulled"))
    until(lambda: source.state == "lost")
    until(lambda: "unplugged" in source.reason)
    camera.broken.clear()
    camera.show(video[1])
    after = taken(source)
    assert (after.number, source.state, source.reason, camera.opened) == (1, "playing", "", 2)
    assert after.time > before.time
    np.testing.assert_array_equal(after.picture, video[1])


def test_a_stream_that_ends_is_lost_as_well(opened, video, monkeypatch):
    monkeypatch.setattr(live_source, "FIRST_WAIT", 0.02)
    source = opened(Origin("a stream", lambda: FrameSource(iter([video[0]])), live=True))
    assert [taken(source).number for _ in range(3)] == [0, 1, 2]


def test_what_comes_back_in_another_size_is_resized(opened, monkeypatch):
    monkeypatch.setattr(live_source, "FIRST_WAIT", 0.02)
    camera = Camera()
    camera.show(moving_texture(1, 48, 80)[0])
    source = opened(camera.origin())
    source.take(SECONDS)
    camera.show(OSError("lost"), np.full((96, 160, 3), 77, np.uint8))
    picture = taken(source).picture
    assert picture.shape == (48, 80, 3)
    assert abs(picture.astype(int) - 77).max() <= 2


def test_a_source_is_closed_while_it_waits(video):
    source = LiveSource(file_of(video, fps=0.01))
    source.start()
    source.take(SECONDS)
    threading.Timer(0.05, source.close).start()
    assert source.take(SECONDS) is None
