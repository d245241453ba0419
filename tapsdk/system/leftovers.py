"""Temporary files and folders that exist just now, so that a signal that came at a bad moment leaves none behind.

What `kill -9` or a power cut leaves is known later by its lock, which the system lets go of when a process dies.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

UNLOCKED_SECONDS = 60.0
"""Where nothing can be locked, a file must be as old as this to be removed."""
FOREIGN_SECONDS = 7 * 86400.0
"""A file of another machine, or of a container that is gone, must be as old: on a shared disk, locks need not show."""
NAME = re.compile(r"\.tapsdk-(?P<machine>\w*)-[0-9a-f]{16}\.tmp")
ATTEMPTS = 3

_present: set[Path] = set()
_searched: set[Path] = set()


def temporary_name() -> str:
    """New and hidden. It names this machine."""
    return f".tapsdk-{_machine()}-{secrets.token_hex(8)}.tmp"


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", platform.node())[:32]


if sys.platform == "win32":

    def _lock(descriptor: int, wait: bool) -> bool:
        return False
else:
    import fcntl

    def _lock(descriptor: int, wait: bool) -> bool:
        """Locks an open file or folder for as long as it is open. Whether that could be done."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            return False
        return True


def is_taken(file: BinaryIO) -> bool:
    """Whether another process has locked an open file; if not, this one has from now on, until it is closed. Where the
    system has no such locks, nobody ever has."""
    return sys.platform != "win32" and not _lock(file.fileno(), wait=False)


def _locked(folder: Path) -> int | None:
    """The open folder, locked, where the system has such a thing."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    _lock(descriptor, wait=True)
    return descriptor


def create_file(folder: Path, mode: int = 0o666) -> tuple[Path, BinaryIO]:
    """A new temporary file, open for writing and locked: noted, so that whoever asked for it is to call `forget` when
    it is renamed or removed. Raises OSError and ValueError.

    mode: permissions, of which the user's umask takes some.
    """
    for _ in range(ATTEMPTS):
        path = folder / temporary_name()
        note(path)
        try:
            file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        except (OSError, ValueError):
            forget(path)
            raise
        _lock(file.fileno(), wait=True)
        if path.exists():  # not taken for abandoned in the moment without a lock
            break
        forget(path)
        file.close()
    return path, file


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, which is gone in the end unless it was renamed. Raises OSError.

    parent: where it is to be; None: where the system has such things, and for the user alone.
    """
    place, mode = (Path(tempfile.gettempdir()), 0o700) if parent is None else (parent, 0o777)
    remove_abandoned(place)
    path, descriptor = place / temporary_name(), None
    note(path)
    try:
        path.mkdir(mode)
        descriptor = _locked(path)
        path.mkdir(mode, exist_ok=True)  # if it was taken for abandoned in the moment without a lock
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)
        forget(path)


def remove_abandoned(folder: Path, again: bool = True) -> None:
    """Removes temporary files and folders of processes that have died from a folder.

    again: also where this process has done so before.
    """
    if not again and folder in _searched:
        return
    _searched.add(folder)
    with suppress(OSError):
        for path in folder.glob(".tapsdk-*.tmp"):
            with suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    name, age = NAME.fullmatch(path.name), time.time() - path.lstat().st_mtime
    if name is None or path in _present or path.is_symlink():
        return
    if name["machine"] != _machine() and age < FOREIGN_SECONDS:
        return
    if sys.platform == "win32":
        # Windows removes no file that is open.
        if age > UNLOCKED_SECONDS:
            _remove(path)
        return
    # Writable, as some file systems want of what they lock.
    access = os.O_RDONLY if path.is_dir() else os.O_RDWR
    descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if _lock(descriptor, wait=False):
            _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def note(path: Path) -> None:
    """`path` is about to be made; whoever makes it removes or renames it, and then calls `forget`."""
    _present.add(path)


def forget(path: Path) -> None:
    _present.discard(path)


def remove() -> None:
    """Removes what is noted and still there. For a process that ends: whoever is at work on it loses it."""
    while _present:
        with suppress(OSError):
            _remove(_present.pop())
