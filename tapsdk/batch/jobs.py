"""What a batch is to do: many videos, the points in each, and where the tracks go."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tapsdk.batch.listing import base_of, videos_in
from tapsdk.batch.outputs import check_outputs, names_of, within
from tapsdk.errors import JobsError, PointsError
from tapsdk.points import as_rows, is_points_file, named_columns, read_points_file
from tapsdk.points_text import grid_of_text, points_of_text
from tapsdk.system.places import local_copy, place
from tapsdk.system.reading import MOST_DATA_BYTES, printable, read_json, reading
from tapsdk.tracks_files import SUFFIXES

COLUMNS = ("video", "points", "grid", "output")
"""Of a table of jobs; the first one is needed, and others are passed over."""
TABLES = (".csv", ".json", ".parquet", ".txt")
"""Suffixes of files that list jobs; .txt has a video a line."""
Points = str | tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Job:
    """One video, the points to track in it, and where the tracks go.

    video: a path of anything that `tapsdk.open_frames` reads by its path more than once, or the URL of a file in a
        store.
    points: a file of them, by path or URL; or "x,y;x,y" or "t,x,y;t,x,y"; or rows (t, x, y) or (x, y).
    grid: (columns, rows), in place of points.
    output: a .npz, .json or .csv file, by path or URL.
    """

    video: str
    points: Points | None = None
    grid: tuple[int, int] | None = None
    output: str = ""

    @property
    def points_file(self) -> str | None:
        return self.points if isinstance(self.points, str) and is_points_file(self.points) else None

    def rows(self) -> Any:
        """The points, as `parse_query_points` takes them, where they are no grid. Raises PointsError."""
        file = self.points_file
        if file is not None:
            return read_points_file(file)
        return points_of_text(self.points) if isinstance(self.points, str) else self.points

    def count(self) -> int:
        """How many points there are. Raises PointsError."""
        if self.grid is not None:
            return self.grid[0] * self.grid[1]
        rows = self.rows()
        table = named_columns(rows)
        return len(rows if table is None else table)


@dataclass(frozen=True)
class Defaults:
    """What holds for jobs that do not say it themselves.

    folder: a path or URL, which relative outputs lie in. suffix: of the outputs' names. points, grid: as a table has
        them. taken: names in the folder that are the batch's own.
    """

    folder: str
    suffix: str = ".npz"
    points: Any = None
    grid: Any = None
    taken: tuple[str, ...] = ()


def read_jobs(jobs: Any, defaults: Defaults) -> list[Job]:
    """All jobs, with points and outputs, no two of which are the same file.

    jobs: a folder with videos, or with folders of images, in it or below; a pattern; a video; a file of one of
        `TABLES`; each by path or URL; or a table with named columns, such as a DataFrame; or an iterable of videos, of
        mappings with these names, and of `Job`s.
    Raises JobsError.
    """
    if defaults.suffix not in SUFFIXES:
        raise JobsError(f"tracks cannot be written as {defaults.suffix!r}: give one of {', '.join(SUFFIXES)}")
    usual = _job({"video": "all videos", "points": defaults.points, "grid": defaults.grid})
    found = [_with_points(job, usual) for job in _jobs_of(jobs)]
    if not found:
        raise JobsError("there are no videos to track: the list or the table is empty")
    names = iter(names_of([job.video for job in found if not job.output], _base(jobs)))
    outputs = [within(defaults.folder, job.output or next(names) + defaults.suffix) for job in found]
    named = [replace(job, output=output) for job, output in zip(found, outputs, strict=True)]
    read = ((job.video, [job.video, *filter(None, [job.points_file])], job.output) for job in named)
    check_outputs(read, [within(defaults.folder, name) for name in defaults.taken])
    return named


def _base(jobs: Any) -> str | None:
    """The folder of the videos that a folder or a pattern stands for; None of other jobs."""
    return base_of(os.fspath(jobs)) if isinstance(jobs, (str, os.PathLike)) and not _is_table(jobs) else None


def _is_table(path: str | os.PathLike[str]) -> bool:
    given = place(path)
    return given.suffix.lower() in TABLES and not given.is_dir()


def _jobs_of(jobs: Any) -> Iterator[Job]:
    if isinstance(jobs, (str, os.PathLike)):
        path = os.fspath(jobs)
        yield from _read_table(path) if _is_table(path) else map(Job, videos_in(path))
    elif isinstance(jobs, Job):
        yield jobs
    elif isinstance(jobs, Mapping) or hasattr(jobs, "columns"):
        yield from _of_columns(jobs)
    elif isinstance(jobs, Iterable):
        for job in jobs:
            yield job if isinstance(job, Job) else _job(job if isinstance(job, Mapping) else {"video": job})
    else:
        raise JobsError(f"jobs are a folder, a pattern, a table or an iterable of videos, got {type(jobs).__name__}")


def _read_table(path: str) -> Iterator[Job]:
    source = place(path)
    copied = local_copy(source, JobsError, MOST_DATA_BYTES)
    with reading(source, "lists no jobs", JobsError), copied as copy:
        if source.suffix.lower() == ".parquet":
            yield from _of_columns(_parquet(copy))
        elif source.suffix.lower() == ".json":
            rows = read_json(copy, MOST_DATA_BYTES)
            if not isinstance(rows, (list, dict)):
                raise ValueError("it must be a list of jobs, or an object of columns")
            yield from _jobs_of(rows)
        else:
            lines = copy.read_text(encoding="utf-8-sig").splitlines()
            yield from _of_lines(lines) if source.suffix.lower() == ".txt" else _of_csv(lines)


def _of_lines(lines: Iterable[str]) -> Iterator[Job]:
    return (Job(line.strip()) for line in lines if line.strip() and not line.startswith("#"))


def _of_csv(lines: Iterable[str]) -> Iterator[Job]:
    header, *rows = [row for row in csv.reader(lines) if row] or [[]]
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"every line must have {len(header)} columns, as the header has")
    names = [name.strip().lower() for name in header]
    return (_job(dict(zip(names, row, strict=True))) for row in rows)


def _parquet(path: Path) -> Mapping[str, Sequence[Any]]:
    try:
        from pyarrow.parquet import read_table
    except ImportError:
        raise JobsError(f"{path} needs a package that is not installed: pip install 'tapsdk[batch]'") from None
    columns: Mapping[str, Sequence[Any]] = read_table(path).to_pydict()
    return columns


def _of_columns(table: Any) -> Iterator[Job]:
    """Jobs of a mapping of columns, or of a DataFrame."""
    names = {str(name).strip().lower(): name for name in getattr(table, "columns", table)}
    kept = {name: list(table[names[name]]) for name in COLUMNS if name in names}
    if "video" not in kept or len({len(column) for column in kept.values()}) > 1:
        raise JobsError(
            f"a table of jobs needs a column video, and columns of one length; this one has {_shown(names)}"
        )
    for row in zip(*kept.values(), strict=True):
        yield _job(dict(zip(kept, row, strict=True)))


def _job(row: Mapping[str, Any]) -> Job:
    """Raises JobsError."""
    given = {name: row[name] for name in COLUMNS if not _is_missing(row.get(name))}
    if "video" not in given:
        raise JobsError(f"every job needs a video; this one has {_shown(row)}. Columns are {', '.join(COLUMNS)}")
    try:
        points, grid = _points(given.get("points")), _grid(given.get("grid"))
        return Job(os.fspath(given["video"]), points, grid, os.fspath(given.get("output", "")))
    except (TypeError, ValueError) as error:
        raise JobsError(f"the job of {printable(str(given['video']))} cannot be read: {error}") from error


def _shown(names: Iterable[str]) -> str:
    return printable(", ".join(map(str, names))) or "none"


def _is_missing(value: Any) -> bool:
    """As tables have it: an empty cell, None, NaN."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _points(points: Any) -> Points | None:
    if points is None or isinstance(points, (str, os.PathLike)):
        return None if points is None else os.fspath(points).strip()
    table = named_columns(points)
    return tuple(map(tuple, as_rows(points if table is None else table).tolist()))


def _grid(grid: Any) -> tuple[int, int] | None:
    if grid is None:
        return None
    if isinstance(grid, (tuple, list)):
        columns, rows = map(int, grid)
    else:
        columns, rows = grid_of_text(grid if isinstance(grid, str) else f"{grid:g}")
    if min(columns, rows) < 1:
        raise PointsError(f"a grid needs at least 1 point a side, got {columns} x {rows}")
    return columns, rows


def _with_points(job: Job, usual: Job) -> Job:
    own = [each for each in (job.points, job.grid) if each is not None]
    if own:
        if len(own) > 1:
            raise JobsError(f"{job.video} has points and a grid: give one of them")
        return job
    if (usual.points is None) == (usual.grid is None):
        raise JobsError(f"{job.video} has no points: give points or a grid, in the table or for all videos")
    return replace(job, points=usual.points, grid=usual.grid)
