"""Many videos in one call, on this machine: files of tracks, a table, and nothing done twice."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import tapsdk
from tapsdk.artifact import BUNDLED
from tapsdk.batch import local, run
from tapsdk.batch.jobs import Defaults, read_jobs
from tapsdk.batch.parts import tasks_of
from tapsdk.batch.result import Result
from tapsdk.batch.worker import Settings, Worker, row_of
from tapsdk.errors import BackendError, JobsError, ModelError, TapsdkError
from tapsdk.points import grid_points
from tapsdk.runtime.options import RunOptions
from tapsdk.system import remote
from tapsdk.tracks import Tracks
from tests.support import child_environment, copy_artifact, needs_kill
from tests.tapsdk.batch import deadly
from tests.tapsdk.batch.made import BACKEND, make_videos, tracks_in, write_images


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder of three videos. Do not write into it."""
    return make_videos(tmp_path_factory.mktemp("batch") / "videos", 3)


@pytest.fixture
def batch(bundled, tmp_path):
    """`tapsdk.batch.run` in this process with the bundled model, into tmp_path/out."""
    return partial(run, model=bundled, output=tmp_path / "out", grid=2, backend=BACKEND, workers=1)


# Results


def test_every_video_gets_the_tracks_that_track_gives(batch, bundled, videos, tmp_path):
    table = batch(videos)
    assert [(row.status, row.points, row.frames) for row in table] == [("done", 4, 4)] * 3
    for row in table:
        found = Tracks.load(row.output)
        expected = tapsdk.track(row.video, grid_points(2, (48, 80)), bundled, backend=BACKEND, threads=1)
        for name in ("xy", "visible", "confidence", "queries", "times"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert (found.fps, found.report.backend) == (25, expected.report.backend)
    assert sorted(tracks_in(tmp_path / "out")) == ["v000.npz", "v001.npz", "v002.npz"]


def test_two_workers_leave_the_same_bytes_as_one(batch, videos, tmp_path):
    batch(videos)
    table = batch(videos, workers=2, output=tmp_path / "two")
    assert [row.video for row in table] == sorted(row.video for row in table)
    assert tracks_in(tmp_path / "two") == tracks_in(tmp_path / "out") != {}


def test_the_table_lies_beside_the_tracks(batch, videos, tmp_path):
    table = batch(videos)
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["key"] for row in rows] == [row.key for row in table]
    assert (tmp_path / "out" / "summary.csv").read_text().startswith("video,output,status,reason,points,frames,")
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    index = pandas.read_parquet(tmp_path / "out" / "index.parquet")
    pandas.testing.assert_frame_equal(index, table.to_dataframe())


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_tracks_may_have_another_form(batch, videos, tmp_path, suffix):
    assert {row.status for row in batch(videos, suffix=suffix)} == {"done"}
    assert Tracks.load(tmp_path / "out" / f"v001{suffix}").xy.shape == (4, 4, 2)


@pytest.mark.parametrize("points", ["10,10;20,20", "3,10,10;0,20,20", [[10, 10], [20, 20]], "points.csv"])
def test_points_may_be_said_in_every_way(batch, videos, tmp_path, monkeypatch, points):
    monkeypatch.chdir(tmp_path)
    Path("points.csv").write_text("t,x,y\n2,10,10\n0,20,20\n")
    (row,) = batch(videos / "v000.mp4", points=points, grid=None)
    assert (row.status, row.points) == ("done", 2)


def test_no_points_are_a_result_too(batch, videos):
    (row,) = batch([{"video": videos / "v000.mp4", "points": []}])
    assert (row.status, row.points, row.frames, row.visible, row.confidence) == ("done", 0, 4, None, None)


def test_images_and_stores_are_read_and_stores_written(batch, in_memory, videos, tmp_path):
    with tapsdk.open_frames(videos / "v001.mp4") as frames:
        write_images(tmp_path / "images", frames)
    remote.upload(videos / "v001.mp4", f"{in_memory}/v001.mp4")
    table = batch([tmp_path / "images", f"{in_memory}/v001.mp4"], output=f"{in_memory}/out")
    assert [row.status for row in table] == ["done", "done"]
    one, other = (Tracks.load(row.output) for row in table)
    np.testing.assert_array_equal(one.xy, other.xy)
    again = batch([tmp_path / "images", f"{in_memory}/v001.mp4"], output=f"{in_memory}/out")
    assert [row.status for row in again] == ["kept", "kept"]


def test_progress_counts_videos(batch, videos):
    told = []
    batch(videos, progress=lambda *what: told.append(what))
    assert told == [("tracking", 1, 3), ("tracking", 2, 3), ("tracking", 3, 3)]


def test_of_a_video_that_is_done_its_row_alone_stays_in_memory(videos, tmp_path, monkeypatch):
    """Its tracks are half a megabyte."""
    jobs = [{"video": videos / "v000.mp4", "output": f"{number}.npz"} for number in range(1000)]
    monkeypatch.setattr(local, "settle", lambda settings: settings)
    monkeypatch.setattr(Worker, "do", lambda self, task: row_of(task, Result(large_tracks()), "done", "0" * 64))
    run(jobs[:1], grid=1, output=tmp_path / "out", backend=BACKEND, workers=1)  # imports what it needs
    tracemalloc.start()
    try:
        table = run(jobs, grid=1, output=tmp_path / "out", backend=BACKEND, workers=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == 1000 and peak < 10 << 20


def large_tracks():
    shape = 500, 100
    return Tracks(np.zeros((*shape, 2), np.float32), np.ones(shape, np.bool_), np.ones(shape, np.float32))


# What is done already


def test_a_second_run_computes_nothing(batch, videos, tmp_path, monkeypatch):
    first = batch(videos)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npz")}
    monkeypatch.setattr(Worker, "_track", None)
    again = batch(videos)
    assert [row.status for row in again] == ["kept"] * 3
    assert [(row.key, row.points, row.frames, row.confidence) for row in again] == [
        (row.key, row.points, row.frames, row.confidence) for row in first
    ]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npz")}


def other_video(folder):
    shutil.copy(folder / "v001.mp4", folder / "v000.mp4")


def other_model(folder):
    return {"model": copy_artifact(BUNDLED / "tapir" / "tiny", folder / "model", lambda table: table["tools"].clear())}


def no_result(folder):
    (folder / "out" / "v000.npz").write_bytes(b"")


def half_a_result(folder):
    os.truncate(folder / "out" / "v000.npz", 900)


def result_of_another(folder):
    shutil.copy(folder / "out" / "v001.npz", folder / "out" / "v000.npz")


CHANGES = {
    **{each.__name__: each for each in (other_video, other_model, no_result, half_a_result, result_of_another)},
    "other points": lambda folder: {"grid": 3},
    "another option": lambda folder: {"resolution": 64},
    "anew": lambda folder: {"anew": True},
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_differs_is_computed_anew(batch, videos, tmp_path, what):
    folder = tmp_path / "mine"
    shutil.copytree(videos, folder)
    here = partial(batch, output=folder / "out")
    jobs = [folder / "v000.mp4", folder / "v001.mp4"]
    here(jobs)
    assert here(jobs, **(CHANGES[what](folder) or {}))[0].status == "done"


def test_csv_has_no_room_for_a_key(batch, videos):
    batch(videos, suffix=".csv")
    assert {row.status for row in batch(videos, suffix=".csv")} == {"done"}


# What goes wrong


@pytest.fixture
def faulty(videos, tmp_path):
    """A video, one that is none, and one whose points are beyond it."""
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    return [
        {"video": videos / "v000.mp4", "points": "2000,5"},
        tmp_path / "bad.mp4",
        tmp_path / "gone.mp4",
        videos / "v001.mp4",
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_video_that_fails_is_a_row_and_the_others_go_on(batch, faulty, tmp_path, workers):
    table = batch(faulty, workers=workers)
    assert [row.status for row in table] == ["failed", "failed", "failed", "done"]
    assert "x must be in [0, 80]" in table[0].reason and "\n" not in table[0].reason
    assert "bad.mp4: not a video" in table[1].reason
    assert table[2].reason == f"{tmp_path / 'gone.mp4'}: No such file or directory"
    assert repr(table) == "4 videos: 3 failed, 1 done" and len(table.failed) == 3
    assert list(tracks_in(tmp_path / "out")) == [Path(table[3].output).relative_to(tmp_path / "out").as_posix()]


def test_of_a_video_with_a_damaged_frame_the_tracks_before_are_kept_and_it_says_so(batch, video, tmp_path):
    write_images(tmp_path / "images", video)
    (tmp_path / "images" / "4.png").write_bytes(b"no picture")
    (row,), (again,) = batch([tmp_path / "images"]), batch([tmp_path / "images"])
    assert (row.status, row.frames) == (again.status, again.frames) == ("partial", 4)
    assert row.reason == again.reason and "4.png" in row.reason
    assert Tracks.load(row.output).num_frames == 4


def test_what_nobody_foresaw_is_a_row_too(batch, videos, monkeypatch, caplog):
    def fails(self, job, part):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Worker, "_track", fails)
    (row,) = batch(videos / "v000.mp4")
    assert (row.status, row.reason) == ("failed", "ZeroDivisionError: division by zero")
    assert "unexpected" in caplog.text


@pytest.mark.parametrize(
    "given, error",
    [
        ({"model": "tapir/none"}, ModelError),
        ({"backend": "none"}, BackendError),
        ({"device": "npu:7"}, BackendError),
        ({"workers": 0}, JobsError),
        ({"split": 0}, JobsError),
        ({"on": "spark"}, TapsdkError),
    ],
)
def test_what_no_video_could_do_is_raised_before_the_first(batch, videos, tmp_path, given, error):
    with pytest.raises(error):
        batch(videos, **given)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_what_was_done_and_the_table_of_it(batch, videos, tmp_path):
    def interrupt(work, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch(videos, progress=interrupt)
    assert sorted(tracks_in(tmp_path / "out")) == ["v000.npz"]
    assert {row.status for row in batch(videos)} == {"done", "kept"}


# Processes


@needs_kill
def test_a_worker_that_is_killed_changes_nothing(batch, videos, tmp_path):
    batch(videos)

    def kill(work, done, total):
        if done == 1:
            for process in multiprocessing.active_children():
                process.kill()

    table = batch(videos, workers=2, output=tmp_path / "two", progress=kill)
    assert {row.status for row in table} <= {"done", "kept"}
    assert tracks_in(tmp_path / "two") == tracks_in(tmp_path / "out")


@needs_kill
def test_a_video_that_kills_whoever_tracks_it_is_a_row(batch, videos, monkeypatch):
    monkeypatch.setattr(local, "serve", deadly.serve)
    table = batch(videos, workers=2)
    assert [row.status for row in table] == ["done", "failed", "done"]
    assert table[1].reason == local.KILLED


def test_others_begin_when_one_worker_is_done_and_there_is_memory_for_them(batch, videos, tmp_path, monkeypatch):
    settings = Settings(str(batch.keywords["model"]), RunOptions(BACKEND, threads=1), str(tmp_path))
    jobs = read_jobs(videos, Defaults(str(tmp_path / "out"), grid=2))
    for free, most in ((1 << 40, 2), (1, 1)):
        monkeypatch.setattr(local, "free_memory", lambda free=free: free)
        pool, there = local.Pool(local.settle(settings), 3), []
        for _ in pool.run(tasks_of(jobs[:2] * 2, None)):
            there.append(len(pool._processes))
        assert (there[0], max(there)) == (1, most if most == 1 else 3)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


SCRIPT = """
import sys, tapsdk
tapsdk.batch.run(sys.argv[1], grid=2, output=sys.argv[2], backend="onnxruntime:native", workers=2)
"""


def test_a_script_without_the_guard_that_processes_need_is_told(videos, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", videos, tmp_path / "out"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


@needs_kill
def test_workers_end_with_a_batch_that_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(
        f'if __name__ == "__main__":\n    {SCRIPT.strip()}'.replace("\ntapsdk", "\n    tapsdk")
    )
    command = [sys.executable, tmp_path / "script.py", make_videos(tmp_path / "more", 30), tmp_path / "out"]
    batch = subprocess.Popen(command, env=child_environment(), start_new_session=True)
    wait_for(lambda: len(list((tmp_path / "out").glob("*.npz"))) > 2)
    batch.kill()
    batch.wait()
    wait_for(lambda: not others_of(batch.pid))


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def others_of(group):
    """Processes of a group that are there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# Videos that are split


def test_a_video_that_is_split_over_workers_has_the_bytes_of_one(batch, videos, tmp_path):
    one = batch(videos, grid=5, split=8)
    two = batch(videos, grid=5, split=8, workers=2, output=tmp_path / "two")
    assert [(row.points, row.key) for row in one] == [(row.points, row.key) for row in two]
    assert tracks_in(tmp_path / "two") == tracks_in(tmp_path / "out") != {}
    assert [row.status for row in batch(videos, grid=5, split=8)] == ["kept"] * 3


def test_a_video_that_is_split_has_the_tracks_of_one_that_is_not(batch, videos, tmp_path):
    batch(videos, grid=5)
    batch(videos, grid=5, split=7, output=tmp_path / "split")
    for name in tracks_in(tmp_path / "out"):
        whole, split = (Tracks.load(tmp_path / folder / name) for folder in ("out", "split"))
        np.testing.assert_array_equal(split.xy, whole.xy)
        np.testing.assert_array_equal(split.queries, whole.queries)
        assert split.ids.tolist() == whole.ids.tolist()


def test_parts_that_were_done_are_kept_until_the_others_are(batch, videos, tmp_path, monkeypatch):
    track = Worker._track

    def fails(self, job, part):
        if part == (2, 4):
            raise MemoryError
        return track(self, job, part)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_track", fails)
        (row,) = batch(videos / "v000.mp4", split=2)
    assert row.status == "failed" and "not enough memory" in row.reason
    assert list(tracks_in(tmp_path / "out")) == ["v000.points-0-2.npz"]
    (row,) = batch(videos / "v000.mp4", split=2)
    assert (row.status, row.points) == ("done", 4)
    assert list(tracks_in(tmp_path / "out")) == ["v000.npz"]


def test_points_that_see_each_other_are_not_split(batch, bundled, videos, tmp_path):
    def dependent(table):
        table["points"]["independent"] = False

    copy = copy_artifact(bundled, tmp_path / "copy", dependent)
    with pytest.raises(ModelError, match=r"points of .* see each other"):
        batch(videos, model=copy, split=2)
