"""Videos with many points, split over workers by their points, and put together again.

Points of such models do not see each other, and all parts are as large whoever tracks them, so that the result is that
of one worker to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tapsdk.batch.jobs import Job
from tapsdk.batch.result import Result, find_result, save_result
from tapsdk.batch.table import Row, Status
from tapsdk.batch.worker import Part, Settings, Task, absolute, failed, is_part, part_path, row_of, whole_key
from tapsdk.errors import PointsError, SaveError, TapsdkError
from tapsdk.system.files import remove
from tapsdk.system.places import place
from tapsdk.system.reading import reason
from tapsdk.tracks import Tracks


def tasks_of(jobs: Sequence[Job], split: int | None) -> Iterator[Task]:
    """What there is to do, in order: a task a job, or one for each part of it."""
    for number, job in enumerate(jobs):
        parts = [] if split is None else _parts(job, split)
        yield from [Task(number, job, part, len(parts)) for part in parts] or [Task(number, job)]


def _parts(job: Job, split: int) -> list[Part]:
    """None where all points are tracked together."""
    try:
        count = job.count()
    except PointsError:  # whose row the worker makes
        return []
    return [(first, min(first + split, count)) for first in range(0, count, split)] if count > split else []


def gathered(done: Iterable[tuple[Task, Row]], settings: Settings) -> Iterator[tuple[int, Row]]:
    """The number and the row of each job, of the rows of its tasks, which come in any order; and where it has several
    one file of theirs."""
    came: dict[int, list[tuple[Task, Row]]] = {}
    for task, row in done:
        if task.part is None:
            yield task.number, row
            continue
        parts = came.setdefault(task.number, [])
        parts.append((task, row))
        if len(parts) == task.parts:
            yield task.number, _row_of_parts(came.pop(task.number), settings)


def _row_of_parts(parts: Sequence[tuple[Task, Row]], settings: Settings) -> Row:
    whole = next((row for _, row in parts if row.key and not is_part(row.key)), None)
    seconds = sum(row.seconds for _, row in parts)
    if whole is not None:  # it was there before
        return replace(whole, seconds=seconds)
    fault = next((row for _, row in parts if row.status == "failed"), None)
    if fault is not None:
        return replace(fault, seconds=seconds)
    task, row = parts[0]
    try:
        merged = _merge(parts, settings)
    except (TapsdkError, OSError) as error:
        return replace(failed(task, reason(error)), seconds=seconds)
    status: Status = "kept" if all(row.status == "kept" for _, row in parts) else "done"
    return replace(row_of(task, merged, status, whole_key(row.key)), seconds=seconds)


def _merge(parts: Sequence[tuple[Task, Row]], settings: Settings) -> Result:
    """Writes the file of all parts, and removes theirs."""
    output = absolute(settings.home, parts[0][0].job.output)
    files = {task.part: (part_path(output, task.part), row.key) for task, row in parts if task.part is not None}
    results = [find_result(*files[part]) for part in sorted(files)]
    found = [result for result in results if result is not None]
    if len(found) < len(results):
        raise SaveError(f"could not write {output}: tracks of some of its points are gone; run the batch again")
    merged = Result(_concatenated([result.tracks for result in found]), found[0].ended)
    save_result(output, merged, whole_key(parts[0][1].key))
    for path, _ in files.values():
        remove(place(path))
    return merged


def _concatenated(tracks: Sequence[Tracks]) -> Tracks:
    def all_of(name: str) -> Any:
        return np.concatenate([getattr(each, name) for each in tracks])

    arrays = {name: all_of(name) for name in ("xy", "visible", "confidence", "queries")}
    return replace(tracks[0], ids=np.arange(len(arrays["xy"])), **arrays)
