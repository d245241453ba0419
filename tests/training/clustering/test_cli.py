"""`python -m training cluster`"""

import numpy as np
import pytest

from tapsdk import VideoWriter, distinct_colors, open_frames
from tapsdk.tracks import Tracks
from tests.golden.rigid_tracks import rigid_tracks
from tests.support import import_or_skip

import_or_skip("torch", "train")
from training.__main__ import main  # noqa: E402
from training.clustering.cli import THROWN_OUT, group_colors  # noqa: E402

SIZE = (120, 160)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """With the tracks of 9 points, one of which is never seen, and the grey video that they were tracked in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.clustering.fit.STEPS", 1)
    monkeypatch.setattr("training.clustering.settling.ROUNDS", 1)
    xy, visible, _ = rigid_tracks(3, 3, 8, 0, size=SIZE)
    visible[0] = False
    Tracks(xy, visible, visible.astype(np.float32)).save("tracks.npz")
    with VideoWriter("video.mp4", 10, SIZE) as writer:
        for _ in range(8):
            writer.write(np.full((*SIZE, 3), 128, np.uint8))
    return tmp_path


def run(*arguments):
    return main(["cluster", *map(str, arguments)])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_groups_are_written_and_drawn(folder, capsys):
    assert run("tracks.npz", "-o", "labels.npz", "--overlay", "video.mp4", "--clusters", 3, "--most", 4) == 0
    with np.load("labels.npz") as found:
        assert found["labels"].shape == found["kept"].shape == (9,)
        assert found["error"].shape == (9, 3)
        assert found["labels"][0] == -1
        sizes = np.bincount(found["labels"][1:], minlength=3)
    with open_frames("labels.mp4") as source:
        frames = np.stack(list(source)).astype(int)
    assert frames.shape == (8, *SIZE, 3)
    assert (np.ptp(frames, axis=3) > 60).any(axis=(1, 2)).all()
    out = capsys.readouterr().out
    assert out == (
        f"labels.npz: 9 points, groups of {', '.join(map(str, sizes))}; 1 seen too seldom\n"
        "labels.mp4: the points in the colours of their groups\n"
    )
    assert names(folder) == ["labels.mp4", "labels.npz", "tracks.npz", "video.mp4"]


def test_it_does_without_the_video(folder):
    assert run("tracks.npz", "-o", "labels.npz", "--clusters", 3, "--most", 4) == 0
    assert run("tracks.npz", "-o", "sized.npz", "--clusters", 3, "--most", 4, "--size", "120x160") == 0
    assert names(folder) == ["labels.npz", "sized.npz", "tracks.npz", "video.mp4"]


def test_several_demonstrations_are_one_file_each(folder):
    more = Tracks.load("tracks.npz")
    Tracks(more.xy[:, :5], more.visible[:, :5], more.confidence[:, :5]).save("more.npz")
    assert run("tracks.npz", "more.npz", "-o", "labels.npz", "--clusters", 3, "--most", 4) == 0
    with np.load("labels.npz") as found:
        assert found["labels"].shape == (9,)


def test_every_group_has_a_colour_and_points_of_none_are_grey():
    colors = group_colors(np.array([0, 1, -1, 1]))
    np.testing.assert_array_equal(colors, [*distinct_colors(2), THROWN_OUT, distinct_colors(2)[1]])
    np.testing.assert_array_equal(group_colors(np.array([-1])), [THROWN_OUT])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["none.npz"], "none.npz cannot be read"),
        (["video.mp4"], "video.mp4 cannot be read as tracks"),
        (
            ["tracks.npz", "few.npz"],
            "few.npz has 2 points and tracks.npz has 9",
        ),
        (["few.npz"], "7 clusters need as many points that are seen in more than 10% of the frames, got 2"),
        (["tracks.npz", "--clusters", "2"], "clusters is 2; it must be at least 3"),
        (["tracks.npz", "--overlay", "none.mp4"], "none.mp4"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(folder, capsys, arguments, sentence):
    tracks = Tracks.load("tracks.npz")
    Tracks(tracks.xy[1:3], tracks.visible[1:3], tracks.confidence[1:3]).save("few.npz")
    before = names(folder)
    assert run(*arguments, "-o", "labels.npz") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and sentence in error and error.count("\n") == 1
    assert names(folder) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "tracks.npz"],
        ["-o", "labels.npz", "--overlay", "video.mp4", "--overlay-output", "video.mp4"],
        ["-o", "video.npz", "--overlay", "video.mp4"],
        ["-o", "labels.mp4", "--overlay", "video.mp4"],
    ],
    ids=" ".join,
)
def test_no_output_replaces_an_input_or_another_output(folder, capsys, arguments):
    assert run("tracks.npz", *arguments) == 1
    assert "it would replace an input" in capsys.readouterr().err
    assert names(folder) == ["tracks.npz", "video.mp4"]
