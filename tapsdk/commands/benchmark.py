"""Models on backends: does it run, is it right, how fast is it, and how much memory does it take?"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import tapsdk
from tapsdk.artifact import Artifact, open_artifact
from tapsdk.backends import BACKENDS
from tapsdk.commands.table import aligned, number
from tapsdk.errors import BackendError
from tapsdk.runtime.model import open_model
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.plans import plans_of
from tapsdk.runtime.rollout import roll_out
from tapsdk.selection.accuracy import Rollout
from tapsdk.selection.candidates import BASE, export_hint, readable_format, why_absent
from tapsdk.selection.decision import decide, learn
from tapsdk.selection.isolated import IsolationError, run_isolated
from tapsdk.selection.probe import Workload, at_size, compared_tracks, start_engine, workload_for
from tapsdk.selection.probe_cache import Measurement
from tapsdk.selection.reference import moving_pattern, read_reference
from tapsdk.system.machine import describe_machine, peak_memory

logger = logging.getLogger(__name__)

WARM_UP = 3
"""Frames before those that are timed."""
PATTERN_FRAMES = 24
"""The video, which goes on by beginning again."""
TIME_LIMIT = 600.0
"""Seconds that a row may take, beside `FRAME_LIMIT` for each frame."""
FRAME_LIMIT = 10.0


@dataclass(frozen=True)
class Settings:
    """points: how many are tracked. frames: how many are timed. threads, device: None for the engine's own choice."""

    points: int = 64
    frames: int = 50
    threads: int | None = None
    device: str | None = None

    @property
    def options(self) -> RunOptions:
        return RunOptions(points=self.points, threads=self.threads, device=self.device)


@dataclass(frozen=True)
class Row:
    """One model with one plan of one backend; None is what there is not.

    status: "ok"; "wrong", if the tracks are off by more than the precision allows; "failed"; "no file", if the artifact
    has no format that the backend reads; "not installed". reason: of all but "ok".
    pixel_error: off the tracks of PyTorch, or, for an artifact without these, off the model's first row.
    """

    model: str
    precision: str
    backend: str
    plan: str = ""
    status: str = "ok"
    reason: str = ""
    engine: str = ""
    megabytes: float | None = None
    pixel_error: float | None = None
    milliseconds_p50: float | None = None
    milliseconds_p95: float | None = None
    points_per_second: float | None = None
    peak_megabytes: float | None = None
    """Of the process that ran it, Python included."""
    auto: bool = False
    """Whether `backend="auto"` runs this."""


def open_models(models: Sequence[str]) -> dict[str, Artifact]:
    """The artifacts of names and directories, undamaged. Raises ModelError, ArtifactError."""
    artifacts = {model: open_artifact(model) for model in models}
    for artifact in artifacts.values():
        artifact.verify()
    return artifacts


def choose_backends(text: str) -> list[str]:
    """Names of "all", or of a list with commas. Raises BackendError."""
    names = list(BACKENDS) if text == "all" else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in BACKENDS]
    if unknown:
        raise BackendError(f"unknown backend {unknown[0]!r}; use all, or some of {','.join(BACKENDS)}")
    return sorted(dict.fromkeys(names), key=lambda name: name != BASE)


def benchmark(
    artifacts: Mapping[str, Artifact], backends: Sequence[str], settings: Settings = Settings()
) -> Iterator[Row]:
    """A row for every model, backend and plan, each when it was measured. Each runs in a process of its own."""
    for model, artifact in artifacts.items():
        expected: Rollout | None = read_reference(artifact)
        for backend in backends:
            for plan in _plans(artifact, backend):
                empty = Row(model, artifact.manifest.precision, backend, plan)
                row, tracks = _measure(artifact, empty, expected, settings)
                yield row
                expected = expected or tracks


def mark_auto(artifacts: Mapping[str, Artifact], rows: Sequence[Row], settings: Settings, complete: bool) -> list[Row]:
    """The rows, with those marked that auto runs.

    Where they are of all that auto chooses from, it knows these numbers from now on, which are better than its own. If
    they are not, and complete, it is asked.
    """
    marked = list(rows)
    for model, artifact in artifacts.items():
        measured = [_as_measurement(row) for row in rows if row.model == model and row.plan]
        decision = learn(artifact, settings.options, measured)
        if decision is None and complete:
            decision = decide(artifact, settings.options)
        if decision and decision.winner:
            auto = model, decision.winner.backend, decision.winner.plan
            marked = [replace(row, auto=True) if (row.model, row.backend, row.plan) == auto else row for row in marked]
    return marked


def _as_measurement(row: Row) -> Measurement:
    return Measurement(row.backend, row.plan, row.milliseconds_p50, row.pixel_error, row.reason)


def _plans(artifact: Artifact, backend: str) -> tuple[str, ...]:
    format = readable_format(BACKENDS[backend].formats, artifact.manifest)
    return plans_of(artifact.manifest, format) if format and not why_absent(BACKENDS[backend]) else ("",)


def _measure(artifact: Artifact, row: Row, expected: Rollout | None, settings: Settings) -> tuple[Row, Rollout | None]:
    """The row with its numbers, and the tracks."""
    manifest, source = artifact.manifest, BACKENDS[row.backend]
    absent = why_absent(source)
    if absent:
        return replace(row, status="not installed", reason=absent), None
    format = readable_format(source.formats, manifest)
    if format is None:
        return replace(row, status="no file", reason=export_hint(source.formats, manifest)), None
    row = replace(row, megabytes=manifest.bytes_of(format) / 1e6)
    workload = workload_for(manifest, settings.points, manifest.frames.size, read_reference(artifact))
    request = {
        "artifact": str(artifact.directory.resolve()),
        "backend": row.backend,
        "info": asdict(source),
        "plan": row.plan,
        "workload": asdict(workload),
        "frames": settings.frames,
        "options": asdict(settings.options.engine),
    }
    try:
        found = run_isolated("tapsdk.commands.benchmark:answer", request, TIME_LIMIT + FRAME_LIMIT * settings.frames)
    except IsolationError as error:
        return replace(row, status="failed", reason=str(error)), None
    return _judged(row, found, expected, settings)


def _judged(row: Row, found: Mapping[str, Any], expected: Rollout | None, settings: Settings) -> tuple[Row, Rollout]:
    tracks = Rollout.from_table(found["tracks"])
    p50, p95 = (float(np.percentile(found["milliseconds"], share)) for share in (50, 95))
    peak = found["peak_memory"]
    row = replace(
        row,
        engine=found["engine"],
        milliseconds_p50=p50,
        milliseconds_p95=p95,
        points_per_second=1000 * settings.points / p50,
        peak_megabytes=peak and peak / 1e6,
    )
    difference = tracks.difference(expected) if expected else None
    complaint = difference.complaint(row.precision) if difference else ""
    pixels = difference.counted(row.precision) if difference else None
    row = replace(row, pixel_error=pixels if pixels is not None and np.isfinite(pixels) else None)
    return (replace(row, status="wrong", reason=complaint) if complaint else row), tracks


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """In a process of its own, so that its memory is its own: runs one row."""
    engine = start_engine(request)
    artifact = open_artifact(Path(request["artifact"]))
    model = open_model(artifact, engine, request["plan"])
    workload = Workload.from_table(request["workload"])
    tracks = compared_tracks(model, workload)
    video, xy = moving_pattern(workload.size, PATTERN_FRAMES, workload.points)
    frames = itertools.islice(itertools.cycle(video), WARM_UP + request["frames"])
    times = [1000 * each.seconds for each in roll_out(at_size(model, workload.size), frames, xy)]
    return {
        "engine": engine.describe(),
        "tracks": tracks.to_table(),
        "milliseconds": times[WARM_UP:],
        "peak_memory": peak_memory(),
    }


def to_report(rows: Sequence[Row], settings: Settings, complete: bool = True) -> dict[str, Any]:
    """Everything, as JSON has it. complete: whether no row is missing."""
    return {
        "tapsdk": tapsdk.__version__,
        "machine": describe_machine(),
        **asdict(settings),
        "complete": complete,
        "rows": [asdict(row) for row in rows],
    }


HEADER = ("model", "backend", "status", "MB", "px off", "ms p50", "ms p95", "points/s", "peak MB", "")


def render(rows: Sequence[Row]) -> str:
    """The rows for people; an asterisk marks what auto runs."""
    return aligned([HEADER, *map(_cells, rows)])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.model} {row.precision}",
        f"{row.backend}{':' if row.plan else ''}{row.plan}{' *' if row.auto else ''}",
        row.status,
        number(row.megabytes, ".1f"),
        number(row.pixel_error, ".2g"),
        number(row.milliseconds_p50, ".1f"),
        number(row.milliseconds_p95, ".1f"),
        number(row.points_per_second, ".0f"),
        number(row.peak_megabytes, ".0f"),
        row.reason,
    )
