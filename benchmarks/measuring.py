"""Turns of two runners, each in a process of its own, and what they say: medians of ratios, pair by pair."""

from __future__ import annotations

import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from benchmarks.models import FOLDER, ROOT
from benchmarks.runners import RUNNERS
from benchmarks.workloads import Workload
from tapsdk.system.machine import cores

WARM_UP = 3
"""Turns before those that are timed; a clip has none."""
SECONDS_PER_TURN = 0.25
"""Quick frames are timed several at once."""
MOST_FRAMES = 50
ROUNDS = (3, 12)
"""At least, however long they take, except of clips; at most."""
LIMIT = 420.0
"""Seconds that a runner may take to open, or for a turn, with all that it compiles then."""
CLIP_LIMIT = 1800.0
"""The same for a clip."""
PAUSE = 0.02
"""Seconds between turns: threads of the other process that wait by spinning have stopped by then."""
MOST_LOAD = 2.0
"""Processes that want to run for each processor, beyond which two threads are not measured."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class RunnerError(Exception):
    """A runner that does not run, with the reason."""


@dataclass(frozen=True)
class Turn:
    """Seconds of one frame, or of one clip: on the wall, and of the processor in all threads together."""

    wall: float
    processor: float

    def seconds(self, threads: int) -> float:
        """What counts: the processor's time where there is one thread, which nothing else on the machine adds to."""
        return self.processor if threads == 1 else self.wall


@dataclass(frozen=True)
class Ratio:
    """The median of ratios of neighbouring turns, and the quartiles around it."""

    median: float
    low: float
    high: float
    pairs: int


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How many times longer theirs took. The n-th of both were measured one after the other. At least one pair."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Ratio(statistics.median(ratios), low, high, len(ratios))


class Worker:
    """A runner in a process of its own. Close it, or use it as a context manager. Raises RunnerError."""

    def __init__(self, runner: str, workload: Workload, limit: float = LIMIT) -> None:
        self.workload, self._limit, self._frames = workload, limit, 0
        refused = RUNNERS[runner].absent() or (too_busy(load()) if workload.threads > 1 else "")
        if refused:
            raise RunnerError(refused)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env={**os.environ, **environment(workload.threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # so that those that it starts, such as compilers, end with it
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self._ask({"runner": runner, "workload": workload.to_table()})
            self._limit = max(limit, CLIP_LIMIT) if workload.clip else limit
            self.positions: list[list[float]] | None = None
            """[N, 2] after the warm-up; of a clip, after its last frame."""
            self.quick = Turn(1.0, 1.0) if workload.clip else self._warm_up()
        except BaseException:
            self.close()
            raise

    def _warm_up(self) -> Turn:
        """The last frame of several: the first ones may compile."""
        self.turn(WARM_UP - 1)
        return self.turn(1)

    def turn(self, count: int = 1) -> Turn:
        """The mean of so many frames, one after the other."""
        answer = self._ask({"turns": count})
        self._frames += count
        if self._frames == WARM_UP or self.workload.clip:
            self.positions = answer["positions"]
        return Turn(**answer["turn"])

    def peak_megabytes(self) -> float | None:
        """Of the process so far, Python included."""
        peak: int | None = self._ask({"turns": 0})["peak_memory"]
        return peak and peak / 1e6

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self._limit)
        except queue.Empty:
            raise RunnerError(f"not done within {self._limit:.0f} s") from None
        except OSError:
            line = b""
        if not line:
            raise RunnerError(f"its process ended: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RunnerError(answer["error"])
        return dict(answer)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else f"status {self._process.wait()}"

    def close(self) -> None:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def environment(threads: int) -> dict[str, str]:
    """For a process whose libraries are to use so many threads."""
    # XLA has no number of threads; the worker's own processors bound it.
    path = os.pathsep.join(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))
    return {
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": path,
        "TORCHINDUCTOR_CACHE_DIR": str(FOLDER / "torch-compile"),
    }


def load() -> float | None:
    """Processes that want to run, on average of the last minute, ours among them; None where no system tells."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def too_busy(load: float | None) -> str:
    """Why times on the wall would say nothing; "" if they would."""
    if load is None or load <= MOST_LOAD * cores():
        return ""
    return f"{load:.0f} processes want to run on {cores()} processors; times on the wall need a quiet machine"


def frames_per_turn(worker: Worker) -> int:
    """So many that a turn is long enough to be timed."""
    if worker.workload.clip:
        return 1
    return max(1, min(MOST_FRAMES, round(SECONDS_PER_TURN / max(worker.quick.wall, 1e-6))))


def alternate(ours: Worker, theirs: Worker, seconds: float) -> tuple[list[Turn], list[Turn]]:
    """Turns of both, A B A B, for about so many seconds."""
    least = 1 if ours.workload.clip else ROUNDS[0]
    counts = [frames_per_turn(worker) for worker in (ours, theirs)]
    turns: tuple[list[Turn], list[Turn]] = ([], [])
    ends = time.perf_counter() + seconds
    while len(turns[0]) < least or (len(turns[0]) < ROUNDS[1] and time.perf_counter() < ends):
        for worker, count, kept in zip((ours, theirs), counts, turns, strict=True):
            time.sleep(PAUSE)
            kept.append(worker.turn(count))
    return turns


def alone(worker: Worker, seconds: float) -> list[Turn]:
    """Turns of one."""
    count = frames_per_turn(worker)
    turns: list[Turn] = []
    ends = time.perf_counter() + seconds
    while not turns or (len(turns) < ROUNDS[1] and time.perf_counter() < ends):
        turns.append(worker.turn(count))
    return turns
