"""A short measurement of the plans of one engine: what tracks they give, and how fast."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapsdk.artifact import Artifact, open_artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import BACKENDS, Backend, EngineInfo, Options, open_backend
from tapsdk.errors import ArtifactError, BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.model import Model, open_model
from tapsdk.runtime.plans import suits
from tapsdk.runtime.rollout import roll_out
from tapsdk.selection import reference
from tapsdk.selection.accuracy import Rollout
from tapsdk.selection.isolated import run_isolated
from tapsdk.selection.reference import moving_pattern
from tapsdk.tracks import Tracks

TIMED_FRAMES = 5
ENOUGH = 3
"""Frames that each of the two parts of a measurement takes even if they take long."""
SECONDS = 0.25
"""Once this has passed, it begins no more of them than that: who asked for tracks waits for all of it."""
TIME_LIMIT = 300.0
"""Seconds that an engine may take in a process of its own, to start, compile the model and be measured."""


@dataclass(frozen=True)
class Workload:
    """What every plan is measured with.

    points: how many are tracked while time is taken, in frames of (height, width) `size`.
    shape: (points, frames) of the pattern whose tracks are compared, in frames of (height, width) `compared_size`.
    """

    points: int
    size: Size
    shape: tuple[int, int]
    compared_size: Size

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Workload:
        """From what `asdict` became on its way through JSON."""
        return Workload(table["points"], tuple(table["size"]), tuple(table["shape"]), tuple(table["compared_size"]))


@dataclass(frozen=True)
class Trial:
    """What one plan did: its tracks of the pattern and milliseconds per frame, or why there are none."""

    plan: str
    rollout: Rollout | None = None
    milliseconds: float | None = None
    refused: str = ""

    def to_table(self) -> dict[str, Any]:
        return {**vars(self), "rollout": self.rollout and self.rollout.to_table()}

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Trial:
        return Trial(**{**table, "rollout": table["rollout"] and Rollout.from_table(table["rollout"])})


def try_plans(artifact: Artifact, backend: Backend, names: Sequence[str], workload: Workload) -> list[Trial]:
    """Measures plans on an engine, in turns, so that whatever else the machine does meets all of them.

    Plans that are not for where it computes are left out, unless there is no other.
    """
    names = [name for name in names if suits(name, backend.place)] or names
    models: dict[str, Model] = {}
    refused: dict[str, str] = {}
    tracks: dict[str, Rollout] = {}
    for name in names:
        try:
            models[name] = open_model(artifact, backend, name)
            tracks[name] = compared_tracks(models[name], workload)
        except (ArtifactError, BackendError) as error:
            models.pop(name, None)
            refused[name] = str(error)
    times = _race(models, workload, refused)
    return [Trial(name, tracks.get(name), times.get(name), refused.get(name, "")) for name in names]


def try_plans_apart(
    artifact: Artifact,
    backend: str,
    names: Sequence[str],
    workload: Workload,
    options: Options,
    seconds: float = TIME_LIMIT,
) -> list[Trial]:
    """The same in a process of its own, which starts the engine. Raises IsolationError if the process fails."""
    request = {
        "artifact": str(artifact.directory.resolve()),
        "backend": backend,
        "info": asdict(BACKENDS[backend]),
        "plans": list(names),
        "workload": asdict(workload),
        "options": asdict(options),
    }
    answer = run_isolated("tapsdk.selection.probe:answer", request, seconds)
    return [Trial.from_table(table) for table in answer]


def answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The other side of `try_plans_apart`."""
    engine = start_engine(request)
    artifact = open_artifact(Path(request["artifact"]))
    workload = Workload.from_table(request["workload"])
    return [trial.to_table() for trial in try_plans(artifact, engine, request["plans"], workload)]


def start_engine(request: Mapping[str, Any]) -> Backend:
    """The engine that another process asks for, which may know rows that this one does not."""
    BACKENDS[request["backend"]] = EngineInfo(**request["info"])
    return open_backend(request["backend"], Options(**request["options"]))


def workload_for(manifest: Manifest, points: int, size: Size, expected: reference.Reference | None) -> Workload:
    """points and size to take time with; the pattern that is compared is the reference's, where there is one."""
    if expected is not None:
        return Workload(points, size, expected.xy.shape[:2], expected.size)
    most = min((buckets[-1] for buckets in manifest.points.buckets.values()), default=reference.POINTS)
    return Workload(points, size, (min(reference.POINTS, most), reference.FRAMES), manifest.frames.size)


def compared_tracks(model: Model, workload: Workload) -> Rollout:
    """Tracks of the pattern, or of its first frames if they take long."""
    count, frames = workload.shape
    video, xy = moving_pattern(workload.compared_size, frames, count)
    found: list[Tracks] = []
    ends = time.perf_counter() + SECONDS
    for each in roll_out(at_size(model, workload.compared_size), video, xy):
        found.append(each.tracks)
        if len(found) >= ENOUGH and time.perf_counter() > ends:
            break
    return Rollout(*(np.concatenate(parts, 1) for parts in zip(*((t.xy, t.visible) for t in found), strict=True)))


def at_size(model: Model, size: Size) -> Model:
    """The model on frames of (height, width) `size` as they are, where it takes frames of more than one size."""
    return model.at(size if model.manifest.frames.multiple else None)


def _race(models: Mapping[str, Model], workload: Workload, refused: dict[str, str]) -> dict[str, float]:
    """Milliseconds per frame of each model; those that fail are noted in `refused`."""
    video, xy = moving_pattern(workload.size, 1 + TIMED_FRAMES, workload.points)
    runs = {name: roll_out(at_size(model, workload.size), video, xy) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    ends = time.perf_counter() + SECONDS
    for _ in video:
        for name in list(runs):
            try:
                times[name].append(1000 * next(runs[name]).seconds)
            except (ArtifactError, BackendError) as error:
                del runs[name]
                refused[name] = str(error)
        if all(len(times[name]) >= ENOUGH for name in runs) and time.perf_counter() > ends:
            break
    # The first frame warms up; the least disturbed of the others is what the plan can do.
    return {name: min(times[name][1:]) for name in runs}
