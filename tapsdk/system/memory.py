"""How much memory there is, and how much somebody wants to give."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from tapsdk.errors import TapsdkError

MEMORY_FILE = Path("/proc/meminfo")
GROUP_FILES = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""The limit of a container, and what is taken of it, by version 2 and version 1 of control groups."""
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?\s*", re.IGNORECASE)


def parse_bytes(amount: str | int) -> int:
    """Bytes of a number, or of a text such as "2GB", "1.5 GiB" or "800M". Raises TapsdkError."""
    found = AMOUNT.fullmatch(amount) if isinstance(amount, str) else None
    count = int(float(found[1]) * UNITS[found[2].lower()]) if found else amount
    if type(count) is not int or count < 1:
        raise TapsdkError(f"memory must be a number of bytes, or a text such as '2GB' or '800M', got {amount!r}")
    return count


def free_memory() -> int | None:
    """Bytes that this process can still take before others have to give way, as far as the system and the container
    tell; all that the machine has where it says no more; None where it says nothing."""
    known = [bytes for bytes in (_available(), *_left_in_groups()) if bytes is not None]
    return max(0, min(known)) if known else None


def _available() -> int | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMORY_FILE.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_in_groups() -> list[int]:
    found = []
    for limit, taken in GROUP_FILES:
        with suppress(OSError, ValueError):  # no such file, or no limit, which version 2 calls "max"
            found.append(int(limit.read_text("ascii")) - int(taken.read_text("ascii")))
    return found
