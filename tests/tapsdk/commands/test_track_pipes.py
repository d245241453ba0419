"""`tapsdk track` with a video that can be read once."""

import os
import subprocess
import sys
import tempfile
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from tapsdk.tracks import Tracks
from tests.support import child_environment, moving_texture, needs_full_device
from tests.tapsdk.commands.tracked import FUSED, UNEVEN, video_of
from tests.videos import write_video

# A video that can be read once


@pytest.fixture
def pipe(tmp_path_factory):
    """A named pipe with a video of 6 frames in it, for one reader."""
    folder = tmp_path_factory.mktemp("pipe")
    write_video(folder / "video.ts", moving_texture(), "mpeg2video", "yuv420p")
    os.mkfifo(folder / "pipe")
    data = (folder / "video.ts").read_bytes()
    feeder = threading.Thread(target=(folder / "pipe").write_bytes, args=[data], daemon=True)
    feeder.start()
    yield folder / "pipe"
    feeder.join(10)


@pytest.mark.parametrize("kept_bytes", [0, 3 * 48 * 80 * 3, 1 << 20])
def test_a_pipe_is_tracked_and_drawn_in_one_pass(run, pipe, tmp_path, monkeypatch, kept_bytes):
    monkeypatch.setattr("tapsdk.commands.track.KEPT_BYTES", kept_bytes)
    assert run(pipe, "--points", "0,40,20;3,5,6", "-o", "piped.mp4", "--save", "piped.npz") == 0
    assert run(pipe.with_name("video.ts"), "--points", "0,40,20;3,5,6", "-o", "file.mp4", "--save", "file.npz") == 0
    np.testing.assert_array_equal(Tracks.load("piped.npz").xy, Tracks.load("file.npz").xy)
    piped, file = (video_of(name)[0].astype(int) for name in ("piped.mp4", "file.mp4"))
    assert piped.shape == file.shape
    assert abs(piped - file).mean() < 4, "the same but for what the encoder loses"


@pytest.mark.parametrize("options", [[], ["--fps", "50"]], ids=str)
def test_what_is_drawn_of_a_pipe_keeps_times_and_the_shape_of_pixels(run, uneven, tmp_path, options):
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[uneven.read_bytes()], daemon=True)
    feeder.start()
    assert run("pipe", "--grid", "2", "-o", "out.mp4", "--save", "out.npz", *options) == 0
    feeder.join(10)
    times = np.arange(6) / 50 if options else UNEVEN
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        np.testing.assert_allclose([frame.time for frame in container.decode(video=0)], times, atol=1e-3)
    tracks = Tracks.load(tmp_path / "out.npz")
    np.testing.assert_allclose(tracks.times, times, atol=1e-3)
    assert tracks.fps == (50 if options else pytest.approx(5 / 7200.5))


def test_a_cut_off_video_is_drawn_with_the_times_of_what_there_was(run, cut_file, tmp_path):
    path, count = cut_file
    assert run(path, "--grid", "2", "--fps", "5", "-o", "out.mp4", "--save", "out.npz") == 3
    np.testing.assert_allclose(Tracks.load(tmp_path / "out.npz").times, np.arange(count) / 5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        np.testing.assert_allclose([frame.time for frame in container.decode(video=0)], np.arange(count) / 5)


@needs_full_device
def test_a_pipe_that_finds_no_room_to_be_kept_ends_early(run, pipe, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("tapsdk.commands.track.KEPT_BYTES", 3 * 48 * 80 * 3)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb"))  # noqa: SIM115
    assert run(pipe, "--grid", "1", "-o", "out.mp4", "--save", "out.npz", "--quiet") == 3
    assert "could not keep the frames of the video, which is read once, in" in capfd.readouterr().err
    assert Tracks.load(tmp_path / "out.npz").num_frames == 3
    assert len(video_of(tmp_path / "out.mp4")[0]) == 3


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="needs /dev/stdin")
def test_standard_input_is_drawn_too(model, tmp_path):
    write_video(tmp_path / "video.ts", moving_texture(), "mpeg2video", "yuv420p")
    arguments = ["/dev/stdin", "--grid", "2", "--model", str(model), "--backend", FUSED, "--quiet", "-o", "out.mp4"]
    done = subprocess.run(
        [sys.executable, "-m", "tapsdk", "track", *arguments],
        cwd=tmp_path,
        env=child_environment(),
        input=(tmp_path / "video.ts").read_bytes(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert len(video_of(tmp_path / "out.mp4")[0]) == 6
