"""Time every kernel on every instruction set of this machine, against its numpy reference and PyTorch.

    python -m benchmarks.kernels [--op mixer] [--threads 1] [--json FILE]

A time is the median of many calls after a warm-up: the processor's for one thread, that of a clock for several. Calls
that are compared take turns, so that what else the machine does falls on all of them. The numpy reference is written to
be read, not to be fast. PyTorch, where it is installed, does the same work as its users would write it, on the same
number of threads, and ONNX Runtime runs the bundled model's stage that does it, if there is one. Where matrix products
are most of the work, its rate stands beside that of such a product in PyTorch, measured in the same turns. Memory is
what the first call makes a fresh process grow by, beyond what the call gives.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import tapkernels
from benchmarks.kernel_cases import Call, Case, make_cases
from tapkernels import reference

SECONDS_PER_MEASUREMENT = 0.5


def matrix_product(torch: Any) -> tuple[Call, int]:
    """A product that is large enough for full speed, and its multiplications."""
    size = 512
    a, b, c = (torch.rand(size, size) for _ in range(3))
    return lambda: torch.mm(a, b, out=c), size**3


def milliseconds(calls: dict[str, Call], clock: Callable[[], float]) -> dict[str, float]:
    """Of each, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + SECONDS_PER_MEASUREMENT * len(calls)
    while len(next(iter(times.values()))) < 5 or time.perf_counter() < end:
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(1000 * (clock() - start))
    return {name: statistics.median(each) for name, each in times.items()}


def import_torch(threads: int) -> Any | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


def in_onnxruntime(case: Case, threads: int) -> Call | None:
    if case.in_onnxruntime is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return case.in_onnxruntime(options, case)


def growth(case: int, threads: int) -> float | None:
    """Megabytes by which a call makes this process grow, beyond what it gives; of a fresh process, on Linux."""
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        return None
    chosen = make_cases()[case]
    peak.write_text("5")  # the highest memory so far is forgotten
    before = resident_peak()
    found = getattr(tapkernels, chosen.op)(*chosen.arguments, threads=threads)
    given = sum(array.nbytes for array in (found if isinstance(found, tuple) else (found,)))
    return max(resident_peak() - before - given / 2**20, 0.0)


def resident_peak() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(case: Case, threads: int, torch: Any | None) -> list[dict[str, Any]]:
    def on(isa: str) -> Call:
        def call() -> object:
            tapkernels.set_isa(isa)
            return getattr(tapkernels, case.op)(*case.arguments, threads=threads)

        return call

    isas, count = tapkernels.info()["available_isas"], 0
    calls: dict[str, Call] = {isa: on(isa) for isa in isas}
    calls["numpy"] = lambda: getattr(reference, case.op)(*case.arguments)
    if torch:
        calls["torch"] = case.in_torch(torch, case)
    if stage := in_onnxruntime(case, threads):
        calls["onnxruntime"] = stage
    if torch and case.products:
        calls["product"], count = matrix_product(torch)
    ms = milliseconds(calls, time.process_time if threads == 1 else time.perf_counter)
    tapkernels.set_isa(None)
    return [
        {
            "op": case.op,
            "case": case.what,
            "isa": isa,
            "threads": threads,
            "ms": ms[isa],
            **{f"times_faster_than_{other}": ms[other] / ms[isa] if other in ms else None for other in OTHERS},
            "gflops": 2e-6 * case.products / ms[isa] if case.products else None,
            "gflops_of_product": 2e-6 * count / ms["product"] if count else None,
        }
        for isa in isas
    ]


OTHERS = ("numpy", "torch", "onnxruntime")
COLUMNS = {
    "x numpy": "times_faster_than_numpy",
    "x torch": "times_faster_than_torch",
    "x ONNX": "times_faster_than_onnxruntime",
    "GFLOP/s": "gflops",
    "product": "gflops_of_product",
    "MB": "megabytes",
}


def line(row: dict[str, Any]) -> str:
    numbers = (row[name] for name in COLUMNS.values())
    cells = "".join(f"{'-':>10}" if number is None else f"{number:10.1f}" for number in numbers)
    return f"{row['op']:20}{row['case']:26}{row['isa']:8}{row['ms']:9.3f}{cells}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels against numpy, PyTorch and ONNX Runtime.")
    parser.add_argument("--op", choices=tapkernels.info()["ops"], help="this one alone")
    parser.add_argument("--threads", type=int, default=1, help="threads per call (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    arguments = parser.parse_args()

    torch = import_torch(arguments.threads)
    rows = []
    print(f"{'op':20}{'case':26}{'isa':8}{'ms':>9}" + "".join(f"{head:>10}" for head in COLUMNS))
    for i, case in enumerate(make_cases()):
        if arguments.op not in (None, case.op):
            continue
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            megabytes = fresh.submit(growth, i, arguments.threads).result()
        for row in measure(case, arguments.threads, torch):
            rows.append(row | {"megabytes": megabytes})
            print(line(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
