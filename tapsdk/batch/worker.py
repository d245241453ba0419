"""Who tracks the videos of a batch, one after the other, with one model: in this process, in another, or on Ray."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tapsdk.api import loaded
from tapsdk.artifact import Artifact, open_artifact
from tapsdk.batch.jobs import Job
from tapsdk.batch.result import Result, content_key, find_result, save_result
from tapsdk.batch.table import Row, Status
from tapsdk.errors import FramesError, ModelError, TapsdkError
from tapsdk.points import QueryPoints, grid_points, parse_query_points
from tapsdk.runtime.model import Model
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.whole_video import track_video
from tapsdk.system.console import NO_MEMORY
from tapsdk.system.places import Url, local_copy, place
from tapsdk.system.reading import reason
from tapsdk.video.files import open_frames
from tapsdk.video.frames import FrameSource

logger = logging.getLogger(__name__)

Part = tuple[int, int]
"""The points [first, last) of a video that is split over workers."""


@dataclass(frozen=True)
class Settings:
    """What all workers of a batch have in common.

    options: as they were asked for. runs: the backend and plan that all of them use, see `settle`. home: the folder
    that relative paths start from. split: the most points of a video that are tracked together. anew: whether what is
    there already is computed again.
    """

    model: str
    options: RunOptions
    home: str
    runs: str = ""
    split: int | None = None
    anew: bool = False


@dataclass(frozen=True)
class Task:
    """A job, or some of its points, one of so many parts. number: of the job in the batch."""

    number: int
    job: Job
    part: Part | None = None
    parts: int = 1


def settle(settings: Settings) -> Settings:
    """The same, with the backend and the plan that all workers use, so that results do not depend on who computes them.

    Raises ModelError, ArtifactError and BackendError for what no worker could do.
    """
    model = loaded(settings.model, settings.options)
    if settings.split is not None and not model.manifest.points.independent:
        raise ModelError(f"points of {model.name} see each other, so that a video is not split: leave split out")
    return replace(settings, runs=f"{model.backend.name}:{model.plan.name}")


class Worker:
    """Opens the model when it is first needed, and keeps it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _artifact(self) -> Artifact:
        return open_artifact(self._settings.model)

    @cached_property
    def _model(self) -> Model:
        return loaded(self._artifact, replace(self._settings.options, backend=self._settings.runs, strict=False))

    def do(self, task: Task) -> Row:
        """Tracks the video of a job, unless that was done before, and says what became of it. What goes wrong with it
        is in the row."""
        began = time.perf_counter()
        try:
            row = self._do(task)
        except (TapsdkError, OSError) as error:
            row = failed(task, reason(error))
        except MemoryError:
            row = failed(task, NO_MEMORY)
        except Exception as error:  # of a library, over a video that nobody foresaw
            logger.error("%s: unexpected", task.job.video, exc_info=error)
            row = failed(task, f"{type(error).__name__}: {reason(error)}")
        return replace(row, seconds=time.perf_counter() - began)

    def _do(self, task: Task) -> Row:
        settings, job = self._settings, self._at_home(task.job)
        key, path = content_key(job, self._artifact.manifest, settings.options, settings.split), job.output
        found = None if settings.anew else find_result(path, key)
        if found is None and task.part is not None:
            key, path = part_key(key, task.part), part_path(path, task.part)
            found = None if settings.anew else find_result(path, key)
        status: Status = "done" if found is None else "kept"
        if found is None:
            found = self._track(job, task.part)
            save_result(path, found, key)
        return row_of(task, found, status, key)

    def _at_home(self, job: Job) -> Job:
        home, file = self._settings.home, job.points_file
        points = job.points if file is None else absolute(home, file)
        return replace(job, video=absolute(home, job.video), points=points, output=absolute(home, job.output))

    def _track(self, job: Job, part: Part | None) -> Result:
        model = self._model
        with _opened(job.video) as source:
            query = _query(job, source)
            if part is not None:
                query = QueryPoints(query.t[slice(*part)], query.xy[slice(*part)])
            try:
                return Result(track_video(model, source, query))
            except FramesError as error:
                if error.tracks is None:
                    raise
                return Result(error.tracks, reason(error))


def failed(task: Task, why: str) -> Row:
    """The row of a job that was not done. why: in one sentence, maybe of several lines."""
    return Row(task.job.video, task.job.output, "failed", " ".join(why.split()))


def row_of(task: Task, result: Result, status: Status, key: str) -> Row:
    """The row of a job that was done."""
    tracks = result.tracks
    measured = tracks.visible.size > 0
    return Row(
        task.job.video,
        task.job.output,
        "partial" if result.ended else status,
        result.ended,
        points=len(tracks),
        frames=tracks.num_frames,
        visible=float(tracks.visible.mean()) if measured else None,
        confidence=float(np.median(tracks.confidence)) if measured else None,
        key=key,
    )


def part_key(key: str, part: Part) -> str:
    """The key of some points of the job of this key."""
    return f"{key}:{part[0]}-{part[1]}"


def is_part(key: str) -> bool:
    return ":" in key


def whole_key(key: str) -> str:
    """The key of all points, of that of some."""
    return key.partition(":")[0]


def part_path(path: str, part: Part) -> str:
    """Where the tracks of some points are until those of the others are there, too."""
    suffix = place(path).suffix
    return f"{path.removesuffix(suffix)}.points-{part[0]}-{part[1]}.npz"


def absolute(home: str, path: str) -> str:
    """A path that may be relative to a folder; a URL as it is."""
    source = place(path)
    return source.text if isinstance(source, Url) else os.path.join(home, os.path.expanduser(source))


@contextmanager
def _opened(video: str) -> Iterator[FrameSource]:
    with local_copy(video, FramesError) as path, open_frames(path) as source:
        yield source


def _query(job: Job, source: FrameSource) -> QueryPoints:
    points = job.rows() if job.grid is None else grid_points(job.grid, source.size)
    return parse_query_points(points, num_frames=source.known_frames, frame_size=source.size)
