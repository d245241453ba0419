"""`tapsdk track --resume`: whoever is killed loses seconds, and goes on to the same result."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tapsdk.commands import main as cli
from tapsdk.runtime import journal
from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter
from tests.support import child_environment, copy_artifact, moving_texture, needs_kill, needs_torch

pytestmark = needs_kill

NATIVE = "onnxruntime:native"
POINTS = "0,20,20;0,60,30;4,30,40;7,10,10"
DIES = """
import os, signal, sys
from tapsdk.runtime import journal
from tapsdk.video import VideoWriter
from tapsdk.commands.main import main
journal.SECONDS = {seconds}
calls, usual = 0, {owner}.{name}
def dies(*args, **kwargs):
    global calls
    calls += 1
    if calls == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(*args, **kwargs)
{owner}.{name} = dies
sys.exit(main(sys.argv[1:]))
"""
"""Kills itself as a function is called for the n-th time."""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of 9 frames."""
    return write(tmp_path_factory.mktemp("film") / "film.mp4", moving_texture(9))


def write(path, video):
    with VideoWriter(path, 25, video.shape[1:3]) as writer:
        for frame in video:
            writer.write(frame)
    return path


def arguments(film, folder, *more, model="tapir", backend=NATIVE, points=POINTS):
    """Of the command."""
    where = ["--points", points, "--model", model, "--backend", backend, "--threads", 1]
    result = ["-o", folder / "out.mp4", "--save", folder / "out.npz", "--quiet", *more]
    return list(map(str, ["track", film, *where, *result]))


def killed(given, seconds=-1, owner="journal", name="_packed", number=1):
    code = DIES.format(seconds=seconds, owner=owner, name=name, number=number)
    done = subprocess.run([sys.executable, "-c", code, *given], env=child_environment(), check=False, timeout=120)
    assert done.returncode == -9


def check_same(folder, expected):
    assert sorted(path.name for path in folder.iterdir()) == ["out.mp4", "out.npz"]
    one, other = (Tracks.load(each / "out.npz") for each in (folder, expected))
    for field in ("xy", "visible", "confidence", "queries", "times"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert (folder / "out.mp4").read_bytes() == (expected / "out.mp4").read_bytes()


@pytest.fixture(scope="module")
def whole(film, tmp_path_factory):
    """A folder with what comes out if nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    assert cli.main(arguments(film, folder)) == 0
    return folder


@pytest.fixture
def steps(monkeypatch):
    """Counts what is computed."""
    made, usual = [], journal._packed
    monkeypatch.setattr(journal, "_packed", lambda *args: (made.append(1), usual(*args))[1])
    return made


MOMENTS = {
    "in the first frame": ({"number": 1}, 17),
    "on the way": ({"number": 5}, 13),
    "on the way back": ({"number": 13}, 5),
    "within a checkpoint": ({"owner": "journal.np", "name": "savez", "number": 4}, 14),
    "before it has its name": ({"owner": "journal.AtomicFile", "name": "commit", "number": 6}, 12),
    "while it is drawn": ({"owner": "VideoWriter", "name": "write", "number": 3}, 0),
}
"""Where a run is killed, and how many of its 17 steps are still to be done then."""
QUICK = ("on the way back", "within a checkpoint")


@pytest.mark.parametrize(
    "where, left",
    [pytest.param(*row, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, row in MOMENTS.items()],
)
def test_a_run_that_was_killed_goes_on_to_the_same_result(where, left, film, whole, tmp_path, steps, capfd):
    killed(arguments(film, tmp_path, "--resume"), **where)
    assert not (tmp_path / "out.npz").exists() or not left
    assert cli.main(arguments(film, tmp_path, "--resume")) == 0
    check_same(tmp_path, whole)
    assert len(steps) == left
    assert ("going on from what" in capfd.readouterr().err) == (left < 17)


@pytest.mark.slow
def test_groups_of_points_go_on_as_well(film, whole, tmp_path):
    few = ("--resume", "--memory", "1MB")
    killed(arguments(film, tmp_path, *few), number=30)
    assert cli.main(arguments(film, tmp_path, *few)) == 0
    check_same(tmp_path, whole)


@pytest.mark.slow
@needs_torch
def test_a_model_that_sees_all_of_the_video_goes_on_as_well(film, exported_clip, tmp_path, steps):
    model = {"model": exported_clip, "backend": "onnxruntime:refined"}
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    assert cli.main(arguments(film, tmp_path / "whole", "--resume", **model)) == 0
    all_of_it = len(steps)
    for number in (all_of_it // 4, all_of_it // 4, all_of_it // 3):
        killed(arguments(film, tmp_path / "killed", "--resume", **model), number=number)
    steps.clear()
    assert cli.main(arguments(film, tmp_path / "killed", "--resume", **model)) == 0
    assert 0 < len(steps) < all_of_it // 2
    check_same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_kill_at_any_time(film, whole, tmp_path):
    """From outside, as an operating system without memory does it."""
    code = DIES.format(seconds=0.02, owner="journal", name="_packed", number=-1)
    given = arguments(film, tmp_path, "--resume")
    for wait in (0.0, 0.05):
        process = subprocess.Popen([sys.executable, "-c", code, *given], env=child_environment())
        until = time.monotonic() + 60
        while not (tmp_path / "out.npz.resume" / "results").exists() and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(wait)
        process.kill()
        process.wait()
    assert cli.main(given) == 0
    check_same(tmp_path, whole)


@pytest.mark.parametrize("by_signal", [True, False])
def test_what_a_signal_ends_is_saved_and_goes_on_as_well(by_signal, film, whole, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(journal, "SECONDS", -1)
    count, usual = [0], journal._packed

    def interrupted(*args):
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt if by_signal else MemoryError
        return usual(*args)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_packed", interrupted)
        assert cli.main(arguments(film, tmp_path, "--resume")) == (130 if by_signal else 3)
    assert f"to go on from here, run the same command again; {tmp_path}" in capfd.readouterr().err
    assert Tracks.load(tmp_path / "out.npz").num_frames == 4
    assert cli.main(arguments(film, tmp_path, "--resume")) == 0
    check_same(tmp_path, whole)


def test_a_video_that_is_cut_off_leaves_nothing_to_go_on_from(film, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SECONDS", -1)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film.read_bytes()[:-300])
    given = arguments(cut, tmp_path, "--resume", points="20,20")
    assert cli.main(given) in (0, 1, 3)
    assert not list(tmp_path.glob("*.resume"))


@pytest.mark.slow
def test_without_the_option_nothing_is_kept(film, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SECONDS", -1)
    killed(arguments(film, tmp_path), owner="VideoWriter", name="write", number=2)
    assert not list(tmp_path.glob("*.resume"))


# What is refused


@pytest.fixture(scope="module")
def left_once(film, tmp_path_factory):
    folder = tmp_path_factory.mktemp("left")
    killed(arguments(film, folder, "--resume"), number=5)
    return folder


@pytest.fixture
def left(left_once, tmp_path):
    """A folder with what a run left that was killed."""
    return Path(shutil.copytree(left_once, tmp_path / "left"))


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"points": "1,1"}, "the points was 4, SHA-256 .*, and now is 1, SHA-256"),
        ({"more": ("--threads", "2")}, "--threads was 1, and now is 2"),
        ({"more": ("--resolution", "64")}, "--resolution was none, and now is 64"),
        ({"more": ("--start", "1")}, "--start was none, and now is frame 1"),
        ({"more": ("--end", "2.5s")}, "--end was none, and now is 2.5 s"),
        ({"more": ("--memory", "1GB")}, "--memory was [0-9]+, and now is 1000000000"),
        ({"backend": "onnxruntime:fused"}, "--backend was onnxruntime:native, and now is onnxruntime:fused"),
    ],
    ids=str,
)
def test_another_option(change, complaint, film, left, capfd):
    more = change.pop("more", ())
    assert cli.main(arguments(film, left, "--resume", *more, **change)) == 1
    error = capfd.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(complaint, error)
    assert (left / "out.npz.resume" / "checkpoint.npz").exists()
    assert not (left / "out.npz").exists()


def test_another_model(film, left, bundled, capfd, tmp_path_factory):
    other = copy_artifact(bundled, tmp_path_factory.mktemp("m") / "other", lambda manifest: manifest.update(tools={}))
    assert cli.main(arguments(film, left, "--resume", model=other)) == 1
    assert "the model's manifest was" in capfd.readouterr().err


def test_another_video(left, capfd, tmp_path_factory):
    other = write(tmp_path_factory.mktemp("v") / "film.mp4", moving_texture(9, seed=1))
    assert cli.main(arguments(other, left, "--resume")) == 1
    assert "has what was tracked of another video: name that one, or remove the folder" in capfd.readouterr().err
    assert not (left / "out.npz").exists()


def test_a_backend_that_was_chosen_is_kept(film, left, whole):
    """Whatever would be chosen now: another one gives tracks that are not quite the same."""
    assert cli.main(arguments(film, left, "--resume", backend="auto")) == 0
    check_same(left, whole)


def test_a_video_that_cannot_be_read_again(film, tmp_path, monkeypatch, capfd):
    with open(film) as file:
        monkeypatch.setattr("sys.stdin", file)
        status = cli.main(arguments("-", tmp_path, "--resume"))
    assert status == 1
    assert "--resume reads the video from its start again" in capfd.readouterr().err


def test_a_result_that_is_no_file(film, capfd):
    given = ["track", str(film), "--points", "1,1", "--backend", NATIVE, "--save", "/dev/null", "--resume"]
    assert cli.main(given) == 1
    assert "/dev/null is a device or a pipe: name a file" in capfd.readouterr().err
