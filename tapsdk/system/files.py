"""Files: results that a reader never meets half of, and sums that tell one file from another."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tapsdk.errors import SaveError
from tapsdk.system import leftovers

CHUNK = 1 << 20
"""Bytes that are read at once."""


def is_special_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a device, a pipe or a socket: something to write into, never to replace."""
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

    The bytes go to a temporary file in the same folder, which `commit` renames. A device or a pipe has no
    such moment, so bytes go straight into it. As a context manager it commits on a clean exit and discards
    on any exception, Ctrl-C included. OSError becomes SaveError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._direct = is_special_file(path)
        if os.path.isdir(path):
            raise SaveError(f"could not write {self.path}: it is a folder")
        try:
            # Through a symbolic link, so that the link stays one.
            self._target = Path(os.path.realpath(path))
            temporary = self._target.with_name(leftovers.temporary_name())
            self._written = self.path if self._direct else temporary
            self.file: BinaryIO = self._open()
        except (OSError, ValueError) as error:
            raise self.error(error) from error

    def _open(self) -> BinaryIO:
        if self._direct:
            return open(self._written, "wb")
        leftovers.note(self._written)
        try:
            file = open(self._written, "xb")  # noqa: SIM115
        except (OSError, ValueError):
            leftovers.forget(self._written)
            raise
        leftovers.claim(file)
        return file

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
            self.file.close()
            if not self._direct:
                os.replace(self._written, self._target)
                leftovers.forget(self._written)
        except OSError as error:
            self.discard()
            raise self.error(error) from error
        except BaseException:
            self.discard()
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
