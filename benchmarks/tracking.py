"""Speed of the runtime: python benchmarks/tracking.py [--model tapir] [--points 1,64,256] [--json FILE]

One row per plan and number of points: milliseconds per frame from the raw frame to the tracks (median and 95th
percentile), frames per second, and the time of `import tapsdk` in a fresh interpreter. Frames are 1280x720 noise:
what is in them does not change the work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import tapsdk

SIZE = (720, 1280)
WARM_UP = 5


def measure(model: str, backend: str, points: int, frames: int) -> dict[str, object]:
    stream = tapsdk.load(model, backend=backend, points=points).stream()
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (8, *SIZE, 3), np.uint8)
    xy = rng.uniform(0, 1, (points, 2)).astype(np.float32) * np.float32(SIZE[::-1])
    nothing = np.zeros((0, 2), np.float32)
    stream.advance(stream.prepare(video[0]), SIZE, xy)
    times = []
    for t in range(WARM_UP + frames):
        began = time.perf_counter()
        stream.advance(stream.prepare(video[t % len(video)]), SIZE, nothing)
        times.append(1000 * (time.perf_counter() - began))
    times = times[WARM_UP:]
    median, late = np.percentile(times, [50, 95])
    return {"backend": backend, "points": points, "ms": median, "ms_p95": late, "fps": 1000 / median}


def import_seconds() -> float:
    """Best of five fresh interpreters."""
    code = "import time; t = time.perf_counter(); import tapsdk; print(time.perf_counter() - t)"
    runs = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5))
    return min(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tapir")
    parser.add_argument("--points", default="1,64,256,1024")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for points in map(int, args.points.split(",")):
        for plan in ("fused", "native"):
            row = measure(args.model, f"onnxruntime:{plan}", points, args.frames)
            rows.append(row)
            times = f"{row['ms']:7.1f} ms  p95 {row['ms_p95']:7.1f} ms  {row['fps']:6.1f} fps"
            print(f"{row['backend']:20s} {points:5d} points  {times}")
    seconds = import_seconds()
    print(f"import tapsdk: {1000 * seconds:.0f} ms")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "import_seconds": seconds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
