"""Temporary files and folders that exist just now, so that a signal that came at a bad moment leaves none behind.

What `kill -9` or a power cut leaves is known later by its lock, which the system lets go of when a process dies.
"""

from __future__ import annotations

import platform
import re
import secrets
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

ABANDONED_SECONDS = 60.0
"""A younger file may be one that is not locked yet."""

_present: set[Path] = set()


def temporary_name() -> str:
    """New and hidden. It names this machine: on a shared disk, locks of another need not show."""
    return f".tapsdk-{_machine()}-{secrets.token_hex(8)}.tmp"


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", platform.node())[:32]


if sys.platform == "win32":

    def claim(file: BinaryIO) -> bool:
        return False
else:
    import fcntl

    def claim(file: BinaryIO) -> bool:
        """Locks a temporary file for as long as it is open. Whether that could be done."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def remove_abandoned(folder: Path) -> None:
    """Removes temporary files of `AtomicFile` in a folder whose process on this machine has died."""
    with suppress(OSError):
        for path in folder.glob(f".tapsdk-{_machine()}-*.tmp"):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                with open(path, "r+b") as file:
                    if claim(file):
                        path.unlink()


def note(path: Path) -> None:
    """`path` is about to be made; whoever makes it removes or renames it, and then calls `forget`."""
    _present.add(path)


def forget(path: Path) -> None:
    _present.discard(path)


def remove() -> None:
    """Removes what is noted and still there. For a process that ends: whoever is at work on it loses it."""
    while _present:
        path = _present.pop()
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
