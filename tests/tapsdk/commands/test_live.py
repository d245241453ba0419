"""`tapsdk live`: what a person or a robot starts, and what is left when it ends."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

import tapsdk
from tapsdk.commands import main as cli
from tapsdk.commands.track import STOPPED_EARLY
from tapsdk.points import grid_points
from tapsdk.tracker import Tracker
from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter, open_frames
from tests.support import EXACT, child_environment, moving_texture, needs_kill

FUSED = "onnxruntime:fused"
SLOW = pytest.mark.slow


@pytest.fixture
def run(bundled, tmp_path, monkeypatch):
    """`tapsdk live` in an empty folder; gives the exit status."""
    monkeypatch.chdir(tmp_path)

    def live(*arguments):
        return cli.main(["live", "--model", str(bundled), "--backend", FUSED, "--quiet", *map(str, arguments)])

    return live


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Of half a minute."""
    path = tmp_path_factory.mktemp("long") / "video.mp4"
    with VideoWriter(path, 10, (48, 80)) as writer:
        for frame in moving_texture(300):
            writer.write(frame)
    return path


@pytest.fixture
def start(bundled, tmp_path):
    """`tapsdk live` in a process of its own, in an empty folder; ends it in the end."""
    processes = []

    def live(*arguments, **options):
        command = [sys.executable, "-m", "tapsdk", "live", "--model", str(bundled), "--backend", FUSED, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=tmp_path, env=child_environment(), **pipes | options)
        processes.append(process)
        return process

    yield live
    for process in processes:
        process.kill()
        process.communicate()


def expected_at(lines, video_file, bundled, points):
    """[N, T, 2] of a tracker in the frames that lines are about."""
    tracker = Tracker(bundled, FUSED)
    tracker.add(points)
    with open_frames(video_file) as frames:
        pictures = list(frames)
    return np.concatenate([tracker.step(pictures[line["frame"]]).xy for line in lines], axis=1)


# Without a page


def test_each_frame_is_a_line_with_what_the_tracker_says(run, bundled, video_file, tmp_path, capfd):
    assert run(video_file, "--headless", "--grid", "2") == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [sorted(line) for line in lines] == [["confidence", "frame", "ids", "time", "visible", "xy"]] * len(lines)
    assert lines[0]["frame"] == 0
    expected = expected_at(lines, video_file, bundled, grid_points(2, (48, 80))[:, 1:])
    np.testing.assert_allclose([line["xy"] for line in lines], expected.swapaxes(0, 1), atol=0.005 + EXACT)
    np.testing.assert_allclose([line["time"] for line in lines], [line["frame"] / 25 for line in lines], atol=1e-3)
    assert {tuple(line["ids"]) for line in lines} == {(0, 1, 2, 3)}
    assert list(tmp_path.iterdir()) == []  # who reads the lines has everything


def test_tracks_are_saved_and_recorded_if_asked_for(run, video_file, tmp_path, capfd):
    assert run(video_file, "--headless", "--points", "10,10;20,20", "--save", "all.npz", "--record") == 0
    out, err = capfd.readouterr()
    tracks = Tracks.load("all.npz")
    assert tracks.xy.shape == (2, len(out.splitlines()), 2)
    np.testing.assert_array_equal(tracks.queries, [[0, 10, 10], [0, 20, 20]])
    assert f"saved all.npz: 2 points, {tracks.num_frames} frames" in err
    (recorded,) = tmp_path.glob("live-*.mp4")
    with open_frames(recorded) as frames:
        assert len(list(frames)) == tracks.num_frames
    np.testing.assert_array_equal(Tracks.load(recorded.with_suffix(".npz")).xy, tracks.xy)


@needs_kill
def test_a_reader_that_goes_away_ends_nothing_and_the_tracks_are_saved(start, video_file, tmp_path):
    process = start(str(video_file), "--headless", "--grid", "2")
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(60) == 0
    assert "nobody reads stdout any more" in error
    assert "Traceback" not in error
    (path,) = tmp_path.glob("live-*.npz")
    assert f"saved {path.name}: 4 points" in error
    assert len(Tracks.load(path)) == 4


@needs_kill
def test_a_reader_that_is_stuck_keeps_nobody_from_ending(start, long_video, tmp_path):
    process = start(str(long_video), "--headless", "--grid", "20", "--fps", "1000", stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    error = process.stderr.read()
    assert process.wait(60) == 143
    assert "Traceback" not in error


# With a page


@needs_kill
@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=SLOW), pytest.param("SIGHUP", marks=SLOW)])
def test_closing_the_terminal_saves_what_was_tracked(start, long_video, tmp_path, name):
    pytest.importorskip("aiohttp")
    process = start(str(long_video), "--port", "0", "--grid", "2", "--record", "--folder", str(tmp_path))
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    while not any(path.stat().st_size for path in tmp_path.glob(".tapsdk-*.tmp")):
        assert process.poll() is None
    process.send_signal(getattr(signal, name))
    error = process.stderr.read()
    assert process.wait(60) == 128 + getattr(signal, name)
    paths = sorted(path.name for path in tmp_path.iterdir())
    assert [path.split(".")[-1] for path in paths] == ["mp4", "npz", "npz"]
    assert all(f"saved {tmp_path / path}" in error for path in paths)
    assert len(Tracks.load(tmp_path / paths[-1])) == 4


def test_without_its_package_the_page_says_what_to_install(run, video_file, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert run(video_file) == 1
    assert capfd.readouterr().err == (
        "error: the page needs aiohttp: pip install 'tapsdk[live]'; --headless does without\n"
    )


def test_the_page_is_no_business_of_who_does_without_it(run, video_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert run(video_file, "--headless", "--grid", "1") == 0


# What cannot be


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["none.mp4", "--grid", "2"], "none.mp4: no such file or folder"),
        (["VIDEO"], "--headless has nobody who clicks: give --grid N"),
        (["VIDEO", "--points", "3,10,10"], "points of a live source begin in its first frame"),
        (["VIDEO", "--points", "100,10"], "x must be in [0, 80]"),
        (["VIDEO", "--grid", "2", "--save", "x.mp4"], "the suffix must be one of"),
        (["VIDEO", "--grid", "2", "--record", "--folder", "none"], "could not write none/live-"),
        (["VIDEO", "--grid", "2", "--model", "nobody"], "nobody"),
        (["999", "--grid", "2"], "camera 999"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_said_before_any_work(run, video_file, tmp_path, capfd, arguments, complaint):
    given = [str(video_file) if argument == "VIDEO" else argument for argument in arguments]
    assert run("--headless", *given) == 1
    out, err = capfd.readouterr()
    assert (out, err.startswith("error: "), err.count("\n")) == ("", True, 1)
    assert complaint in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [["--size", "big"], ["--size", "0x4"], ["--port", "-1"], ["--port", "70000"], []])
def test_a_command_that_is_not_understood(run, wrong):
    with pytest.raises(SystemExit) as caught:
        run(*(["0", *wrong] if wrong else []))
    assert caught.value.code == 2


def test_an_engine_that_fails_leaves_what_was_tracked(run, video_file, tmp_path, monkeypatch, capfd):
    def fail_at_the_third(self, picture):
        fail_at_the_third.count += 1
        if fail_at_the_third.count == 3:
            raise tapsdk.errors.BackendError("the engine broke")
        return step(self, picture)

    step, fail_at_the_third.count = Tracker.step, 0
    monkeypatch.setattr(Tracker, "step", fail_at_the_third)
    assert run(video_file, "--headless", "--fps", "5", "--grid", "2", "--save", "out.npz") == STOPPED_EARLY
    assert "stopped after 2 frames: the engine broke; saving what was tracked" in capfd.readouterr().err
    assert Tracks.load("out.npz").num_frames == 2
