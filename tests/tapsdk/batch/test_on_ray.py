"""A batch on a Ray cluster of three nodes: the same bytes as here, whatever dies meanwhile."""

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tapsdk.batch import on_ray, run
from tapsdk.batch.worker import Settings
from tapsdk.errors import BackendError, TapsdkError
from tapsdk.runtime.options import RunOptions
from tests.clusters import client_server, ray_cluster
from tests.support import import_or_skip, needs_kill
from tests.tapsdk.batch import deadly
from tests.tapsdk.batch.made import BACKEND, make_videos, tracks_in

VIDEOS = 60
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of Ray's own


@pytest.fixture(scope="module")
def nodes():
    with ray_cluster(3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder of many short videos, and one that is none."""
    folder = make_videos(tmp_path_factory.mktemp("ray") / "videos", VIDEOS, frames=2)
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def batch(bundled, videos):
    return partial(run, videos, model=bundled, grid=2, backend=BACKEND, resolution=64)


@pytest.fixture(scope="module")
def here(batch, tmp_path_factory):
    """What one worker on this machine leaves."""
    folder = tmp_path_factory.mktemp("here")
    batch(output=folder, workers=1)
    return tracks_in(folder)


@pytest.fixture(scope="module")
def there(nodes, batch, tmp_path_factory):
    """What the cluster leaves, and its table; a worker and then a whole node are killed in the middle."""
    folder, told, mortal = tmp_path_factory.mktemp("there"), [], list(nodes.worker_nodes)

    def kill(work, done, total):
        told.append((work, done, total))
        if done == 5:
            os.kill(workers_of(mortal)[0][1], signal.SIGKILL)
        if done == 20:
            nodes.remove_node(workers_of(mortal)[0][0], allow_graceful=False)

    table = batch(output=folder, on="ray", workers=3, progress=kill)
    assert told == [("tracking", done, VIDEOS + 1) for done in range(1, VIDEOS + 2)]
    return folder, table


def workers_of(nodes):
    """Nodes and processes of the actors that track videos on them."""
    raylets = {each.process.pid: node for node in nodes for each in node.all_processes["raylet"]}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and b"RayWorker" in (process / "cmdline").read_bytes():
                found.append((raylets[parent], int(process.name)))
    return found


@needs_kill
def test_tracks_are_those_of_this_machine_to_the_byte_whatever_dies(there, here):
    folder, table = there
    assert [row.status for row in table if row.status not in ("done", "kept")] == ["failed"]
    assert tracks_in(folder) == here
    assert len(here) == VIDEOS


@needs_kill
def test_a_video_that_fails_is_one_row(there):
    _, table = there
    assert len(table) == VIDEOS + 1 and [row.video for row in table] == sorted(row.video for row in table)
    (row,) = table.failed
    assert "bad.mp4: not a video" in row.reason


@needs_kill
def test_a_second_run_computes_nothing(there, batch):
    folder, _ = there
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    table = batch(output=folder, on="ray", workers=2)
    assert [row.status for row in table if row.status != "kept"] == ["failed"]
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}


def test_what_no_video_could_do_is_raised_before_the_first(nodes, batch, tmp_path):
    with pytest.raises(BackendError, match=r"has no device 'npu:7'"):
        batch(output=tmp_path / "out", on="ray", device="npu:7")
    assert not (tmp_path / "out").exists()


def test_a_video_that_is_split_over_the_cluster_has_the_bytes_of_one_worker(nodes, batch, videos, tmp_path):
    split = partial(run, videos / "v000.mp4", model=batch.keywords["model"], grid=4, backend=BACKEND, split=5)
    split(output=tmp_path / "here", workers=1)
    split(output=tmp_path / "there", on="ray", workers=2)
    assert tracks_in(tmp_path / "there") == tracks_in(tmp_path / "here") != {}


@pytest.mark.slow
@needs_kill
def test_a_video_that_kills_whoever_tracks_it_is_a_row(nodes, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "RayWorker", deadly.RayWorker)
    jobs = make_videos(tmp_path / "videos", 3)
    table = run(jobs, output=tmp_path / "out", on="ray", workers=2, **batch.keywords)
    assert [row.status for row in table] == ["done", "failed", "done"]
    assert table[1].reason == on_ray.KILLED


@pytest.mark.slow
def test_a_cluster_may_be_reached_by_its_client_server(nodes, batch, videos, here, tmp_path):
    with client_server(nodes) as address:
        jobs = sorted(videos.glob("v00*.mp4"))
        table = run(jobs, output=tmp_path, on=address, workers=2, **batch.keywords)
    assert {row.status for row in table} == {"done"}
    assert tracks_in(tmp_path) == {name: here[name] for name in tracks_in(tmp_path)} != {}


@pytest.mark.parametrize(
    "options, needs",
    [
        (RunOptions(threads=1), {"num_cpus": 1}),
        (RunOptions(threads=4, device="cpu"), {"num_cpus": 4}),
        (RunOptions(threads=2, device="CUDA"), {"num_cpus": 2, "num_gpus": 1}),
        (RunOptions(device="GPU"), {"num_cpus": 1, "num_gpus": 1}),
    ],
)
def test_a_worker_takes_its_threads_and_its_device_of_a_machine(options, needs):
    assert on_ray.needs_of(Settings("tapir", options, "/")) == needs


def test_a_cluster_that_is_not_there(batch, tmp_path):
    import_or_skip("ray", "ray")
    with pytest.raises(TapsdkError, match=r"no Ray was reached at ray://127.0.0.1:1: "):
        batch(output=tmp_path / "out", on="ray://127.0.0.1:1")
