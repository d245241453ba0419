"""What tracking a video has come to so far, on disk, so that whoever is killed goes on from there.

Tracking is a sequence of calls that give arrays: where points are in a frame, what a stage makes of it. Their results
are appended to a file, call by call. Now and then a second file appears whole: how many of them count, and what else it
takes to go on, such as the state of the points. Going on means to do the same work again, with the results read in
place of computed as far as they go. So there is no other way through the work, and what comes out is the same.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import ResumeError, SaveError
from tapsdk.system.files import CHUNK, AtomicFile
from tapsdk.system.leftovers import is_taken
from tapsdk.system.npz import headed, read_headed, read_header
from tapsdk.system.reading import printable, reading

Array = NDArray[Any]
Arrays = Mapping[str, Array]

VERSION = 1
SECONDS = 10.0
"""Of work that may be lost, at most, beside what a single call takes."""
STATE = "state_"
"""Before the names of arrays of the state in a checkpoint."""
CHECKPOINT, RESULTS = "checkpoint.npz", "results"
DAMAGED = "is not what an earlier run left to go on from"


class NoJournal:
    """Keeps nothing, and has nothing to go on from."""

    writes = False
    """Whether results are written down: then they have to be arrays in our memory."""
    left = 0
    """How many results of an earlier run there are still to be read."""

    def saw(self, frame: Callable[[], Array]) -> None:
        """The next frame of the video was read, which `frame` gives."""

    def saw_all(self) -> None:
        """The video is at its end."""

    def timed(self, seconds: float) -> float:
        """The seconds that all of the work took, if these are they; else 0."""
        return seconds

    def once(
        self,
        call: Callable[[], Arrays],
        state: Callable[[], Arrays] | None = None,
        restore: Callable[[Arrays], None] | None = None,
    ) -> Arrays:
        """What a call gives, which an earlier run may have made; see `Journal`."""
        return call()

    def keep(self, state: Arrays) -> None:
        """All that was done so far is safe from now on."""

    def close(self) -> None:
        """No more is done."""

    def remove(self) -> None:
        """Nobody will go on from here."""


NO_JOURNAL = NoJournal()


class Journal(NoJournal):
    """Results of calls, in a folder. Close it; `remove` it when nobody will go on.

    key: what the results depend on, by what people call it. Raises ResumeError if the folder has results of another
    video, or with other options, and for what cannot be read; SaveError where nothing can be written.
    """

    writes = True

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self.folder, self._seconds, self._key = folder, SECONDS, dict(key)
        self._seen, self._crc, self._first_crc, self._ended = 0, 0, 0, False
        self._done, self._count = 0, 0
        self._state: dict[str, Array] = {}
        self._before: dict[str, Any] = read_checkpoint(folder) or {}
        if self._before:
            check_key(folder, self._before["key"], self._key)
            self._done, self._state = self._before["done"], self._before.pop("state")
        self._file = self._open()
        self._last, self._took = time.monotonic(), 0.0

    def _open(self) -> BinaryIO:
        """The file of results, of which those that do not count are cut off."""
        with self._writing():
            self.folder.mkdir(exist_ok=True)
            path = self.folder / RESULTS
            file = open(path, "r+b" if self._before else "a+b")  # noqa: SIM115
            bytes = self._before.get("bytes", 0)
            try:
                if is_taken(file):
                    raise ResumeError(f"another run is at work on {self.folder}: wait for it, or write to another file")
                self._sum = _checksum(file, bytes)
                if self._sum != self._before.get("sum", 0):
                    raise ResumeError(f"{path} {DAMAGED}: remove {self.folder} to start anew")
                file.truncate(bytes)
                file.seek(0)
            except BaseException:
                file.close()
                raise
            return file

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises SaveError for what the system does not let be written."""
        try:
            yield
        except OSError as error:
            raise SaveError(f"could not write {self.folder}: {error.strerror or error}") from error

    @property
    def left(self) -> int:  # type: ignore[override]
        return max(0, self._done - self._count)

    def saw(self, frame: Callable[[], Array]) -> None:
        """The next frame of the video was read. Raises ResumeError if it is not that of the earlier run."""
        self._crc = zlib.crc32(np.ascontiguousarray(frame()).data, self._crc)
        self._seen += 1
        if self._seen == 1:
            self._first_crc = self._crc
        if not self._before:
            return
        known = {1: self._before["first_crc"], self._before["seen"]: self._before["crc"]}
        self._check_video(known.get(self._seen, self._crc) == self._crc)
        self._check_video(self._seen <= self._before["seen"] or not self._before["ended"])

    def saw_all(self) -> None:
        """The video is at its end. Raises ResumeError if that of the earlier run went on."""
        self._ended = True
        self._check_video(self._seen >= self._before.get("seen", 0))

    def timed(self, seconds: float) -> float:
        return 0.0 if self._before else seconds

    def _check_video(self, same: bool) -> None:
        if not same:
            raise ResumeError(
                f"{self.folder} has what was tracked of another video: name that one, or remove the folder to start "
                "anew"
            )

    def once(
        self,
        call: Callable[[], Arrays],
        state: Callable[[], Arrays] | None = None,
        restore: Callable[[Arrays], None] | None = None,
    ) -> Arrays:
        """What a call gives; or gave, if an earlier run made it.

        state: gives what it takes to go on after the call. restore: gets that back, if nothing comes after the call.
        Raises SaveError on a full disk, ResumeError for what cannot be read.
        """
        if self.left:
            with reading(self.folder, DAMAGED, ResumeError):
                found: Arrays = _read(self._file)
                self._count += 1
                if restore and self._state and self._count == self._done:
                    restore(self._state)
                    self._state = {}
            return found
        found = call()
        record = _packed(found)
        with self._writing():
            self._file.write(record)
        self._sum = zlib.crc32(record, self._sum)
        self._count += 1
        # Writing takes time as well, which a kill loses.
        if time.monotonic() - self._last > max(self._seconds / 2, self._seconds - 2 * self._took):
            self.keep(state() if state else {})
        return found

    def keep(self, state: Arrays) -> None:
        """All that was done so far is safe from now on. state: what it takes to go on. Raises SaveError."""
        began = time.monotonic()
        with self._writing():
            self._file.flush()
        header = {
            "version": VERSION,
            "key": self._key,
            "done": self._count,
            "bytes": self._file.tell(),
            "sum": self._sum,
            "seen": self._seen,
            "crc": self._crc,
            "first_crc": self._first_crc,
            "ended": self._ended,
        }
        with AtomicFile(self.folder / CHECKPOINT) as file:
            np.savez(file, **headed(header, state, STATE))
        self._last = time.monotonic()
        self._took = self._last - began

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()
        if not (self.folder / CHECKPOINT).exists():
            self.remove()  # there is nothing to go on from

    def remove(self) -> None:
        """Nobody will go on from here."""
        with suppress(OSError):
            self._file.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What an earlier run left in a folder; None if there is nothing. Raises ResumeError for what cannot be read."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    with reading(path, DAMAGED, ResumeError):
        header, state = read_headed(path, STATE)
        if header["version"] != VERSION or not isinstance(header["key"], dict):
            raise ValueError(f"it is not of version {VERSION}")
        if not all(type(header[name]) is int for name in ("done", "bytes", "sum", "seen", "crc", "first_crc")):
            raise ValueError("its counts are no whole numbers")
        header["ended"] = bool(header["ended"])
        return {**header, "state": state}


def check_key(folder: Path, before: Mapping[str, Any], key: Mapping[str, Any]) -> None:
    """Raises ResumeError, which names the first of what results depend on that is not as it was."""
    for name in key:
        had, has = ("none" if value is None else f"{value!s:.60}" for value in (before.get(name), key[name]))
        if json.dumps(before.get(name)) != json.dumps(key[name]):
            raise ResumeError(
                f"{folder} has what was tracked with something else: {name} was {printable(had)}, and now is "
                f"{printable(has)}; run it as before, or remove that folder to start anew"
            )


def _checksum(file: BinaryIO, bytes: int) -> int:
    """CRC-32 of so many bytes of a file, or of all that there are."""
    found = 0
    file.seek(0)
    while bytes > 0 and (chunk := file.read(min(bytes, CHUNK))):
        found, bytes = zlib.crc32(chunk, found), bytes - len(chunk)
    return found


def _packed(arrays: Arrays) -> memoryview:
    """Arrays with their names, one after the other."""
    record = io.BytesIO()
    np.lib.format.write_array(record, np.array(list(arrays)))
    for array in arrays.values():
        np.lib.format.write_array(record, np.ascontiguousarray(array), allow_pickle=False)
    return record.getbuffer()


def _read(file: BinaryIO) -> dict[str, Array]:
    return {str(name): _read_array(file) for name in _read_array(file)}


def _read_array(file: BinaryIO) -> Array:
    header = read_header(file)
    data = bytearray(file.read(header.nbytes))  # to be written into, as what a call gives
    return np.frombuffer(data, header.dtype, math.prod(header.shape)).reshape(header.shape)
