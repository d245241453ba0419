"""Files of an artifact in memory: opened once, and used as they were checked, whatever becomes of them on the disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tapsdk.errors import ArtifactError

if TYPE_CHECKING:
    from tapsdk.artifact.weights import Weights

MOST_PARTS = 1000
"""Files in a folder that is one file of an artifact."""
MOST_LEVELS = 8
"""Folders in folders there."""


@dataclass(frozen=True)
class Content:
    """A file, or all the files in a folder that is one to the artifact.

    path: where it was, for messages. parts: bytes by path within the folder, in order of the paths; "" of a file.
    weights: what it may refer to beside that; None: nothing. precision: that the artifact was found right in; an engine
    may compute in it, and in none that is coarser.
    """

    path: Path
    parts: Mapping[str, bytes]
    weights: Weights | None = field(default=None, compare=False, repr=False)
    precision: str = "fp32"

    @property
    def data(self) -> bytes:
        """The bytes of a file. Raises ArtifactError for a folder."""
        return self.part("")

    def part(self, name: str) -> bytes:
        """The bytes of a file in the folder. Raises ArtifactError if there is none."""
        if name in self.parts:
            return self.parts[name]
        raise ArtifactError(f"{self.path} has no file {name!r} in it" if name else f"{self.path} is a folder, no file")

    @property
    def bytes(self) -> int:
        return sum(map(len, self.parts.values()))

    @cached_property
    def sha256(self) -> str:
        """As `tapsdk.system.files.sha256` has it."""
        if "" in self.parts:
            return hashlib.sha256(self.parts[""]).hexdigest()
        digest = hashlib.sha256()
        for name, data in self.parts.items():
            digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        return digest.hexdigest()

    def unpack(self, folder: Path) -> Path:
        """Writes it into a folder, for an engine that takes nothing but paths; returns its path there."""
        top = folder / self.path.name
        for name, data in self.parts.items():
            path = top / name if name else top
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return top


def read_content(path: Path, most_bytes: int, links: bool = False) -> Content:
    """A file or a folder of files, if they have no more than so many bytes, which is found out before they are read.

    links: whether symbolic links are followed. Raises OSError where something cannot be read, FileNotFoundError where
    there is nothing; ArtifactError for a link, a device, a pipe or a socket, or for too much.
    """
    if not stat.S_ISDIR(_mode(path, links)):
        return Content(path, {"": read_regular(path, most_bytes, links)})
    parts: dict[str, bytes] = {}
    for name, file in sorted(_files_of(path, links)):
        parts[name] = read_regular(file, most_bytes - sum(map(len, parts.values())), links)
    return Content(path, parts)


def read_regular(path: Path, most_bytes: int, links: bool = False) -> bytes:
    """A regular file of no more than so many bytes. Raises as `read_content` does."""
    known = os.stat(path, follow_symlinks=links)
    _check_kind(path, known.st_mode)
    # A pipe that has taken the file's place since must not keep us waiting.
    flags = getattr(os, "O_NONBLOCK", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0)) | getattr(os, "O_BINARY", 0)
    with open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
        status = os.fstat(file.fileno())
        _check_kind(path, status.st_mode)
        if (status.st_dev, status.st_ino) != (known.st_dev, known.st_ino):
            raise ArtifactError(f"{path} was exchanged while it was opened")
        if status.st_size > most_bytes:
            raise ArtifactError(f"{path} has {status.st_size} bytes; at most {most_bytes} are allowed")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ArtifactError(f"{path} grew while it was read; at most {most_bytes} bytes are allowed")
    return data


def _files_of(folder: Path, links: bool, levels: int = MOST_LEVELS) -> list[tuple[str, Path]]:
    """(name within the folder, path) of every file in it."""
    found: list[tuple[str, Path]] = []
    for name, path in _entries(folder, links):
        if not stat.S_ISDIR(_mode(path, links)):
            found.append((name, path))
        elif levels:
            found += [(f"{name}/{inner}", file) for inner, file in _files_of(path, links, levels - 1)]
        else:
            raise ArtifactError(f"{path} lies in too many folders; {MOST_LEVELS} are allowed")
        if len(found) > MOST_PARTS:
            raise ArtifactError(f"{folder} holds more than {MOST_PARTS} files, which are allowed")
    return found


def _entries(folder: Path, links: bool) -> Iterator[tuple[str, Path]]:
    for count, path in enumerate(folder.iterdir()):
        if count > MOST_PARTS:
            raise ArtifactError(f"{folder} holds more than {MOST_PARTS} files, which are allowed")
        yield path.name, path


def _mode(path: Path, links: bool) -> int:
    mode = os.stat(path, follow_symlinks=links).st_mode
    if not stat.S_ISDIR(mode):
        _check_kind(path, mode)
    return mode


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    raise ArtifactError(f"{path} is {kind}; an artifact holds regular files alone: put a copy of the file itself there")
