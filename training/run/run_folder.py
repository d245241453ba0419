"""The folder of a run: where it is written, and, if it is at a URL, how it gets there.

A run is written on this machine, as every part of it expects. After each checkpoint, between two steps, the files that
changed since go to the store, each whole, and the checkpoint last, so that whoever goes on from there lacks nothing. A
store that does not answer holds up no training: the next checkpoint tries again. Only in the end it is an error, and
the folder stays on this machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapsdk.errors import SaveError
from tapsdk.system import remote
from tapsdk.system.leftovers import temporary_folder
from tapsdk.system.places import Place, Url, keep, scratch
from tapsdk.system.reading import reason
from training.run.run_state import CHECKPOINT, make_folder

logger = logging.getLogger(__name__)


class RunFolder:
    """path: on this machine, to write into. url: where it is kept; None if that is there."""

    def __init__(self, path: Path, url: Url | None = None) -> None:
        self.path, self.url = path, url
        self.is_sent = True
        self._sent: dict[str, tuple[int, ...]] = {}

    def fetch(self, name: str) -> None:
        """Has a file of an earlier part of the run in the folder, if there is one. Raises SaveError."""
        if self.url is None:
            return
        try:
            remote.download((self.url / name).text, self.path / name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise SaveError(f"could not go on with {self.url}: {name} cannot be read: {reason(error)}") from error
        self._sent[name] = self._state(name)

    def try_to_send(self) -> None:
        """Brings the store up to date, or warns that it could not be."""
        try:
            self.send()
        except SaveError as error:
            logger.warning("%s; the next checkpoint tries again", error)

    def send(self) -> None:
        """Brings the store up to date. Raises SaveError."""
        if self.url is None:
            return
        self.is_sent = False
        files = (file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file())
        for name in sorted(files, key=lambda name: (name == CHECKPOINT, name)):
            state = self._state(name)
            if self._sent.get(name) == state:
                continue
            try:
                remote.upload(self.path / name, (self.url / name).text)
            except OSError as error:
                raise SaveError(f"could not write {self.url / name}: {reason(error)}") from error
            self._sent[name] = state
        self.is_sent = True

    def _state(self, name: str) -> tuple[int, ...]:
        """Numbers that are others when the file is."""
        status = (self.path / name).stat()
        return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def run_folder(place: Place) -> Iterator[RunFolder]:
    """The folder of a run at `place`, which is made. Raises SaveError, also for what could not be sent in the end."""
    if not isinstance(place, Url):
        make_folder(place)
        yield RunFolder(place)
        return
    with temporary_folder(scratch()) as path:
        folder = RunFolder(path, place)
        try:
            yield folder
        except BaseException:
            if not folder.is_sent:
                logger.warning("%s lacks the last checkpoint; the run is kept as %s", place, keep(path, place.name))
            raise
        try:
            folder.send()
        except SaveError as error:
            kept = keep(path, place.name)
            raise SaveError(f"{error}; the run is kept as {kept}, where --resume {kept} goes on") from error
