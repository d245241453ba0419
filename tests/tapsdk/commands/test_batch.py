"""`tapsdk batch`: what a person types, what they get, and the exit status."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tapsdk.commands import main as cli
from tapsdk.commands.batch import MOST_LINES, SOME_FAILED
from tapsdk.tracks import Tracks
from tests.support import child_environment, import_or_skip, needs_kill
from tests.tapsdk.batch.made import BACKEND, make_videos, tracks_in


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`tapsdk batch` in a folder with two videos; gives the exit status."""
    monkeypatch.chdir(tmp_path)
    make_videos(tmp_path / "videos", 2)

    def batch(*arguments):
        return cli.main(["batch", *map(str, arguments), "--backend", BACKEND, "--workers", "1"])

    return batch


def test_a_folder_of_videos_becomes_a_folder_of_tracks(run, capfd):
    assert run("videos", "--grid", "3x2", "-o", "out") == 0
    assert Tracks.load("out/v001.npz").xy.shape == (6, 4, 2)
    assert capfd.readouterr() == ("2 videos: 2 done\nwrote out\n", "")
    assert run("videos", "--grid", "3x2", "-o", "out", "--quiet") == 0
    assert capfd.readouterr() == ("", "")


def test_points_and_their_form_may_be_chosen(run, tmp_path):
    assert run("videos/*.mp4", "--points", "10,10", "--suffix", ".json", "--threads", "2", "--split", "1") == 0
    assert Tracks.load("tracks/v000.json").xy.shape == (1, 4, 2)


def test_videos_that_fail_have_a_status_of_their_own_and_are_named(run, tmp_path, capfd):
    for number in range(MOST_LINES + 2):
        (tmp_path / "videos" / f"x{number:02d}.mp4").write_bytes(b"")
    assert run("videos", "--grid", "2", "--quiet") == SOME_FAILED
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == MOST_LINES + 1
    assert err.startswith("failed: ") and "x00.mp4" in err.splitlines()[0]
    assert err.splitlines()[-1] == "and 2 more, see tracks/summary.csv"


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["nowhere", "--grid", "2"], "no such file or folder"),
        (["videos"], "has no points"),
        (["videos", "--grid", "2", "--on", "spark"], "unknown place to work on 'spark'"),
        (["videos", "--grid", "2", "--model", "none"], "unknown model 'none'"),
    ],
)
def test_what_comes_before_the_first_video_is_an_error(run, tmp_path, arguments, complaint, capfd):
    assert run(*arguments) == 1
    assert complaint in capfd.readouterr().err
    assert not (tmp_path / "tracks").exists()


def test_a_table_that_finds_no_room_is_an_error(run, tmp_path, capfd):
    (tmp_path / "file").write_bytes(b"")
    assert run("videos", "--grid", "2", "-o", "file/out") == 1
    assert "error: " in capfd.readouterr().err


@needs_kill
@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_leaves_whole_results_and_nothing_else(tmp_path, name, status):
    import_or_skip("pyarrow", "batch")  # else it says that there is no table of that kind
    make_videos(tmp_path / "videos", 12)
    command = [sys.executable, "-m", "tapsdk", "batch", "videos", "--grid", "2", "-o", "out", "--backend", BACKEND]
    with subprocess.Popen([*command, "--workers", "2"], cwd=tmp_path, env=child_environment(), stderr=-1) as batch:
        while len(list((tmp_path / "out").glob("*.npz"))) < 2:
            assert batch.poll() is None
            time.sleep(0.02)
        batch.send_signal(getattr(signal, name))
        _, err = batch.communicate(timeout=60)
    assert (batch.returncode, err) == (status, b"stopped\n")
    done = tracks_in(tmp_path / "out")
    assert len(done) < 12 and all(path.endswith(".npz") for path in done)
    assert all(Tracks.load(tmp_path / "out" / path).num_frames == 4 for path in done)
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())) >= 1
