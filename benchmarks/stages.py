"""Where the time of a frame goes: each stage and each kernel on its own, and the rest, which is Python.

In the processor's time, of one thread. Nothing in the plans is known here: sessions of the engine are told apart by
the stage that they were opened for, and kernels by their names, so that a plan that calls others shows them by
itself.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import tapkernels
from benchmarks.models import artifact_of
from benchmarks.rows import REST
from benchmarks.runners.ours import by_frame
from benchmarks.worker import bind
from benchmarks.workloads import Workload
from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends import Backend, Options, Session, open_backend
from tapsdk.runtime.model import open_model
from tapsdk.runtime.options import RunOptions

WARM_UP, LEAST, MOST, SECONDS = 3, 3, 60, 4.0
NAMES = {
    "resize_normalize": "resize",
    "cost_volume_track": "locate",
    "local_correlation": "lookup",
    "lucas_kanade": "following",
}
"""What kernels do, where their names are of the trade."""


class Clock:
    """Adds up the seconds of what it wraps, by name. Of calls within calls, the outer one counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._busy = False

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._busy:
                return call(*arguments, **named)
            self._busy, began = True, time.process_time()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds[name] += time.process_time() - began
                self._busy = False

        return timed


class TimedSession:
    def __init__(self, session: Session, name: str, clock: Clock) -> None:
        self.run = clock.wrap(name, session.run)


class TimedBackend:
    """A backend whose sessions are timed; everything else is the backend's own."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend, self._clock = backend, clock

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> TimedSession:
        return TimedSession(self._backend.open(file, stage, points), file.path.stem, self._clock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def answer(request: Mapping[str, Any]) -> dict[str, float]:
    """In a process of its own: milliseconds of a frame by where they go, medians of frames."""
    workload = Workload.from_table(request["workload"])
    bind(workload.threads)
    clock = Clock()
    for op in tapkernels.info()["ops"]:
        setattr(tapkernels, op, clock.wrap(NAMES.get(op, op), getattr(tapkernels, op)))
    backend: Any = TimedBackend(open_backend("onnxruntime", Options(threads=workload.threads)), clock)
    options = RunOptions(points=workload.points, threads=workload.threads)
    model = open_model(open_artifact(artifact_of(workload.model)), backend, request["plan"], options)
    turns = by_frame(workload, model)
    for _ in itertools.islice(turns, 1 + WARM_UP):
        pass
    frames: list[dict[str, float]] = []
    ends = time.perf_counter() + SECONDS
    while len(frames) < LEAST or (len(frames) < MOST and time.perf_counter() < ends):
        clock.seconds.clear()
        began = time.process_time()
        next(turns)
        whole = time.process_time() - began
        frames.append({**clock.seconds, REST: whole - sum(clock.seconds.values())})
    names = dict.fromkeys(name for frame in frames for name in frame)
    return {name: 1000 * statistics.median(frame.get(name, 0.0) for frame in frames) for name in names}
