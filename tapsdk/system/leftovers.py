"""Temporary files and folders that exist just now, so that a signal that came at a bad moment leaves none behind."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

_present: set[Path] = set()


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
