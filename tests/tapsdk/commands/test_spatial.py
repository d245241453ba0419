"""`tapsdk track --depth`: tracks in space beside those in the picture."""

import numpy as np
import pytest

from tapsdk import Tracks3D, lift
from tapsdk.commands import main as cli
from tapsdk.commands.track import STOPPED_EARLY
from tapsdk.tracks import Tracks
from tests.tapsdk.commands.tracked import FUSED, files
from tests.tapsdk.space.test_depth_maps import write_png

LENS = "70,70,40,24"


@pytest.fixture
def run(model, video, tmp_path, monkeypatch):
    """`tapsdk track` of the video with depth of 2 m everywhere; gives the exit status."""
    monkeypatch.chdir(tmp_path)
    np.save("depth.npy", np.full(video.shape[:3], 2, np.float32))

    def track_small(source, *arguments):
        usual = ["--grid", "3", "--model", model, "--backend", FUSED]
        return cli.main(["track", *map(str, [source, *usual, *arguments])])

    return track_small


def test_tracks_in_space_lie_beside_those_in_the_picture(run, video_file, tmp_path, capfd):
    assert run(video_file, "--depth", "depth.npy", "--intrinsics", LENS, "--save", "out.npz") == 0
    flat, found = Tracks.load("out.npz"), Tracks3D.load("out-3d.npz")
    expected = lift(flat, np.load("depth.npy"), (70, 70, 40, 24))
    np.testing.assert_array_equal(found.xyz, expected.xyz)
    np.testing.assert_allclose(found.xyz[found.visible][:, 2], 2)
    assert np.isfinite(found.xyz).any() and found.times is not None
    assert capfd.readouterr().out.endswith("wrote out.npz\nwrote out-3d.npz\n")
    assert files(tmp_path) == ["depth.npy", "out-3d.npz", "out.npz"]


def test_every_form_may_be_asked_for_at_once(run, video_file, tmp_path):
    wanted = ["a.npz", "b.csv", "c.ply", "d.svg", "e.html"]
    assert run(video_file, "--depth", "depth.npy", "--intrinsics", LENS, "--quiet", "--save-3d", *wanted) == 0
    assert files(tmp_path) == ["a.npz", "b.csv", "c.ply", "d.svg", "depth.npy", "e.html"]
    assert "texture.mp4" in (tmp_path / "e.html").read_text()


def test_a_folder_of_png_with_poses_and_a_scale(run, video, video_file, tmp_path):
    (tmp_path / "depth").mkdir()
    for t in range(len(video)):
        write_png(tmp_path / "depth" / f"{t}.png", np.full(video.shape[1:3], 800, np.uint16))
    rows = [f"{t} 1 2 {t} 0 0 0 1" for t in range(len(video))]
    (tmp_path / "poses.txt").write_text("# time x y z qx qy qz qw\n" + "\n".join(rows))
    options = ["--depth-scale", "0.0025", "--poses", "poses.txt", "--pixel-centers", "--save", "out.csv"]
    assert run(video_file, "--depth", "depth", "--intrinsics", "70,70,39.5,23.5", *options) == 0
    found, flat = Tracks3D.load("out-3d.npz"), Tracks.load("out.csv")
    assert found.frame == "world"
    known = np.isfinite(found.xyz).all(-1)
    expected = np.stack([(flat.xy[..., 0] - 40) / 35 + 1, (flat.xy[..., 1] - 24) / 35 + 2], -1)
    np.testing.assert_allclose(found.xyz[known][:, :2], expected[known], atol=1e-4)
    np.testing.assert_allclose(found.xyz[known][:, 2], 2 + np.nonzero(known)[1], atol=1e-5)


def test_smaller_maps_are_taken_where_that_is_said(run, video, video_file, tmp_path, capfd):
    np.save("small.npy", np.full((len(video), 24, 40), 2, np.float32))
    options = ["--intrinsics", LENS, "--save", "out.npz"]
    assert run(video_file, "--depth", "small.npy", *options) == 1
    says = "error: depth maps are 40 x 24 pixels, and the video 80 x 48: resize them"
    assert capfd.readouterr().err.startswith(says)
    assert files(tmp_path) == ["depth.npy", "small.npy"]
    assert run(video_file, "--depth", "small.npy", "--smaller-depth", *options) == 0
    np.save("other.npy", np.full((len(video), 24, 24), 2, np.float32))
    assert run(video_file, "--depth", "other.npy", "--smaller-depth", *options) == 1
    assert "do not show the same view" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--intrinsics", LENS, "--save", "o.npz"], "--intrinsics goes with --depth"),
        (["--save-3d", "o.npz"], "--save-3d goes with --depth"),
        (["--smaller-depth", "--save", "o.npz"], "--smaller-depth goes with --depth"),
        (["--depth", "depth.npy", "--save", "o.npz"], "--depth needs --intrinsics"),
        (["--depth", "depth.npy", "--intrinsics", LENS, "-o", "o.mp4"], "nowhere to write what --depth is for"),
        (["--depth", "depth.npy", "--intrinsics", "70,70,40", "--save", "o.npz"], "cannot be read; write FX,FY,CX,CY"),
        (["--depth", "depth.npy", "--intrinsics", "70,0,40,24", "--save", "o.npz"], "focal lengths must be above 0"),
        (["--depth", "depth.npy", "--intrinsics", "70,70,81,24", "--save", "o.npz"], "lies outside of frames"),
        (["--depth", "depth.npy", "--intrinsics", LENS, "--save-3d", "o.obj"], "the suffix must be one of .npz"),
        (["--depth", "depth.npy", "--intrinsics", LENS, "--save-3d", "a.npz", "./a.npz"], "it would replace an input"),
        (["--depth", "none", "--intrinsics", LENS, "--save", "o.npz"], "none: no such file or folder"),
        (["--depth", "depth.npy", "--intrinsics", LENS, "--poses", "p.txt", "--save", "o.npz"], "p.txt holds no poses"),
        (["--depth", "depth.npy", "--intrinsics", LENS, "--poses", "q.npy", "--save", "o.npz"], "is no rotation"),
        (
            ["--depth", "depth.npy", "--intrinsics", LENS, "--depth-scale", "0", "--save", "o.npz"],
            "depth_scale must be",
        ),
    ],
)
def test_what_cannot_be_is_said_before_any_work(run, video_file, tmp_path, capfd, arguments, says):
    (tmp_path / "p.txt").write_text("1 2 3\n")
    np.save("q.npy", np.diag([2.0, 2, 2, 1]))
    before = files(tmp_path)
    assert run(video_file, *arguments) == 1
    told = capfd.readouterr().err
    assert says in told and told.startswith("error: ") and told.count("\n") == 1
    assert files(tmp_path) == before


def test_maps_for_another_number_of_images_are_refused_before_any_work(run, video, tmp_path, capfd):
    np.save("depth.npy", np.full((4, *video.shape[1:3]), 2, np.float32))
    (tmp_path / "frames").mkdir()
    for t, frame in enumerate(video):
        write_png(tmp_path / "frames" / f"{t}.png", frame, "rgb24")
    assert run("frames", "--depth", "depth.npy", "--intrinsics", LENS, "--save", "out.npz") == 1
    assert "there are 4 depth maps for 6 frames: give a map for each frame" in capfd.readouterr().err
    assert "out.npz" not in files(tmp_path)


def test_maps_too_few_for_a_video_leave_the_flat_tracks(run, video, video_file, tmp_path, capfd):
    """The frames of a video are counted when it has been read."""
    np.save("depth.npy", np.full((4, *video.shape[1:3]), 2, np.float32))
    assert run(video_file, "--depth", "depth.npy", "--intrinsics", LENS, "--save", "out.npz") == 1
    assert "error: no tracks in space: there are 4 depth maps for 6 frames" in capfd.readouterr().err
    assert Tracks.load("out.npz").num_frames == 6 and files(tmp_path) == ["depth.npy", "out.npz"]


def test_what_was_tracked_before_a_frame_was_missing_is_lifted(run, video, tmp_path):
    (tmp_path / "frames").mkdir()
    for t, frame in enumerate(video):
        write_png(tmp_path / "frames" / f"{t}.png", frame, "rgb24")
    (tmp_path / "frames" / "4.png").write_text("no picture")
    np.save("poses.npy", np.tile(np.eye(4), (6, 1, 1)))
    options = ["--poses", "poses.npy", "--save", "out.npz"]
    assert run("frames", "--depth", "depth.npy", "--intrinsics", LENS, *options) == STOPPED_EARLY
    assert Tracks3D.load("out-3d.npz").num_frames == Tracks.load("out.npz").num_frames == 4


def test_no_output_replaces_a_depth_map(run, video, video_file, tmp_path, capfd):
    (tmp_path / "maps").mkdir()
    for t in range(len(video)):
        np.save(tmp_path / "maps" / f"{t}.npy", np.full(video.shape[1:3], 2, np.float32))
    (tmp_path / "maps.npz").symlink_to(tmp_path / "maps" / "0.npy")
    for option in ("--save-3d", "--save"):
        assert run(video_file, "--depth", "maps", "--intrinsics", LENS, option, "maps.npz") == 1
        assert "it would replace an input" in capfd.readouterr().err


def test_tracks_in_space_do_not_lie_beside_a_device(run, video_file, tmp_path, capfd):
    assert run(video_file, "--depth", "depth.npy", "--intrinsics", LENS, "--save", "/dev/null") == 1
    assert "nowhere to write what --depth is for" in capfd.readouterr().err
