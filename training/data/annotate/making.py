"""Making TAPVid-3D's files: annotations from their publisher, pictures from whoever has them.

A video appears under its name when it is whole. Whatever ends a run, the next one goes on: videos that are there are
left alone, and a file that was on its way is fetched from where it broke off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from tqdm import tqdm

from tapsdk.artifact.download import check_arrived, download
from tapsdk.errors import FetchError
from tapsdk.system.cache import file_lock
from tapsdk.system.npz import names_in
from tapsdk.system.reading import reading
from training.data.errors import DatasetError
from training.data.readers.tapvid3d import PICTURES, read_arrays, write_arrays

logger = logging.getLogger(__name__)

URL = "https://storage.googleapis.com/dm-tapnet/tapvid3d/release_files/v1.0"
"""Of the annotations; in it a folder for each source."""
DOWNLOADS = "downloads"
"""Folder beside the videos for what they are made of."""
FAILURES = 3
"""Videos in a row that fail, after which it is not for the videos."""

Arrays = dict[str, NDArray[Any]]


class Pictures(Protocol):
    """Where the pictures of a source are."""

    def has(self, name: str) -> bool:
        """Whether those of a video are there."""

    def put_in(self, name: str, arrays: Arrays) -> tuple[Arrays, list[bytes]]:
        """The arrays of a video as they are to be kept, and its encoded pictures. Raises DatasetError."""


@dataclass(frozen=True)
class SourceFolder:
    """The folder of a source, and where its annotations come from."""

    source: str
    path: Path
    url: str = URL

    @property
    def downloads(self) -> Path:
        return self.path / DOWNLOADS

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the folders are there, and no other process is at work in them. Raises FetchError."""
        try:
            self.downloads.mkdir(parents=True, exist_ok=True)
            with file_lock(self.downloads / ".lock"):
                yield
        except OSError as error:
            raise FetchError(f"cannot keep files in {self.path}: {error.strerror or error}") from error


def make(folder: SourceFolder, names: Iterable[str], pictures: Pictures | None) -> tuple[int, int]:
    """Makes the videos of these names, and returns how many there are now, and how many of them are new.

    pictures: None for a source whose files come with them.
    Raises DatasetError in the end if some failed, at once if several in a row did; FetchError where the folder cannot
    be written to.
    """
    wanted = _at_hand(list(names), pictures, folder.source)
    new, failed, in_a_row = 0, dict[str, str](), 0
    with folder.held():
        for name in tqdm(wanted, unit="video", desc=folder.source):
            try:
                new += _make_one(folder, name, pictures)
                in_a_row = 0
            except (DatasetError, FetchError) as error:
                failed[name], in_a_row = str(error), in_a_row + 1
                logger.warning("%s: %s", name, error)
            if in_a_row == FAILURES:
                break
    if failed:
        first = next(iter(failed.values()))
        stopped = ", and no more were tried" if in_a_row == FAILURES else ""
        raise DatasetError(
            f"{len(failed)} of {len(wanted)} videos of {folder.source} could not be made{stopped}: {first}. Run it "
            "again to go on from here"
        )
    return len(wanted), new


def _at_hand(names: list[str], pictures: Pictures | None, source: str) -> list[str]:
    there = [name for name in names if pictures is None or pictures.has(name)]
    if names and not there:
        raise DatasetError(
            f"the pictures of none of these {len(names)} videos of {source} are there, such as {names[0]}"
        )
    if len(there) < len(names):
        logger.warning("%s: the pictures of %d of %d videos are there", source, len(there), len(names))
    return there


def _make_one(folder: SourceFolder, name: str, pictures: Pictures | None) -> bool:
    """Whether there was anything to do. Raises DatasetError, FetchError, SaveError."""
    path = folder.path / f"{name}.npz"
    if _is_there(path, {PICTURES, "tracks_XYZ"}):
        return False
    url = f"{folder.url.rstrip('/')}/{folder.source}/{name}.npz"
    if pictures is None:
        fetch_file(url, path, pictures=True)
        return True
    annotations = folder.downloads / path.name
    if not _is_there(annotations, {"tracks_XYZ"}):
        fetch_file(url, annotations, pictures=False)
    arrays, _ = read_arrays(annotations, pictures=False)
    write_arrays(path, *pictures.put_in(name, arrays))
    return True


def _is_there(path: Path, names: set[str]) -> bool:
    """Whether there is a whole .npz with arrays of these names; half of one was left by another program."""
    if not path.exists():
        return False
    try:
        with reading(path, "is not a .npz file", DatasetError), open(path, "rb") as file:
            if names <= {*names_in(file)}:
                return True
            raise ValueError("it lacks arrays")
    except DatasetError as error:
        logger.warning("%s; it is made anew", error)
        return False


def fetch_file(url: str, path: Path, *, pictures: bool) -> None:
    """One of TAPVid-3D's files, looked through before it has its name. Raises FetchError, DatasetError."""
    part = fetch_part(url, path)
    try:
        read_arrays(part, pictures=pictures)
        os.replace(part, path)
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(part), url)) from error
    finally:
        part.unlink(missing_ok=True)


def fetch_part(url: str, path: Path) -> Path:
    """What `url` serves, whole and as its server sums it up, as a file beside `path`. Raises FetchError."""
    part = path.with_name(f"{path.name}.part")
    md5 = download(url, part, label=path.name, progress=True)
    try:
        check_arrived(url, part, md5)
    except FetchError:
        part.unlink(missing_ok=True)
        raise
    return part
