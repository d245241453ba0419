"""The command line: what a person types, and what they get to see when it goes wrong."""

import io
import os
import signal
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

import tapsdk
from tapsdk import track
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.commands import main as cli
from tapsdk.points import grid_points
from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter, open_frames
from tests.support import ROOT, copy_artifact, moving_texture, needs_full_device

FUSED = "onnxruntime:fused"


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    """`tapsdk track` with the small model in an empty folder; gives the exit status."""
    monkeypatch.chdir(tmp_path)

    def track_small(*arguments):
        return cli.main(["track", "--model", str(model), "--backend", FUSED, *map(str, arguments)])

    return track_small


def video_of(path):
    with open_frames(path) as source:
        return np.stack(list(source)), source.fps


def write_video(path, frames, codec, pix_fmt, **options):
    """By PyAV alone."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def files(folder):
    """Every name in a folder, temporary files included."""
    return sorted(path.name for path in folder.iterdir())


# tapsdk track


@pytest.mark.parametrize("suffix", ["npz", "csv", "json"])
def test_tracks_are_saved(run, model, video_file, tmp_path, suffix):
    assert run(video_file, "--grid", "2", "--save", f"out.{suffix}") == 0
    saved = Tracks.load(tmp_path / f"out.{suffix}")
    expected = track(video_file, grid_points(2, (48, 80)), model, backend=FUSED)
    np.testing.assert_array_equal(saved.xy, expected.xy)
    np.testing.assert_array_equal(saved.visible, expected.visible)
    np.testing.assert_array_equal(saved.confidence, expected.confidence)
    assert files(tmp_path) == [f"out.{suffix}"]


@pytest.mark.parametrize("text", ["x,y\n5,6\n40,20\n", "t,y,x\n0,6,5\n0,20,40\n", "5,6\n40,20\n"])
def test_points_may_come_from_a_file(run, model, video_file, tmp_path, text):
    (tmp_path / "points.csv").write_text(text)
    assert run(video_file, "--points-file", "points.csv", "--save", "out.npz") == 0
    expected = track(video_file, [[5, 6], [40, 20]], model, backend=FUSED)
    np.testing.assert_array_equal(Tracks.load(tmp_path / "out.npz").xy, expected.xy)


def test_a_file_of_points_that_is_none(run, video_file, tmp_path, capfd):
    assert run(video_file, "--points-file", "none.csv", "--save", "out.npz") == 1
    assert capfd.readouterr().err == "error: none.csv cannot be read: No such file or directory\n"
    assert files(tmp_path) == []


def test_device_and_threads_may_be_chosen(run, video_file, tmp_path, capfd):
    assert run(video_file, "--grid", "2", "--save", "out.npz", "--device", "cpu", "--threads", "1") == 0
    assert run(video_file, "--grid", "2", "--save", "other.npz", "--device", "npu:7") == 1
    assert "backend 'onnxruntime' has no device 'npu:7'" in capfd.readouterr().err
    assert files(tmp_path) == ["out.npz"]


def test_the_resolution_may_be_chosen(run, model, video_file, tmp_path):
    assert run(video_file, "--grid", "2", "--save", "out.npz", "--resolution", "128") == 0
    expected = track(video_file, grid_points(2, (48, 80)), model, backend=FUSED, resolution=128)
    np.testing.assert_array_equal(Tracks.load(tmp_path / "out.npz").xy, expected.xy)


def test_tracks_are_drawn(run, video_file, tmp_path):
    assert run(video_file, "--grid", "3", "-o", "out.mp4") == 0
    plain, fps = video_of(video_file)
    drawn, drawn_fps = video_of(tmp_path / "out.mp4")
    assert drawn.shape == plain.shape
    assert drawn_fps == fps == 25
    changed = np.abs(drawn.astype(int) - plain).max(-1) > 60
    assert (changed.mean((1, 2)) > 0.01).all()
    assert files(tmp_path) == ["out.mp4"]


UNEVEN = [0, 0.04, 0.08, 3600, 7200, 7200.5]


@pytest.fixture
def uneven(tmp_path):
    """A video whose frames and pixels are not even."""
    video = moving_texture()
    with VideoWriter(tmp_path / "uneven.mkv", 25, video.shape[1:3], pixel_aspect=Fraction(4, 3)) as writer:
        for frame, time in zip(video, UNEVEN, strict=True):
            writer.write(frame, time)
    return tmp_path / "uneven.mkv"


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_what_is_drawn_keeps_times_and_the_shape_of_pixels(run, uneven, tmp_path, name):
    assert run(uneven, "--grid", "2", "-o", name, "--save", "out.csv") == 0
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        np.testing.assert_allclose([frame.time for frame in container.decode(video=0)], UNEVEN, atol=1e-3)
    np.testing.assert_allclose(Tracks.load(tmp_path / "out.csv").times, UNEVEN, atol=1e-3)


def test_the_rate_may_be_given(run, uneven, tmp_path, capfd):
    assert run(uneven, "--grid", "2", "--fps", "50", "-o", "out.mp4", "--save", "out.npz") == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        np.testing.assert_allclose([frame.time for frame in container.decode(video=0)], np.arange(6) / 50)
    tracks = Tracks.load(tmp_path / "out.npz")
    assert tracks.fps == 50
    np.testing.assert_allclose(tracks.times, np.arange(6) / 50)
    assert run(uneven, "--grid", "2", "--fps", "0", "--save", "none.npz") == 1
    assert "fps must be a positive number of frames per second, got 0" in capfd.readouterr().err


def test_both_at_once_and_a_summary(run, video_file, tmp_path, capsys):
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz") == 0
    out, err = capsys.readouterr()
    assert out.startswith("4 points, 6 frames, ")
    assert "on onnxruntime" in out
    assert "fused plan" in out
    assert out.endswith("wrote out.mp4\nwrote out.npz\n")
    assert err == ""
    assert files(tmp_path) == ["out.mp4", "out.npz"]


def test_quiet_is_quiet(run, video_file, capfd):
    assert run(video_file, "--grid", "2", "--save", "out.npz", "--quiet") == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text, queries",
    [
        ("10,20", [[0, 10, 20]]),
        ("10,20;30.5,4e1", [[0, 10, 20], [0, 30.5, 40]]),
        (" 10, 20 ; 30,40 ;", [[0, 10, 20], [0, 30, 40]]),
        ("5,10,20;0,30,40", [[5, 10, 20], [0, 30, 40]]),
    ],
)
def test_points_by_hand(run, video_file, tmp_path, text, queries):
    assert run(video_file, "--points", text, "--save", "out.npz") == 0
    tracks = Tracks.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(tracks.queries, np.float32(queries))
    for point, (t, x, y) in enumerate(queries):
        np.testing.assert_array_equal(tracks.xy[point, t], np.float32([x, y]))


def test_a_folder_of_images_is_a_video(run, tmp_path):
    (tmp_path / "images").mkdir()
    write_video(tmp_path / "images" / "%d.png", moving_texture(3), "png", "rgb24")
    assert run("images", "--grid", "1", "--save", "out.npz") == 0
    assert Tracks.load(tmp_path / "out.npz").num_frames == 3


def test_a_file_that_is_there_is_replaced(run, video_file, tmp_path):
    for name in ("out.npz", "out.mp4"):
        (tmp_path / name).write_bytes(b"old")
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz") == 0
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6
    assert len(video_of(tmp_path / "out.mp4")[0]) == 6


def test_the_output_may_be_the_input(run, video_file, tmp_path):
    (tmp_path / "video.mp4").write_bytes(video_file.read_bytes())
    assert run("video.mp4", "--grid", "2", "-o", "video.mp4") == 0
    assert len(video_of(tmp_path / "video.mp4")[0]) == 6


def test_a_device_takes_what_it_gets(run, video_file):
    assert run(video_file, "--grid", "1", "-o", os.devnull, "--save", os.devnull) == 0


# What goes wrong: exit status 1, one line on stderr, and no file


@pytest.fixture
def videos(video_file, tmp_path_factory):
    """Files that are no videos, or not whole."""
    folder = tmp_path_factory.mktemp("broken")
    data = video_file.read_bytes()
    (folder / "truncated.mp4").write_bytes(data[: len(data) // 2])
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "folder").mkdir()
    write_video(folder / "cut.mp4", moving_texture(30), "mpeg4", "yuv420p", movflags="faststart")
    data = (folder / "cut.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    return folder


def assert_fails(status, capfd, folder, complaint):
    out, err = capfd.readouterr()
    assert status == 1
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert complaint in err
    assert files(folder) == []


@pytest.mark.parametrize(
    "which, complaint",
    [
        (["--points", "81,1"], "points[0]: x = 81, but x must be in [0, 80]"),
        (["--points=-1,1"], "points[0]: x = -1, but x must be in [0, 80]"),
        (["--points", "1,1;nan,1"], "points[1]: x = nan, but NaN"),
        (["--points", "inf,1"], "infinity"),
        (["--points", "6,1,1"], "points[0]: t = 6, but t must be in [0, 5]: the video has 6 frames"),
        (["--points", "1"], "must have shape"),
        (["--points", "1,2,3,4"], "must have shape [N, 3] or [N, 2]"),
        (["--points", "1,2;0,1,2"], "mixes x,y and t,x,y"),
        (["--points", "1;2"], "must have shape"),
        (["--points", "one,two"], "cannot be read; write x,y or t,x,y, separated by semicolons"),
        (["--points", "1,,2"], "cannot be read"),
        (["--points", ""], "--points holds no points"),
        (["--points", " ; "], "--points holds no points"),
        (["--grid", "0"], "a grid needs at least 1 point a side, got 0"),
        (["--grid", "-3"], "got -3"),
    ],
    ids=str,
)
def test_points_that_cannot_be(run, video_file, tmp_path, capfd, which, complaint):
    status = run(video_file, *which, "-o", "out.mp4", "--save", "out.npz")
    assert_fails(status, capfd, tmp_path, complaint)


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("missing.mp4", "no such file or folder"),
        ("truncated.mp4", "not a video, or damaged beyond reading"),
        ("cut.mp4", "the video is damaged"),
        ("text.mp4", "not a video, or damaged beyond reading"),
        ("empty.mp4", "not a video, or damaged beyond reading"),
        ("folder", "no images in this folder"),
    ],
)
def test_a_video_that_cannot_be_read(run, videos, tmp_path, capfd, name, complaint):
    status = run(videos / name, "--grid", "2", "-o", "out.mp4", "--save", "out.npz")
    assert_fails(status, capfd, tmp_path, complaint)


@pytest.mark.parametrize(
    "option, value, complaint",
    [
        ("--model", "tapir/huge", "unknown model 'tapir/huge': neither a directory nor one of tapir"),
        ("--model", "tapir/boots-causal", "tapsdk fetch tapir/boots-causal"),
        ("--model", ".", "is not an artifact"),
        ("--backend", "cuda", "unknown backend 'cuda'; use one of auto, onnxruntime"),
        ("--backend", "onnxruntime:quick", "unknown plan 'quick'"),
    ],
)
def test_an_unknown_model_or_backend(run, video_file, tmp_path, capfd, option, value, complaint):
    status = run(video_file, "--grid", "2", "-o", "out.mp4", "--save", "out.npz", option, value)
    assert_fails(status, capfd, tmp_path, complaint)


def test_a_damaged_artifact(run, model, video_file, tmp_path, tmp_path_factory, capfd):
    damaged = copy_artifact(model, tmp_path_factory.mktemp("damaged") / "artifact")
    (damaged / "step.onnx").unlink()
    status = run(video_file, "--grid", "2", "-o", "out.mp4", "--model", damaged)
    assert_fails(status, capfd, tmp_path, "lacks step.onnx; export or fetch the model again")


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be tracked before the output is known to be possible."""

    def fail(self, wrap):
        raise AssertionError("it began to track")

    monkeypatch.setattr("tapsdk.runtime.whole_video.CausalRun.run", fail)


@pytest.mark.parametrize(
    "output, complaint",
    [
        ([], "nothing to write: give -o OUT.mp4, --save OUT.npz, or both"),
        (["--save", "out.txt"], "could not write out.txt: the suffix must be one of .npz, .csv, .json"),
        (["--save", "out"], "the suffix must be one of"),
        (["--save", "missing/out.npz"], "could not write missing/out.npz: No such file or directory"),
        (["-o", "out.gif"], "could not write out.gif: the suffix must be one of .mp4, .mov, .mkv"),
        (["-o", "missing/out.mp4"], "could not write missing/out.mp4: No such file or directory"),
        (["-o", "out.mp4", "--save", "out.txt"], "could not write out.txt"),
    ],
    ids=str,
)
def test_an_output_that_cannot_be_shows_before_the_work(run, no_work, video_file, tmp_path, capfd, output, complaint):
    assert_fails(run(video_file, "--grid", "2", *output), capfd, tmp_path, complaint)


@needs_full_device
@pytest.mark.parametrize("output", [["-o", "/dev/full"], ["--save", "/dev/full"]], ids=str)
def test_a_full_disk(run, video_file, tmp_path, capfd, output):
    status = run(video_file, "--grid", "2", *output)
    assert_fails(status, capfd, tmp_path, "could not write /dev/full: No space left on device")


@needs_full_device
def test_what_was_saved_before_the_disk_was_full_stays(run, video_file, tmp_path):
    assert run(video_file, "--grid", "2", "--save", "out.npz", "-o", "/dev/full") == 1
    assert files(tmp_path) == ["out.npz"]
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6


def test_more_points_than_fit_into_memory(run, video_file, tmp_path, capfd, monkeypatch):
    def fail(self, wrap):
        raise MemoryError

    monkeypatch.setattr("tapsdk.runtime.whole_video.CausalRun.run", fail)
    status = run(video_file, "--grid", "2", "-o", "out.mp4")
    assert_fails(status, capfd, tmp_path, "not enough memory; track fewer points at once")


@pytest.mark.parametrize(
    "arguments", [[], ["track"], ["track", "v.mp4"], ["dance"], ["track", "v", "--grid", "x"]], ids=str
)
def test_a_command_that_is_not_understood_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: tapsdk")


# Ctrl-C


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_saves_what_was_tracked(model, tmp_path):
    frames = moving_texture(400, 16, 16)
    with VideoWriter(tmp_path / "long.mp4", 25, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    # Announces the third frame, and takes its time from there on: the signal meets it at work.
    script = """if True:
        import signal, sys, time
        from tapsdk.commands import main as cli
        from tapsdk.runtime.model import Stream

        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
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
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "at work\n", process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    tracks = Tracks.load(tmp_path / "out.npz")
    assert 3 <= tracks.num_frames < 400
    assert err == f"stopped after {tracks.num_frames} frames; saving what was tracked\n"
    assert tracks.xy.shape == (4, tracks.num_frames, 2)
    assert len(video_of(tmp_path / "out.mp4")[0]) == tracks.num_frames
    assert files(tmp_path) == ["long.mp4", "out.mp4", "out.npz"]


@pytest.mark.parametrize("moment", ["tapsdk.api.choose", "tapsdk.runtime.model.Stream.prepare"])
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


# tapsdk models


def test_models_lists_all_of_them_and_how_to_get_them(capsys):
    assert cli.main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines.keys() == {"tapir/tiny", *OFFICIAL}
    assert "bundled, also called tapir" in lines["tapir/tiny"]
    for name, official in OFFICIAL.items():
        assert official.licence in lines[name]
        assert (f"tapsdk export {name}" in lines[name]) == official.can_be_exported


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"tapsdk {tapsdk.__version__}\n"


# Where the output goes


def run_module(*arguments, **options):
    """`python -m tapsdk` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tapsdk", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


def test_it_runs_as_a_module():
    result = run_module("models", stdout=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, "")
    assert "tapir/tiny" in result.stdout


def test_a_reader_that_has_gone_is_not_an_error_worth_words():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed_pipe:
        result = run_module("models", stdout=closed_pipe)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_no_output_at_all():
    command = f"'{sys.executable}' -m tapsdk models >&-"
    result = subprocess.run(["sh", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@needs_full_device
def test_output_that_finds_no_room():
    with open("/dev/full", "w") as full:
        result = run_module("models", stdout=full)
    assert result.returncode == 1
    assert result.stderr == "error: [Errno 28] No space left on device\n"


def test_a_dash_is_standard_input(run, video_file, tmp_path, monkeypatch):
    sent = io.TextIOWrapper(io.BytesIO(video_file.read_bytes()))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", sent)
        assert run("-", "--grid", 2, "--save", "out.npz", "--quiet") == 0
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6
