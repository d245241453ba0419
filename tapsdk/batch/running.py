"""The call: many videos, their tracks in files, and a table of what became of each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from typing import Any

from tapsdk.batch.jobs import Defaults, Job, read_jobs
from tapsdk.batch.local import Done, run_here
from tapsdk.batch.outputs import make_folder
from tapsdk.batch.parts import gathered, tasks_of
from tapsdk.batch.table import NEEDS_PYARROW, Row, Table, in_order
from tapsdk.batch.worker import Settings, Task
from tapsdk.errors import JobsError, PointsError
from tapsdk.geometry import Size
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.pace import REAL_TIME, Pace, check_pace
from tapsdk.system.cluster import check_address
from tapsdk.system.memory import parse_bytes
from tapsdk.system.places import place
from tapsdk.system.progress import Report, Wrap, with_progress, wrap_of

logger = logging.getLogger(__name__)

Runner = Callable[[list[Task], Settings], Generator[Done, None, None]]
INDEX = "index.parquet"
SUMMARY = (INDEX, "summary.json", "summary.csv")
"""In the folder of the tracks: the table, for pandas and its like, for programs and for people."""


def run(
    jobs: Any,
    *,
    model: str | os.PathLike[str] = "tapir",
    output: str | os.PathLike[str] = "tracks",
    points: Any = None,
    grid: int | tuple[int, int] | None = None,
    suffix: str = ".npz",
    on: str | None = None,
    workers: int | None = None,
    backend: str = "auto",
    device: str | None = None,
    threads: int = 1,
    resolution: int | Size | None = None,
    strict: bool = False,
    memory: str | int = "2GB",
    pace: Pace = 1,
    split: int | None = None,
    anew: bool = False,
    progress: bool | Report = False,
) -> Table:
    """Tracks points through many videos, and writes a file of tracks for each.

        table = tapsdk.batch.run("videos", grid=10, output="tracks")
        tapsdk.batch.run(["a.mp4", {"video": "b.mp4", "points": [[0, 160, 120]]}], grid=10, workers=2)

    A video that fails is a row of the table, and the others go on. A file of tracks appears whole or not at all, and
    one that is there already, whole and of the same video, points, model and options, is kept; so the same call goes on
    with a batch that was stopped. The files are the same to the byte whatever `workers` and `on` are, on machines of
    one kind. The table is also written into the folder `output`: index.parquet, summary.json and summary.csv.

    Args:
        jobs: a folder with videos, or with folders of images, in it or below; a pattern such as "videos/*.mp4"; a .txt
            file with a video a line; a .csv, .json or .parquet file, a DataFrame or a dict of columns video and, if
            need be, points, grid and output; or an iterable of videos, of dicts with these names, and of `Job`s. Videos
            and files may be URLs of a store, such as gs://bucket/video.mp4.
        model: its name, an artifact directory, or the URL of one.
        output: the folder, or its URL, of the tracks, which have the names of the videos; relative outputs of a table
            lie in it, too.
        points: of videos that no table gives points or a grid: a file, "x,y;x,y", or rows (t, x, y) or (x, y).
        grid: in place of points: a side, or (columns, rows).
        suffix: .npz, .json, or .csv, which has no room for what tells whether it is done already.
        on: None, this machine; "ray", the cluster that RAY_ADDRESS names or that this machine belongs to, else Ray on
            this machine alone; or a cluster's "ray://HOST:PORT".
        workers: processes, each with the model and one video at a time; 1: in this process. None: as many as there are
            cores and memory for; on Ray as many as the cluster has.
        backend: see `tapsdk.track`; "auto" is decided once for all workers.
        device: see `tapsdk.track`.
        threads: of the processor, for each worker.
        resolution: see `tapsdk.track`.
        strict: see `tapsdk.track`.
        pace: see `tapsdk.track`; a number.
        memory: see `tapsdk.track`; for each worker. It is no share of what is free, on which results must not depend.
        split: the most points of a video that are tracked together: a video with more of them is spread over workers,
            which is for models whose points do not see each other.
        anew: compute again what is there already.
        progress: see `tapsdk.track`; it counts videos.
    Returns:
        the Table, a row a video, in the order of the jobs.
    Raises:
        JobsError, ModelError, ArtifactError, BackendError, SaveError; TapsdkError where workers cannot be started. What
        ends it early, Ctrl-C included, leaves what was done, and the table of that.
    """
    folder = os.fspath(output)
    todo = read_jobs(jobs, Defaults(folder, suffix, points, grid, SUMMARY))
    if split is not None and split < 1:
        raise JobsError(f"split is the most points that are tracked together, at least 1, got {split}")
    if pace == REAL_TIME:
        raise JobsError("the tracks of a batch do not depend on a machine's speed: give pace a number of frames")
    options = RunOptions(
        backend,
        device=device,
        threads=threads,
        points=_points(todo[0]),
        resolution=resolution,
        strict=strict,
        memory=parse_bytes(memory),
        pace=check_pace(pace),
    )
    settings = Settings(_model(model), options, os.getcwd(), split=split, anew=anew)
    return _run(todo, settings, folder, _runner(on, workers), wrap_of(progress, _bars))


def _run(jobs: list[Job], settings: Settings, folder: str, runner: Runner, wrap: Wrap) -> Table:
    numbered: list[tuple[int, Row]] = []
    tasks = list(tasks_of(jobs, settings.split))
    try:
        with closing(runner(tasks, settings)) as done:
            for each in gathered(wrap(done, len(tasks), "tracking"), settings):
                numbered.append(each)
    finally:
        if numbered:
            _write(in_order(numbered), folder)
    return in_order(numbered)


def _write(table: Table, folder: str) -> None:
    """Raises SaveError."""
    make_folder(folder)
    for name in SUMMARY:
        if name == INDEX and find_spec("pyarrow") is None:
            logger.warning("there is no %s: %s", INDEX, NEEDS_PYARROW)
        else:
            table.save(place(folder) / name)


def _runner(on: str | None, workers: int | None) -> Runner:
    """Raises JobsError."""
    if workers is not None and workers < 1:
        raise JobsError(f"workers is how many work at once, at least 1, got {workers}")
    if on is None:
        return partial(run_here, workers=workers)
    check_address(on)
    from tapsdk.batch.on_ray import run_on_ray

    return partial(run_on_ray, address=on, workers=workers)


def _model(model: str | os.PathLike[str]) -> str:
    """As other processes find it, wherever they begin."""
    return os.path.abspath(model) if os.path.isdir(model) else os.fspath(model)


def _bars(videos: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    return with_progress(videos, total=total, label=label, unit="video", force=True)


def _points(job: Job) -> int:
    """About how many there are, to choose a backend for."""
    try:
        return job.count()
    except PointsError:
        return RunOptions().points
