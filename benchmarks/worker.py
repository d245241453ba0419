"""The other side of `benchmarks.measuring.Worker`: one runner in this process. Orders and answers are lines of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from benchmarks.runners import RUNNERS, Turns
from benchmarks.workloads import Workload
from tapsdk.system.machine import peak_memory


def bind(threads: int) -> None:
    """So many processors for this process: no library then has more threads at work. Not every system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def take(turns: Turns, count: int) -> dict[str, Any]:
    """So many turns: the positions after them, and the mean time of one."""
    positions, began, spent = None, time.perf_counter(), time.process_time()
    for _ in range(count):
        positions = next(turns)
    wall, processor = time.perf_counter() - began, time.process_time() - spent
    return {
        "turn": {"wall": wall / max(count, 1), "processor": processor / max(count, 1)},
        "positions": None if positions is None else positions.tolist(),
    }


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # engines print as they like, also from C

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        start = json.loads(sys.stdin.readline())
        workload = Workload.from_table(start["workload"])
        bind(workload.threads)
        turns = RUNNERS[start["runner"]].open(workload)
        next(turns)
        answer({})
        for line in sys.stdin:
            answer({**take(turns, json.loads(line)["turns"]), "peak_memory": peak_memory()})
    except Exception as error:  # whatever it is, it is the row's reason
        answer({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:300]})


if __name__ == "__main__":
    serve()
