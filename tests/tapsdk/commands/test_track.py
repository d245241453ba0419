"""`tapsdk track`: what a person types, what they get, and what they get to see when it goes wrong."""

import io
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from tapsdk import track
from tapsdk.commands.track import STOPPED_EARLY
from tapsdk.points import grid_points, random_points
from tapsdk.tracks import Tracks
from tapsdk.video import open_frames
from tapsdk.video.rainbow import draw_rainbow
from tests.support import child_environment, copy_artifact, moving_texture, needs_full_device
from tests.tapsdk.commands.tracked import FUSED, UNEVEN, files, video_of
from tests.videos import write_video

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


def test_points_may_be_random(run, model, video_file, tmp_path):
    assert run(video_file, "--random", "5", "--seed", "3", "--save", "out.npz") == 0
    expected = track(video_file, random_points(5, (48, 80), seed=3), model, backend=FUSED)
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
    changed = np.abs(drawn.astype(int) - plain).max(-1) > 40
    assert (changed.mean((1, 2)) > 0.004).all()
    assert files(tmp_path) == ["out.mp4"]


def test_the_rainbow_is_another_way_to_draw(run, video_file, tmp_path, capfd):
    assert run(video_file, "--grid", "6", "-o", "out.mp4", "--save", "out.npz", "--rainbow", "--trail", "3") == 0
    plain, drawn = (video_of(path)[0].astype(int) for path in (video_file, "out.mp4"))
    expected = np.stack(list(draw_rainbow(plain.astype(np.uint8), Tracks.load("out.npz"), trail=3))).astype(int)
    assert np.abs(drawn - expected).mean() < 0.8 * np.abs(drawn - plain).mean(), "but for what the encoder loses"


@pytest.mark.parametrize("option", [["--rainbow"], ["--hide-lost"], ["--colors", "position"]], ids=lambda o: o[0])
def test_a_way_to_draw_that_nobody_draws_is_refused(run, video_file, option, capfd):
    assert run(video_file, "--grid", "2", "--save", "out.npz", *option) == 1
    assert capfd.readouterr().err == f"error: {option[0]} is a way to draw: give -o OUT.mp4, too\n"


def test_a_rainbow_has_colours_of_its_own(run, video_file, capfd):
    assert run(video_file, "--grid", "2", "-o", "out.mp4", "--rainbow", "--colors", "position") == 1
    assert "--rainbow has colours of its own: leave --colors out" in capfd.readouterr().err


def test_colours_by_position_are_those_of_a_grid(run, video_file, tmp_path):
    def pixels(*options):
        assert run(video_file, "--grid", "6", "-o", "out.mp4", "--quiet", *options) == 0
        with open_frames(tmp_path / "out.mp4") as frames:
            return next(frames)

    by_default = pixels()
    np.testing.assert_array_equal(by_default, pixels("--colors", "position"))
    assert (by_default != pixels("--colors", "distinct")).any()


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
        (["--random", "0"], "give at least 1 random point, got 0"),
        (["--random", "4", "--seed", "-1"], "a seed must be 0 or more, got -1"),
    ],
    ids=str,
)
def test_points_that_cannot_be(run, video_file, tmp_path, capfd, which, complaint):
    status = run(video_file, *which, "-o", "out.mp4", "--save", "out.npz")
    assert_fails(status, capfd, tmp_path, complaint)


def test_a_query_beyond_the_end_is_told_there_and_the_others_are_kept(run, video_file, tmp_path, capfd):
    """What a video declares of its length is no bound: only the end shows that it is too short."""
    assert run(video_file, "--points", "6,1,1;0,9,9", "--save", "out.npz") == STOPPED_EARLY
    assert "points[0]: t = 6, but t must be in [0, 5]: the video has 6 frames" in capfd.readouterr().err
    assert Tracks.load(tmp_path / "out.npz").visible[1].any()


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("missing.mp4", "no such file or folder"),
        ("truncated.mp4", "not a video, or damaged beyond reading"),
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
        (["-o", "out.avi"], "could not write out.avi: the suffix must be one of .mp4, .mov, .mkv"),
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
def test_a_full_disk_for_the_tracks_still_leaves_the_video(run, video_file, tmp_path, capfd):
    assert run(video_file, "--grid", "2", "--save", "/dev/full", "-o", "out.mp4") == 1
    assert capfd.readouterr() == ("", "error: could not write /dev/full: No space left on device\n")
    assert files(tmp_path) == ["out.mp4"]
    assert len(video_of(tmp_path / "out.mp4")[0]) == 6


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


# No output replaces an input


@pytest.fixture
def untouched(tmp_path, video_file, model):
    """Inputs in the empty folder: "in.mp4", the points "in.json", "images" and "model". None may change."""
    (tmp_path / "in.mp4").write_bytes(video_file.read_bytes())
    (tmp_path / "in.json").write_text("[[5, 6], [40, 20]]")
    (tmp_path / "images").mkdir()
    write_video(tmp_path / "images" / "%d.png", moving_texture(3), "png", "rgb24")
    copy_artifact(model, tmp_path / "model")
    inputs = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in inputs}
    yield
    assert {path: path.read_bytes() for path in inputs} == before


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize(
    "taken, output",
    [("in.mp4", "-o=a.mp4"), ("in.mp4", "--save=a.npz"), ("in.json", "--save=a.json"), ("model/step.onnx", "-o=a.mov")],
    ids=str,
)
def test_an_input_by_another_name_is_refused(untouched, run, no_work, tmp_path, capfd, taken, output, link):
    option, name = output.split("=")
    link(tmp_path / taken, tmp_path / name)
    before = files(tmp_path)
    assert run("in.mp4", "--points-file", "in.json", "--model", "model", option, name) == 1
    err = capfd.readouterr().err
    assert err.startswith(f"error: could not write {name}: it would replace an input, ")
    assert err.endswith(f"{taken}; choose another name\n")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "output",
    [
        ["-o", "in.mp4"],
        ["-o", "./in.mp4"],
        ["-o", "images/../in.mp4"],
        ["--save", "in.json"],
        ["--save", "model/manifest.json"],
        ["--save", "out.npz", "-o", "in.mp4"],
    ],
    ids=str,
)
def test_an_input_is_refused(untouched, run, no_work, tmp_path, capfd, output):
    before = files(tmp_path)
    assert run("in.mp4", "--points-file", "in.json", "--model", "model", *output) == 1
    assert "it would replace an input" in capfd.readouterr().err
    assert files(tmp_path) == before


def test_an_image_that_is_read_is_refused_and_a_new_file_beside_it_is_not(untouched, run, tmp_path, capfd):
    os.link(tmp_path / "images" / "1.png", tmp_path / "images" / "out.npz")
    assert run("images", "--grid", "1", "--save", "images/out.npz") == 1
    assert "it would replace an input, images" in capfd.readouterr().err
    for _ in range(2):  # also when what the first run wrote is there
        assert run("images", "--grid", "1", "-o", "images/out.mp4", "--save", "images/out.json") == 0


def test_one_file_cannot_be_both_outputs(run, no_work, video_file, tmp_path, capfd):
    (tmp_path / "out.npz").symlink_to("out.mp4")
    assert run(video_file, "--grid", "1", "-o", "out.mp4", "--save", "out.npz") == 1
    assert "could not write out.npz: it would replace an input, out.mp4" in capfd.readouterr().err


def test_a_pipe_cannot_be_both_ends(run, tmp_path, capfd):
    os.mkfifo(tmp_path / "pipe")
    assert run("pipe", "--grid", "1", "-o", "pipe") == 1
    assert "could not write pipe: it would replace an input" in capfd.readouterr().err


# Narrow encodings


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_names_that_the_output_cannot_hold_are_told_in_escapes(model, video_file, tmp_path, encoding):
    arguments = [str(video_file), "--grid", "1", "--model", str(model), "--backend", FUSED, "--save", "треки.npz"]
    done = subprocess.run(
        [sys.executable, "-m", "tapsdk", "track", *arguments],
        cwd=tmp_path,
        env={**child_environment(), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[-1] == b"wrote " + "треки".encode("ascii", "backslashreplace") + b".npz"
    assert files(tmp_path) == ["треки.npz"]


def test_a_dash_is_standard_input_read_once_and_drawn(run, video_file, tmp_path, monkeypatch):
    sent = io.TextIOWrapper(io.BytesIO(video_file.read_bytes()))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", sent)
        assert run("-", "--grid", 2, "--save", "out.npz", "-o", "out.mp4", "--quiet") == 0
    assert Tracks.load(tmp_path / "out.npz").num_frames == 6
    assert len(list(open_frames(tmp_path / "out.mp4"))) == 6


# Which points


def test_points_of_a_file_go_by_its_name(run, video_file, tmp_path):
    (tmp_path / "p.csv").write_text("t,x,y\n2,10,12\n")
    assert run(video_file, "--points", "p.csv", "--save", "out.npz", "--quiet") == 0
    assert Tracks.load("out.npz").queries.tolist() == [[2, 10, 12]]


def test_a_grid_in_another_frame_inside_a_mask(run, video_file, tmp_path):
    with open_frames(video_file) as frames:
        height, width = frames.size
    mask = np.zeros((height, width, 3), np.uint8)
    mask[:, : width // 2] = 255
    av.VideoFrame.from_ndarray(mask, format="rgb24").save(str(tmp_path / "mask.png"))
    assert run(video_file, "--grid", "4x2", "--at", "1", "--mask", "mask.png", "--save", "out.npz", "--quiet") == 0
    queries = Tracks.load("out.npz").queries
    assert queries.shape == (4, 3)
    assert (queries[:, 0] == 1).all()
    assert (queries[:, 1] < width / 2).all()


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--points", "1,2,3", "--at", "2"], "points t,x,y say so themselves"),
        (["--points", "p.csv", "--at", "2"], "those of p.csv say so themselves"),
        (["--grid", "3", "--mask", "black.png"], "none of the 9 points is inside black.png"),
        (["--grid", "3", "--mask", "small.png"], "--mask small.png has 4 x 2 pixels, and the video"),
        (["--grid", "3", "--mask", "p.csv"], "--mask: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_grids_masks_and_frames_that_cannot_be(run, video_file, tmp_path, capfd, options, complaint):
    (tmp_path / "p.csv").write_text("1,2\n")
    with open_frames(video_file) as frames:
        sizes = {"black.png": frames.size, "small.png": (2, 4)}
    for name, size in sizes.items():
        av.VideoFrame.from_ndarray(np.zeros((*size, 3), np.uint8), format="rgb24").save(str(tmp_path / name))
    assert run(video_file, *options, "--save", "out.npz") == 1
    assert complaint in capfd.readouterr().err
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("grid", ["3x", "1x2x3", "ax4", ""])
def test_a_grid_that_is_none_is_not_understood(run, video_file, capfd, grid):
    with pytest.raises(SystemExit) as caught:
        run(video_file, "--grid", grid, "--save", "out.npz")
    assert caught.value.code == 2
    assert f"{grid!r} is neither N nor COLUMNSxROWS, such as 10x6" in capfd.readouterr().err
