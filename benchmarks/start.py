"""How long it takes until the first frame is tracked, in a fresh interpreter, when measurements are in the cache."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from benchmarks.measuring import RunnerError, environment

PROGRAM = """
import json, time
began = time.process_time()
import tapsdk
imported = time.process_time()
import numpy as np
frame = np.zeros((720, 1280, 3), np.uint8)
prepared = time.process_time()
model = tapsdk.load(threads=1)
opened = time.process_time()
tracker = tapsdk.Tracker(model=model)
tracker.add(np.full((64, 2), 100, np.float32))
tracker.step(frame)
done = time.process_time()
print(json.dumps({"import tapsdk": imported - began, "tapsdk.load()": opened - prepared, "first frame": done - opened}))
"""
TIMES = 5
LIMIT = 120.0


def measure() -> dict[str, float]:
    """Milliseconds of the processor by what is done, medians of fresh interpreters. Raises RunnerError."""
    once()  # which fills the cache
    found = [once() for _ in range(TIMES)]
    return {name: 1000 * statistics.median(each[name] for each in found) for name in found[0]}


def once() -> dict[str, float]:
    """Seconds by what is done, of one interpreter. Raises RunnerError."""
    variables = {**os.environ, **environment(1)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        raise RunnerError(f"not done within {LIMIT:.0f} s") from None
    if done.returncode:
        raise RunnerError((done.stderr.strip() or "it said nothing").splitlines()[-1])
    return dict(json.loads(done.stdout))
