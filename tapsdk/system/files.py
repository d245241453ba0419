"""Files: results that a reader never meets half of, and sums that tell one file from another."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tapsdk.errors import SaveError
from tapsdk.system import leftovers, remote
from tapsdk.system.places import Place, Url, keep, place, scratch
from tapsdk.system.reading import reason

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
"""Bytes that are read at once."""


STDOUT = "-"
"""Standard output, as a path."""


def is_special_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a device, a pipe, a socket or `STDOUT`: something to write into, never to replace."""
    if os.fspath(path) == STDOUT:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def check_not_input(output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raises SaveError if writing `output` would replace one of the files `inputs`, by whatever name: another
    spelling, a symbolic link, a hard link. A device that is both, such as a terminal, is nothing to replace."""
    try:
        device = stat.S_ISCHR(os.stat(output).st_mode)
    except (OSError, ValueError):
        device = False
    taken = None if device else next((path for path in inputs if _is_same_file(output, path)), None)
    if taken is not None:
        name = "" if os.fspath(taken) == os.fspath(output) else f", {taken}"
        raise SaveError(f"could not write {output}: it would replace an input{name}; choose another name")


def _is_same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        pass
    try:
        # One of them is yet to be made.
        return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))
    except (OSError, ValueError):
        return False


class AtomicFile:
    """A binary file that appears under its name when it is complete, and not at all otherwise.

    The bytes go to a temporary file in the same folder, which `commit` renames. A file that is replaced leaves it its
    permissions. A device, a pipe or `STDOUT` has no such moment, so bytes go straight into it. As a context manager it
    commits on a clean exit and discards on any exception, Ctrl-C included. OSError becomes SaveError.

    Where `path` is a URL, `commit` uploads the file whole; if that fails, it stays on this machine, and the error says
    where.

    outdates: a file that is of no worth beside this one, such as a video that shows older tracks; it is removed right
        before, so that whatever happens nobody meets the two together. Devices and pipes stay.
    """

    def __init__(self, path: str | os.PathLike[str], outdates: str | os.PathLike[str] | None = None) -> None:
        self.path = place(path)
        self._direct = is_special_file(path)
        if os.path.isdir(path):
            raise SaveError(f"could not write {self.path}: it is a folder")
        try:
            self._target = _real(path)
            self._outdated = None if outdates is None or is_special_file(outdates) else _real(outdates)
            self._written, self.file = self._open()
        except (OSError, ValueError) as error:
            raise self.error(error) from error

    def _open(self) -> tuple[Path, BinaryIO]:
        if isinstance(self._target, Url):
            remote.check(self._target.text, writable=True)
            folder = scratch()
            leftovers.remove_abandoned(folder, again=False)
            return leftovers.create_file(folder)
        if self._direct:
            return Path(self.path), _stdout() if os.fspath(self.path) == STDOUT else open(self.path, "wb")
        leftovers.remove_abandoned(self._target.parent, again=False)
        # What takes the place of a private file is private from its first byte.
        mode = stat.S_IMODE(self._target.stat().st_mode) & 0o666 | 0o600 if self._target.exists() else 0o666
        return leftovers.create_file(self._target.parent, mode)

    @property
    def seekable(self) -> bool:
        """Whether a writer may go back, as it may not in a pipe or a device."""
        return not self._direct

    def error(self, cause: Exception) -> SaveError:
        """`cause` as a SaveError that says what was being written."""
        return SaveError(f"could not write {self.path}: {getattr(cause, 'strerror', None) or cause}")

    def commit(self) -> None:
        """Make what was written durable and give it its name."""
        try:
            self.file.flush()
            if not self._direct:
                os.fsync(self.file.fileno())
                self._publish()
            self.file.close()
        except OSError as error:
            self.discard()
            raise self.error(error) from error
        except BaseException:
            self.discard()
            raise

    def _publish(self) -> None:
        if sys.platform == "win32":
            self.file.close()  # or it cannot be renamed; elsewhere its lock is held until it is
        elif isinstance(self._target, Path):
            _take_permissions(self.file.fileno(), self._target)
        if self._outdated is not None:
            with suppress(OSError):
                remove(self._outdated)
        if isinstance(self._target, Url):
            self._send(self._target)
            self._written.unlink()
        else:
            os.replace(self._written, self._target)
        leftovers.forget(self._written)

    def _send(self, url: Url) -> None:
        try:
            remote.upload(self._written, url.text)
        except OSError as error:
            kept = keep(self._written, url.name)
            raise OSError(errno.EIO, f"{reason(error)}; what was to go there is kept as {kept}") from error
        except BaseException:
            logger.warning("%s was not written; what was to go there is kept as %s", url, keep(self._written, url.name))
            raise

    def discard(self) -> None:
        """Close and remove what was written."""
        # Closing flushes once more, and fails once more on a full disk.
        with suppress(OSError):
            self.file.close()
        if not self._direct:
            self._written.unlink(missing_ok=True)
            leftovers.forget(self._written)

    def __enter__(self) -> BinaryIO:
        return self.file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()
            return
        self.discard()
        if isinstance(error, OSError):
            raise self.error(error) from error


def _stdout() -> BinaryIO:
    """Standard output for bytes; closing it leaves the stream open. Raises OSError where there is none."""
    if sys.stdout is None or sys.stdout.closed:
        raise OSError(errno.EBADF, "there is no standard output")
    sys.stdout.flush()
    return open(os.dup(sys.stdout.fileno()), "wb")


def _real(given: str | os.PathLike[str]) -> Place:
    """The place itself: of a symbolic link, where it leads, so that the link stays one."""
    target = place(given)
    return target if isinstance(target, Url) else Path(os.path.realpath(target))


def remove(file: Place) -> None:
    """Raises OSError, but not for a file of this machine that is gone already."""
    if isinstance(file, Url):
        remote.remove(file.text)
    else:
        file.unlink(missing_ok=True)


def _take_permissions(descriptor: int, target: Path) -> None:
    """Gives an open file the owner, group and permissions of the one that it is to replace, as far as that may be."""
    try:
        old = target.stat()
    except OSError:
        return
    for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
        with suppress(OSError):
            os.fchown(descriptor, owner, group)
    # What one group may do is nothing that another may.
    kept = 0o777 if os.fstat(descriptor).st_gid == old.st_gid else 0o707
    with suppress(OSError):  # of file systems that know no permissions
        os.fchmod(descriptor, old.st_mode & kept)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; of a folder, that of the names and sums of the files in it."""
    digest = hashlib.sha256()
    if path.is_dir():
        for part in _files_of(path):
            digest.update(f"{part.relative_to(path).as_posix()}\0{sha256(part)}\n".encode())
        return digest.hexdigest()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(part.stat().st_size for part in _files_of(path)) if path.is_dir() else path.stat().st_size


def _files_of(folder: Path) -> list[Path]:
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.as_posix())
