"""Where tapsdk keeps what it fetched, and a lock so that two processes do not write there at once."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

VARIABLE = "TAPSDK_CACHE"
"""Environment variable that names another folder."""
POLL_SECONDS = 0.1


def cache_directory() -> Path:
    """The folder of `TAPSDK_CACHE`, else the platform's cache folder of the user. It need not exist yet.

    Raises RuntimeError for a user without a home folder.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "tapsdk" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tapsdk"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapsdk"


def cache_folder(name: str) -> Path:
    """A folder in the cache, which is made if need be. Raises OSError."""
    try:
        folder = cache_directory() / name
    except RuntimeError as error:
        raise OSError(errno.ENOENT, f"there is no folder for a cache: {error}; set {VARIABLE} to one") from error
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Holds the lock of the file `path`, once whoever else holds it has let go.

    The system lets go of it when a process dies, so that none is ever left over; the empty file stays. Raises
    OSError where the file cannot be made or the file system cannot lock.
    """
    with open(path, "ab") as file:
        while not _try_lock(file):
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
