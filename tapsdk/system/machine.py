"""What this machine is, for reports and for measurements that hold on it alone."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

import tapkernels

PROCESSOR_FILE = Path("/proc/cpuinfo")
PROCESSOR_LINES = ("model name", "CPU implementer", "CPU part")
"""How Linux names a processor there: the first on x86, the others on ARM."""


def describe_machine() -> dict[str, object]:
    """System, processor, cores that this process may use, and instruction sets of the kernels."""
    kernels = tapkernels.info()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": cores(),
        "isa": kernels["isa"],
        "available_isas": kernels["available_isas"],
    }


def fingerprint() -> dict[str, object]:
    """What decides how fast and how exactly engines compute here. Not the host's name: containers invent theirs."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": cores(),
        "isa": tapkernels.info()["isa"],
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = PROCESSOR_FILE.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    return " ".join(told[name] for name in PROCESSOR_LINES if name in told) or platform.machine()


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int | None:
    """Most bytes of memory that this process held at once; None where the system does not tell.

    On Linux from /proc: what getrusage says there includes the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return None
    import resource

    # Kilobytes, except on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def return_memory() -> None:
    """Gives freed memory back to the system, where the C library keeps it (glibc does): after work that took much."""
    with suppress(AttributeError, OSError, TypeError):  # no such function, no such library, none at all
        ctypes.CDLL(None).malloc_trim(0)
