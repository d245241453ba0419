"""`tapsdk track`: parts of videos, cameras, and what goes to standard output."""

import io
import subprocess
import sys

import av
import numpy as np
import pytest

from tapsdk import track
from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter, cameras, open_frames
from tests.support import child_environment, moving_texture

FUSED = "onnxruntime:fused"
QUIET = ("--quiet", "--grid", "2")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """6 frames, of which four are shown in a second."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = moving_texture()
    with VideoWriter(path, 4, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def shown(path):
    with open_frames(path) as source:
        return np.stack(list(source)).astype(int)


# Parts


@pytest.mark.parametrize("part", [["--start", "2", "--end", "5"], ["--start", "0.5s", "--end", "0:01.25"]], ids=str)
def test_a_part_is_tracked_as_if_it_were_the_video(run, model, film, tmp_path, part):
    assert run(film, "--points", "0,40,20;1,5,6", *part, "--save", "out.npz", "-o", "out.mp4", "--quiet") == 0
    saved, frames = Tracks.load(tmp_path / "out.npz"), shown(film)[2:5]
    expected = track(frames.astype(np.uint8), [[0, 40, 20], [1, 5, 6]], model, backend=FUSED)
    np.testing.assert_array_equal(saved.xy, expected.xy)
    np.testing.assert_allclose(saved.times, [0.5, 0.75, 1])
    drawn = shown(tmp_path / "out.mp4")
    assert abs(drawn - frames).mean() < 8, "these frames with some dots on them"


def test_a_part_of_what_can_be_read_once_is_drawn_too(run, film, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(film.read_bytes())))
    assert run("-", *QUIET, "--start", "2", "--end", "5", "--save", "out.npz", "-o", "out.mp4") == 0
    assert Tracks.load(tmp_path / "out.npz").num_frames == 3
    assert abs(shown(tmp_path / "out.mp4") - shown(film)[2:5]).mean() < 12


def test_frames_of_points_count_from_the_start(run, film, capfd):
    assert run(film, "--grid", "2", "--at", "3", "--start", "2", "--end", "5", "--save", "out.npz") == 3
    assert "points[0]: t = 3, but t must be in [0, 2]" in capfd.readouterr().err


@pytest.mark.parametrize(
    "part, complaint",
    [
        (["--start", "6"], "error: the video has 6 frames and ends before the start, frame 6\n"),
        (["--start", "3", "--end", "2"], "error: no frame is shown from frame 3 to before frame 2\n"),
        (["--start", "1", "--depth", "d"], "error: --depth goes with whole videos: leave --start and --end out\n"),
    ],
    ids=str,
)
def test_a_part_that_cannot_be(run, film, tmp_path, capfd, part, complaint):
    assert run(film, "--grid", "2", *part, "--save", "out.npz") == 1
    assert capfd.readouterr().err == complaint
    assert list(tmp_path.iterdir()) == []


def test_a_moment_that_is_none_is_not_understood(run, film, capfd):
    with pytest.raises(SystemExit) as caught:
        run(film, *QUIET, "--start", "2.5", "--save", "out.npz")
    assert caught.value.code == 2
    assert "argument --start: '2.5' is neither the number of a frame, from 0, nor a time" in capfd.readouterr().err


# Cameras


@pytest.fixture
def camera(monkeypatch):
    """Of FFmpeg's generated pictures: 64 x 48 pixels, 10 a second, without an end."""
    if "lavfi" not in av.formats_available:
        pytest.skip("this FFmpeg generates no pictures")
    monkeypatch.setitem(cameras.DRIVERS, sys.platform, ("lavfi", "testsrc=size=64x48:rate=10:duration={}00"))
    return "7"


def test_a_camera_runs_to_the_end_that_is_asked_for(run, camera, tmp_path):
    assert run(camera, *QUIET, "--end", "0.5s", "--save", "out.npz", "-o", "out.mp4") == 0
    assert Tracks.load(tmp_path / "out.npz").times.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert len(shown(tmp_path / "out.mp4")) == 5


def test_a_camera_runs_until_ctrl_c_and_all_is_saved_and_drawn(run, camera, tmp_path, monkeypatch, capfd):
    read = cameras.open_video

    def interrupted(*arguments, **options):
        source = read(*arguments, **options)
        frames = source._frames

        def until_ctrl_c():
            for _ in range(4):
                yield next(frames)
            raise KeyboardInterrupt

        source._frames = until_ctrl_c()
        return source

    monkeypatch.setattr(cameras, "open_video", interrupted)
    assert run(camera, *QUIET, "--save", "out.npz", "-o", "out.mp4") == 130
    assert capfd.readouterr().err == "stopped after 4 frames; saving what was tracked\n"
    assert Tracks.load(tmp_path / "out.npz").num_frames == 4
    assert len(shown(tmp_path / "out.mp4")) == 4


# Standard output


def piped(model, folder, *arguments, **streams):
    command = [sys.executable, "-m", "tapsdk", "track", *map(str, arguments), "--model", str(model), "--backend", FUSED]
    return subprocess.run(
        command, cwd=folder, env=child_environment(), timeout=120, check=False, stderr=subprocess.PIPE, **streams
    )


@pytest.mark.parametrize("to", ["a pipe", "a file"])
def test_a_dash_is_the_video_on_standard_output(model, film, tmp_path, to):
    if to == "a pipe":
        done = piped(model, tmp_path, film, "--grid", "2", "-o", "-", stdout=subprocess.PIPE)
        sent = done.stdout
    else:
        with open(tmp_path / "sent", "wb") as file:
            done = piped(model, tmp_path, film, "--grid", "2", "-o", "-", stdout=file)
        sent = (tmp_path / "sent").read_bytes()
    assert done.returncode == 0
    assert abs(shown(io.BytesIO(sent)) - shown(film)).mean() < 12
    assert done.stderr.startswith(b"4 points, 6 frames"), "what is for people goes elsewhere"


def test_a_dash_is_the_table_on_standard_output(run, film, tmp_path, capfdbinary):
    assert run(film, "--grid", "2", "--save", "-") == 0
    table = capfdbinary.readouterr().out
    (tmp_path / "table.csv").write_bytes(table)
    assert run(film, *QUIET, "--save", "out.npz") == 0
    np.testing.assert_array_equal(Tracks.load("table.csv").xy, Tracks.load("out.npz").xy)


def test_from_standard_input_to_standard_output(model, film, tmp_path):
    with open(film, "rb") as given:
        done = piped(model, tmp_path, "-", *QUIET, "-o", "-", stdin=given, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert shown(io.BytesIO(done.stdout)).shape == shown(film).shape
    assert list(tmp_path.iterdir()) == []


def test_both_outputs_cannot_go_to_standard_output(run, film, capfd):
    assert run(film, *QUIET, "-o", "-", "--save", "-") == 1
    assert "-o and --save cannot both go to standard output: give one of them a name" in capfd.readouterr().err


def test_a_video_is_nothing_for_a_terminal(run, film, capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(film, *QUIET, "-o", "-") == 1
    assert "a video is nothing for a terminal" in capfd.readouterr().err
