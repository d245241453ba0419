"""`tapsdk track`: whatever ends it early, what was tracked until then is kept, and said."""

import io
import itertools
import os
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from tapsdk import track
from tapsdk.errors import BackendError, SaveError
from tapsdk.points import grid_points
from tapsdk.runtime.stream import Stream
from tapsdk.system.leftovers import temporary_name
from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter, open_frames
from tests.support import child_environment, moving_texture, needs_full_device, needs_kill
from tests.tapsdk.commands.tracked import FUSED, files, video_of

# What ends early keeps what was tracked


def test_a_video_that_breaks_off_keeps_the_frames_before(run, cut_file, tmp_path, capfd):
    path, count = cut_file
    assert run(path, "--points", "0,40,20;2,5,6;19,9,9", "-o", "out.mp4", "--save", "out.npz") == 3
    out, err = capfd.readouterr()
    assert err.startswith(f"stopped after {count} frames: {path}: the video is damaged")
    assert err.endswith("; saving what was tracked\n")
    assert err.count("\n") == 1
    assert out.endswith("wrote out.mp4\nwrote out.npz\n")
    tracks = Tracks.load(tmp_path / "out.npz")
    assert tracks.xy.shape == (3, count, 2)
    assert tracks.confidence[1, :2].any(), "the way back was gone, too"
    np.testing.assert_array_equal(tracks.xy[2], [[9, 9]] * count)
    assert not tracks.visible[2].any()
    assert len(video_of(tmp_path / "out.mp4")[0]) == count


def fail_at(monkeypatch, frame, error):
    """Tracking raises `error` at a frame; a callable is called."""
    advance, calls = Stream.advance, []

    def advance_or_fail(*arguments):
        calls.append(1)
        if len(calls) == frame + 1:
            if not callable(error):
                raise error
            error()
        return advance(*arguments)

    monkeypatch.setattr(Stream, "advance", advance_or_fail)


@pytest.mark.parametrize(
    "error, reason",
    [
        (BackendError("the engine is gone"), "the engine is gone"),
        (SaveError("no room"), "no room"),
        (MemoryError(), "not enough memory; track fewer points at once, or at a smaller --resolution"),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
        (RuntimeError("a bug"), "a bug"),
    ],
    ids=str,
)
def test_any_error_in_the_middle_keeps_the_frames_before(run, video_file, tmp_path, capfd, monkeypatch, error, reason):
    fail_at(monkeypatch, 3, error)
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz", "--quiet") == 3
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"stopped after 3 frames: {reason}; saving what was tracked"
    assert Tracks.load(tmp_path / "out.npz").num_frames == 3
    assert len(video_of(tmp_path / "out.mp4")[0]) == 3
    assert files(tmp_path) == ["out.mp4", "out.npz"]


def test_a_video_that_cannot_be_read_again_is_drawn_as_far_as_it_can(run, video_file, tmp_path, capfd, monkeypatch):
    opened = []

    def open_less(path, fps=None):
        opened.append(path)
        if len(opened) == 1:
            return open_frames(path)
        return open_frames(itertools.chain(moving_texture(2), [np.zeros((9, 9, 3), np.uint8)]))

    monkeypatch.setattr("tapsdk.commands.track.open_frames", open_less)
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz") == 1
    assert capfd.readouterr().err.startswith("error: out.mp4 is not complete: frame 2 is 9 x 9 pixels")
    assert len(video_of(tmp_path / "out.mp4")[0]) == 2
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6


# Tracks that nobody asked to save are saved if they cannot be drawn


@pytest.fixture
def no_room(monkeypatch):
    """For the video, from its fourth frame on."""
    write, count = VideoWriter.write, itertools.count()

    def write_or_fail(writer, *arguments):
        if next(count) == 3:
            raise SaveError("could not write out.mp4: No space left on device")
        write(writer, *arguments)

    monkeypatch.setattr(VideoWriter, "write", write_or_fail)


def test_tracks_that_cannot_be_drawn_are_saved_beside(run, no_room, model, video_file, tmp_path, capfd):
    assert run(video_file, "--grid", "2", "-o", "out.mp4") == 1
    assert capfd.readouterr().err == (
        "error: could not write out.mp4: No space left on device\nthe tracks are saved as out.npz\n"
    )
    assert files(tmp_path) == ["out.npz"]
    expected = track(video_file, grid_points(2, (48, 80)), model, backend=FUSED)
    np.testing.assert_array_equal(Tracks.load("out.npz").xy, expected.xy)


def test_what_is_saved_beside_replaces_no_file(run, no_room, video_file, tmp_path, capfd):
    (tmp_path / "out.npz").write_bytes(b"mine")
    (tmp_path / "out-1.npz").symlink_to("nowhere")
    assert run(video_file, "--grid", "2", "-o", "out.mp4") == 1
    assert capfd.readouterr().err.endswith("the tracks are saved as out-2.npz\n")
    assert (tmp_path / "out.npz").read_bytes() == b"mine"
    assert files(tmp_path) == ["out-1.npz", "out-2.npz", "out.npz"]


def test_tracks_that_were_asked_for_are_saved_once(run, no_room, video_file, tmp_path, capfd):
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "other.npz") == 1
    assert "saved as" not in capfd.readouterr().err
    assert files(tmp_path) == ["other.npz"]


def test_what_a_run_that_ended_early_cannot_draw_is_saved_beside(run, cut_file, tmp_path, capfd, no_room):
    path, count = cut_file
    assert run(path, "--grid", "2", "-o", "out.mp4") == 1
    assert capfd.readouterr().err.endswith("the tracks are saved as out.npz\n")
    assert Tracks.load("out.npz").num_frames == count


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a bug"), KeyboardInterrupt()], ids=repr)
def test_whatever_ends_the_drawing_the_tracks_are_saved_beside(run, video_file, tmp_path, monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("tapsdk.video.draw.TrackPainter.draw", fail)
    with suppress(RuntimeError):
        assert run(video_file, "--grid", "2", "-o", "out.mp4") == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert files(tmp_path) == ["out.npz"]
    assert Tracks.load("out.npz").num_frames == 6


@needs_full_device
def test_beside_a_device_nothing_is_saved(run, video_file, tmp_path, capfd):
    assert run(video_file, "--grid", "2", "-o", "/dev/full") == 1
    assert "saved as" not in capfd.readouterr().err
    assert not os.path.exists("/dev/full.npz")


# Ctrl-C, SIGTERM and SIGHUP


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_what_was_tracked(model, tmp_path, name, status):
    frames = moving_texture(400, 16, 16)
    with VideoWriter(tmp_path / "long.mp4", 25, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    # Announces the third frame, and takes its time from there on: the signal meets it at work.
    script = """if True:
        import signal, sys, time
        from tapsdk.commands import main as cli
        from tapsdk.runtime.stream import Stream

        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        advance, count = Stream.advance, 0

        def slowly(*arguments):
            global count
            count += 1
            if count == 4:
                print("at work", flush=True)
            if count >= 4:
                time.sleep(0.1)
            return advance(*arguments)

        Stream.advance = slowly
        sys.exit(cli.main(sys.argv[1:]))
    """
    arguments = ["long.mp4", "--grid", "2", "--model", str(model), "--backend", FUSED, "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, "track", *arguments, "-o", "out.mp4", "--save", "out.npz"],
        cwd=tmp_path,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "at work\n", process.stderr.read()
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=120)
    assert process.returncode == status
    tracks = Tracks.load(tmp_path / "out.npz")
    assert 3 <= tracks.num_frames < 400
    assert err == f"stopped after {tracks.num_frames} frames; saving what was tracked\n"
    assert tracks.xy.shape == (4, tracks.num_frames, 2)
    assert len(video_of(tmp_path / "out.mp4")[0]) == tracks.num_frames
    assert files(tmp_path) == ["long.mp4", "out.mp4", "out.npz"]


@pytest.mark.parametrize("moment", ["tapsdk.api.choose", "tapsdk.runtime.stream.Stream.prepare"])
def test_ctrl_c_before_the_first_frame_leaves_nothing(run, video_file, tmp_path, capfd, monkeypatch, moment):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(moment, interrupt)
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz") == 130
    assert capfd.readouterr() == ("", "stopped\n")
    assert files(tmp_path) == []


def test_ctrl_c_while_drawing_keeps_the_tracks(run, video_file, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("tapsdk.video.draw.TrackPainter.draw", interrupt)
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz") == 130
    assert files(tmp_path) == ["out.npz"]
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6


def send(name):
    os.kill(os.getpid(), getattr(signal, name))


@needs_kill
def test_what_a_second_signal_meets_is_left_at_once(run, video_file, tmp_path, capfd, monkeypatch):
    fail_at(monkeypatch, 3, lambda: send("SIGTERM"))
    monkeypatch.setattr("tapsdk.video.draw.TrackPainter.draw", lambda *arguments: send("SIGTERM"))
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz") == 143
    assert capfd.readouterr().err == "stopped after 3 frames; saving what was tracked\nstopped\n"
    assert files(tmp_path) == ["out.npz"]


@needs_kill
def test_a_second_signal_waits_for_nothing_to_be_saved(run, video_file, tmp_path, monkeypatch):
    fail_at(monkeypatch, 3, lambda: send("SIGTERM"))
    monkeypatch.setattr("tapsdk.video.draw.TrackPainter.draw", lambda *arguments: send("SIGTERM"))
    assert run(video_file, "--grid", "2", "-o", "out.mp4") == 143
    assert files(tmp_path) == []


@needs_kill
def test_a_signal_while_the_tracks_are_saved_waits_for_them(run, video_file, tmp_path, monkeypatch):
    save = Tracks.save
    monkeypatch.setattr(Tracks, "save", lambda *arguments, **options: (send("SIGTERM"), save(*arguments, **options)))
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz") == 143
    assert files(tmp_path) == ["out.npz"]
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6


@needs_kill
def test_the_next_run_removes_what_a_killed_one_left(run, video_file, tmp_path):
    (tmp_path / temporary_name()).write_bytes(b"half a video")
    assert run(video_file, "--grid", "2", "--save", "out.npz", "--quiet") == 0
    assert files(tmp_path) == ["out.npz"]


@needs_kill
@pytest.mark.parametrize("moment", ["tracking", "saved", "drawing", "drawn"])
def test_whenever_a_run_is_killed_no_video_lies_beside_the_tracks_of_another(model, video_file, tmp_path, moment):
    """Both are of the run before, or both of this one; or there is one of the two."""
    (tmp_path / "out.mp4").write_bytes(b"older")
    (tmp_path / "out.npz").write_bytes(b"older")
    script = """if True:
        import os, signal, sys
        from tapsdk.commands import main as cli
        from tapsdk.runtime.stream import Stream
        from tapsdk.video.draw import TrackPainter

        def kill(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)

        replace, moment = os.replace, sys.argv.pop()
        if moment == "tracking":
            Stream.advance = kill
        if moment == "drawing":
            TrackPainter.draw = kill
        names = {"saved": "out.npz", "drawn": "out.mp4"}
        os.replace = lambda old, new: kill() if new.name == names.get(moment) else replace(old, new)
        sys.exit(cli.main(sys.argv[1:]))
    """
    arguments = [video_file, "--grid", "2", "--model", model, "--backend", FUSED, "-o", "out.mp4", "--save", "out.npz"]
    command = [sys.executable, "-c", script, "track", *map(str, arguments), "--quiet", moment]
    done = subprocess.run(command, cwd=tmp_path, env=child_environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    older = {name for name in ("out.mp4", "out.npz") if path_holds(tmp_path / name, b"older")}
    there = {name for name in ("out.mp4", "out.npz") if (tmp_path / name).exists()}
    expected = {"tracking": (2, 2), "saved": (1, 1), "drawing": (1, 0), "drawn": (1, 0)}
    assert (len(there), len(older)) == expected[moment]
    if moment.startswith("draw"):
        assert Tracks.load(tmp_path / "out.npz").num_frames == 6


def path_holds(path, content):
    return path.exists() and path.read_bytes() == content


@needs_kill
def test_nohup_outlives_a_hangup(run, video_file, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        fail_at(monkeypatch, 3, lambda: send("SIGHUP"))
        assert run(video_file, "--grid", "2", "--save", "out.npz", "--quiet") == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6


@needs_kill
def test_a_closed_terminal_hears_nothing_and_the_tracks_are_saved(run, video_file, tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    def hang_up():
        monkeypatch.setattr(sys, "stderr", Gone())
        send("SIGHUP")

    fail_at(monkeypatch, 3, hang_up)
    assert run(video_file, "--grid", "2", "--save", "out.npz", "--quiet") == 129
    assert Tracks.load(tmp_path / "out.npz").num_frames == 3
