"""The file of tracks of one video, which says what it was made of: so it is known later whether it is asked for.

The file of the same video, points, model and options is the same to the byte, whoever computed it: nothing that a clock
has a say in goes into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tapsdk.artifact.manifest import Manifest
from tapsdk.batch.jobs import Job
from tapsdk.batch.outputs import make_folder
from tapsdk.errors import FramesError, PointsError, TracksError
from tapsdk.runtime.options import RunOptions
from tapsdk.system import remote
from tapsdk.system.files import sha256
from tapsdk.system.places import Url, place
from tapsdk.system.reading import reading, reason
from tapsdk.tracks import RunReport, Tracks, report_from
from tapsdk.tracks_files import read_tracks, write_tracks
from tapsdk.video.files import files_of

KEY, ENDED = "key", "ended_early"
"""In the report of a file: of what the tracks were made; and why they end before the video, where they do."""
OPTIONS = ("backend", "device", "threads", "resolution", "memory", "pace")
"""That tell results apart."""
VERSION = 1
"""Of what keys are made of."""


@dataclass(frozen=True)
class Result:
    """Tracks, and why they end before the video; "" where they do not."""

    tracks: Tracks
    ended: str = ""


def content_key(job: Job, manifest: Manifest, options: RunOptions, split: int | None) -> str:
    """What tells the result of a job from any other: the video's bytes, the points, the model and the options.

    Raises FramesError for a video that cannot be read, PointsError for points that cannot be.
    """
    said = {
        "version": VERSION,
        "video": _digest(job.video),
        "points": job.points if job.points_file is None else _digest_of_file(job.points_file),
        "grid": job.grid,
        "model": hashlib.sha256(manifest.to_json().encode()).hexdigest(),
        "options": [getattr(options, name) for name in OPTIONS],
        "split": split,
    }
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _digest(video: str) -> Any:
    """Of a file in a store what the store says of its version, so that it need not be fetched."""
    source = place(video)
    try:
        if isinstance(source, Url):
            return remote.version(source.text)
        files = sorted(files_of(source))
        if not all(stat.S_ISREG(os.stat(file).st_mode) for file in files):
            raise FramesError(
                f"{video} can be read once, or is none: a batch takes videos in files and folders of images"
            )
        # The names of images say in which order they come.
        return [[file.name if len(files) > 1 else "", sha256(file)] for file in files]
    except OSError as error:
        raise FramesError(f"{source}: {reason(error)}") from error


def _digest_of_file(path: str) -> str:
    source = place(path)
    with reading(source, "holds no points", PointsError):
        return remote.version(source.text) if isinstance(source, Url) else sha256(source)


def find_result(path: str, key: str) -> Result | None:
    """What is in a file that is whole and of this key; None where there is no such file.

    A .csv has no room for a key. Raises StorageError where nobody can say.
    """
    source = place(path)
    if source.suffix.lower() == ".csv" or not source.exists():
        return None
    try:
        stored = read_tracks(path)
        report = stored["report"]
        if not isinstance(report, dict) or report.get(KEY) != key:
            return None
        return Result(Tracks(**{**stored, "report": report_from(report)}), str(report[ENDED]))
    except (TracksError, KeyError, TypeError, ValueError):  # another file, or a damaged one
        return None


def save_result(path: str, result: Result, key: str) -> None:
    """Raises SaveError. The file appears whole or not at all; the folder is made if need be."""
    make_folder(os.path.dirname(path))
    tracks, report = result.tracks, result.tracks.report or RunReport()
    stored = {f.name: getattr(tracks, f.name) for f in fields(tracks)}
    about = replace(report, frames_per_second=None, milliseconds={}, refused={})
    write_tracks(path, {**stored, "report": {**asdict(about), KEY: key, ENDED: result.ended}})
