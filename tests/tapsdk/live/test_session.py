"""A session: frames in, points as they are asked for, and recordings of both."""

import av
import numpy as np
import pytest

import tapsdk
from tapsdk.errors import SaveError
from tapsdk.live import source as live_source
from tapsdk.live.recording import Names
from tapsdk.live.session import Session
from tapsdk.live.source import LiveSource
from tapsdk.tracker import Tracker
from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter, open_frames
from tests.support import EXACT, moving_texture, random_points
from tests.tapsdk.live.scenes import Camera, file_of, watched


@pytest.fixture(scope="module")
def loaded(bundled):
    return tapsdk.load(bundled, backend="onnxruntime:fused", threads=1)


@pytest.fixture
def on_file(loaded, video, tmp_path):
    """A session on the video, which stands at its first frame."""
    with watched(file_of(video), loaded, tmp_path) as session:
        session.first = session.frame()
        yield session


def test_it_begins_with_the_first_frame_and_waits(on_file, video):
    first = on_file.first
    assert (first.number, len(first.tracks), first.status["state"]) == (0, 0, "paused")
    assert first.status["size"] == [80, 48]
    np.testing.assert_array_equal(first.picture, video[0])


def test_a_point_shows_at_once_where_it_was_clicked_and_goes_on(on_file, loaded, video):
    on_file.send("add", [[20.5, 30]], frame=0)
    shown = on_file.next()
    assert not shown.fresh
    np.testing.assert_array_equal(shown.tracks.xy[:, 0], [[20.5, 30]])
    tracker = Tracker(loaded)
    tracker.add([[20.5, 30]])
    tracker.step(video[0])
    for frame in video[1:]:
        moment, expected = on_file.step(), tracker.step(frame)
        np.testing.assert_allclose(moment.tracks.xy, expected.xy, atol=EXACT)
        np.testing.assert_array_equal(moment.tracks.visible, expected.visible)
        assert moment.tracks.ids.tolist() == [0]


def test_the_last_points_are_taken_back_first(on_file):
    on_file.send("add", [[10, 10], [20, 20]])
    on_file.send("add", [[30, 30]])
    on_file.send("remove", ids=[0])
    for left in ([1], []):
        on_file.send("undo")
        while on_file.next().tracks.ids.tolist() != left:
            pass
    on_file.send("undo")
    assert on_file.next().status["note"] == "there is nothing to undo"


def test_all_points_are_cleared(on_file):
    on_file.send("add", [[10, 10], [20, 20]])
    assert len(on_file.next().tracks) == 2
    on_file.send("clear")
    assert len(on_file.next().tracks) == 0
    on_file.send("add", [[10, 10]])
    assert on_file.next().tracks.ids.tolist() == [2]


def test_what_cannot_be_done_is_said_and_nothing_ends(on_file):
    on_file.send("add", [[10, 10]])
    on_file.next()
    on_file.send("add", [[500, 10]])
    assert "x must be in [0, 80]" in on_file.next().status["note"]
    assert on_file.step().tracks.ids.tolist() == [0]


def test_nothing_is_told_where_nothing_happened(on_file):
    on_file.send("remove", ids=[5])
    on_file.send("pause")
    on_file.send("add", [[10, 10]])
    assert on_file.next().tracks.ids.tolist() == [0]


def test_a_recording_is_a_video_and_the_tracks_in_its_frames(on_file, video, tmp_path):
    on_file.send("add", [[20, 30]])
    on_file.step()
    on_file.send("record")
    seen = [on_file.step() for _ in range(3)]
    assert seen[-1].status["recording"]["frames"] == 3
    on_file.send("stop")
    while not (note := on_file.next().status["note"]):
        pass
    on_file.step()
    (path,) = tmp_path.glob("live-*-1.mp4")
    assert note == f"saved {path.name} and {path.stem}.npz"
    with open_frames(path) as frames:
        recorded = np.stack(list(frames))
    assert recorded.shape == (3, 48, 80, 3)
    apart = np.abs(recorded[:, None].astype(int) - video).mean((2, 3, 4))
    assert apart.argmin(axis=1).tolist() == [2, 3, 4]
    tracks = Tracks.load(path.with_suffix(".npz"))
    np.testing.assert_array_equal(tracks.xy, np.concatenate([moment.tracks.xy for moment in seen], axis=1))
    assert tracks.num_frames == 3


def test_a_recording_that_goes_on_in_the_end_is_finished(loaded, video, tmp_path):
    with watched(file_of(video), loaded, tmp_path) as session:
        session.send("record")
        session.frame()
        session.send("add", random_points(2, video).tolist())
        session.step()
    assert [path.suffix for path in session.session.saved] == [".mp4", ".npz"]
    with av.open(str(session.session.saved[0])) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 1


def test_a_recording_of_nothing_leaves_nothing(on_file, tmp_path):
    on_file.send("record")
    on_file.send("stop")
    while on_file.next().status["note"] != "nothing was recorded":
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fitting", [0, 2])
def test_a_recording_that_finds_no_room_ends_and_tracking_goes_on(on_file, tmp_path, monkeypatch, fitting):
    def full(self, picture, time):
        if full.left == 0:
            raise SaveError("could not write it: no space left")
        full.left -= 1

    full.left = fitting
    on_file.send("add", [[20, 30]])
    monkeypatch.setattr(VideoWriter, "write", full)
    on_file.send("record")
    for _ in range(fitting + 1):
        moment = on_file.step()
    assert "no space left" in moment.status["note"]
    assert moment.status["recording"] is None
    assert len(on_file.step().tracks) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"] * bool(fitting)
    for path in tmp_path.iterdir():
        assert path.name in moment.status["note"]
        assert Tracks.load(path).num_frames == fitting


def test_losing_the_camera_loses_no_track(loaded, video, tmp_path, monkeypatch):
    monkeypatch.setattr(live_source, "FIRST_WAIT", 0.02)
    camera = Camera()
    camera.show(video[0])
    with watched(camera.origin(), loaded, tmp_path) as session:
        session.frame()
        session.send("add", [[20, 30]])
        session.send("record")
        while session.next().status["recording"] is None:
            pass
        camera.show(video[1])
        session.frame()
        camera.show(OSError("the plug was pulled"))
        while (status := session.next().status)["state"] != "lost":
            pass
        assert status["reason"] == "the plug was pulled"
        camera.show(video[2])
        moment = session.frame()
        assert (moment.number, moment.status["state"], moment.tracks.ids.tolist()) == (2, "playing", [0])
    (tracks,) = [Tracks.load(path) for path in session.session.saved if path.suffix == ".npz"]
    tracker = Tracker(loaded)
    tracker.add([[20, 30]])
    expected = np.concatenate([tracker.step(frame).xy for frame in video[:3]], axis=1)
    np.testing.assert_allclose(tracks.xy, expected[:, 1:], atol=EXACT)


def test_the_speed_and_what_was_dropped_are_told(loaded, tmp_path):
    video = moving_texture(40)
    with watched(file_of(video, fps=2000), loaded, tmp_path, playing=True) as session:
        while (status := session.next().status)["state"] != "ended":
            pass
    assert status["dropped"] + status["frames"] == 40
    assert 0 < status["latency"][0] <= status["latency"][1]
    assert status["runs_on"].startswith(loaded.name)


def test_a_file_that_is_to_be_seen_once_ends_the_session(loaded, video, tmp_path):
    session = Session(LiveSource(file_of(video, fps=50)), loaded, Names(tmp_path), once=True)
    session.start(random_points(3, video))
    session.wait()
    session.stop()
    (tracks,) = session.history.tracks()
    assert session.error is None
    assert tracks.ids.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(tracks.queries[:, 1:], random_points(3, video))
    session.history.close()


def test_what_ends_it_is_kept_with_what_was_tracked(loaded, video, tmp_path, monkeypatch):
    def fail_at_the_third(self, picture):
        if fail_at_the_third.left == 0:
            raise RuntimeError("the engine broke")
        fail_at_the_third.left -= 1
        return step(self, picture)

    step, fail_at_the_third.left = Tracker.step, 2
    monkeypatch.setattr(Tracker, "step", fail_at_the_third)
    session = Session(LiveSource(file_of(video, fps=4)), loaded, Names(tmp_path), once=True)
    session.start(random_points(1, video))
    session.wait()
    session.stop()
    assert str(session.error) == "the engine broke"
    assert next(session.history.tracks()).num_frames == 2
    session.history.close()


def test_names_are_not_used_twice(tmp_path):
    first = Names(tmp_path)
    first.tracks.touch()
    second = Names(tmp_path)
    assert second.tracks != first.tracks
    assert len({first.recording(), first.recording(), second.recording()}) == 3
