"""Arrays of many frames, written in order and read in any, on disk where they would take too much memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError

Array = NDArray[Any]


class Spool:
    """Named arrays of frame after frame. A name has one shape and dtype throughout.

    what: what is kept, for the error when there is no room. memory: bytes that are kept without a file; beyond, all of
    it goes to temporary files, of which only what is looked at comes into memory, and stays no longer than that. Close
    it: it keeps files open.
    """

    def __init__(self, what: str, memory: int = 0) -> None:
        self._what, self._memory = what, memory
        self._held: list[dict[str, Array]] = []
        self._held_bytes = 0
        self._files: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._written = 0

    def __len__(self) -> int:
        return self._written + len(self._held)

    def append(self, arrays: Mapping[str, Array]) -> None:
        """Adds a frame. Not after the first one was read. Raises SaveError on a full disk, and is then complete: what
        found no room can be read as well."""
        self._held.append({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        self._held_bytes += sum(array.nbytes for array in self._held[-1].values())
        if self._files or self._held_bytes > self._memory:
            self._write_held()

    def _write_held(self) -> None:
        try:
            while self._held:
                for name, array in self._held[0].items():
                    if name not in self._files:
                        self._files[name] = tempfile.TemporaryFile()  # noqa: SIM115
                        self._kinds[name] = array.shape, array.dtype
                    # Written, not mapped: a full disk is then an exception and not the end of the process.
                    self._files[name].write(array.data)
                    self._files[name].flush()
                del self._held[0]
                self._written += 1
        except OSError as error:
            raise SaveError(
                f"could not keep {self._what} in {tempfile.gettempdir()}: {error.strerror or error}; make room, name "
                "another folder in TMPDIR, or track at a smaller resolution"
            ) from error
        self._held_bytes = 0

    def __getitem__(self, t: int) -> dict[str, Array]:
        """The arrays of frame t by name; do not write into them."""
        if t >= self._written:
            return self._held[t - self._written]
        return {name: self._read(name, t) for name in self._files}

    def _read(self, name: str, t: int) -> Array:
        # Read, not mapped: what is mapped counts as memory of the process for as long as the system leaves it there.
        file, array = self._files[name], np.empty(*self._kinds[name])
        file.seek(t * array.nbytes)
        if array.nbytes:
            file.readinto(array.data.cast("B"))  # type: ignore[attr-defined]
        return array

    def close(self) -> None:
        self._held = []
        for file in self._files.values():
            # Closing flushes once more, and fails once more on a full disk.
            with suppress(OSError):
                file.close()
        self._files = {}
