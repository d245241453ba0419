"""Places of files: paths on this machine, and URLs such as gs://bucket/folder/file.

What reads a file takes a `local_copy` of it, what writes one gives the place to `tapsdk.system.files.AtomicFile`, or
to `tapsdk.system.folders.new_folder`, and none of them looks which of the two it is.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tapsdk.errors import StorageError, TapsdkError
from tapsdk.system import remote
from tapsdk.system.cache import cache_folder
from tapsdk.system.leftovers import temporary_folder
from tapsdk.system.reading import reading, reason

logger = logging.getLogger(__name__)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*@")


@dataclass(frozen=True)
class Url(os.PathLike[str]):
    """The URL of a file or a folder, with as much of a Path's surface as is asked of places. `place` makes them."""

    text: str

    def __fspath__(self) -> str:
        return self.text

    def __str__(self) -> str:
        """As it is shown: without a password."""
        return _PASSWORD.sub(r"\1:***@", self.text)

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}")

    @property
    def is_web(self) -> bool:
        """Whether it is a page's: then what is behind a "?" is no part of its name."""
        return self.text.startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """The last part, which is the name of a local copy, too."""
        path = self.text.partition("://")[2]
        if self.is_web:
            path = path.partition("?")[0]
        name = PurePosixPath(path).name
        return "" if name == ".." else name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def exists(self) -> bool:
        """Raises StorageError, as `is_dir` and `is_file` do."""
        return self._kind() is not None

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def is_file(self) -> bool:
        return self._kind() == "file"

    def _kind(self) -> str | None:
        try:
            return remote.kind(self.text)
        except OSError as error:
            raise StorageError(f"{self} cannot be looked up: {reason(error)}") from error


Place = Path | Url


def place(given: str | os.PathLike[str]) -> Place:
    """A URL as a Url, but file:// as the path that it names; all else as a Path."""
    text = os.fsdecode(given)
    scheme = _URL.match(text)
    if scheme is None:
        return Path(given)
    if scheme[1].lower() == "file":
        from urllib.parse import urlsplit
        from urllib.request import url2pathname  # slow to import

        return Path(url2pathname(urlsplit(text).path))
    return Url(f"{scheme[1].lower()}://{text[scheme.end() :].rstrip('/')}")


def is_within(inner: Place, outer: Place) -> bool:
    """Whether one place is, or lies in, the other."""
    if isinstance(inner, Url) or isinstance(outer, Url):
        return f"{os.fspath(inner)}/".startswith(f"{os.fspath(outer)}/")
    return Path(os.path.realpath(inner)).is_relative_to(os.path.realpath(outer))


@contextmanager
def local_copy(
    given: str | os.PathLike[str], error: type[TapsdkError], most_bytes: int = remote.MOST_BYTES
) -> Iterator[Path]:
    """The path of a file; for a URL, of a whole copy of at most so many bytes, which is gone in the end.

    Raises `error` where a URL cannot be read. Errors of tapsdk that are raised within name the URL, not the copy.
    """
    source = place(given)
    if isinstance(source, Path):
        yield source
        return
    with ExitStack() as stack:
        with reading(source, "cannot be read", error):
            folder = stack.enter_context(temporary_folder(scratch()))
            copy = folder / (source.name.replace("\\", "_") or "file")
            remote.download(source.text, copy, most_bytes)
        with named(copy, source):
            yield copy


@contextmanager
def named(copy: Path, source: Url) -> Iterator[None]:
    """Errors of tapsdk that are raised within name the source where they named its copy."""
    try:
        yield
    except TapsdkError as error:
        error.args = tuple(
            part.replace(str(copy), str(source)) if isinstance(part, str) else part for part in error.args
        )
        raise


def scratch() -> Path:
    """The folder of what is on its way to or from a store: in the cache, or, without one, where the system has such."""
    try:
        return cache_folder("remote")
    except OSError:
        return Path(tempfile.gettempdir())


def keep(made: Path, name: str) -> Path:
    """Gives a file or a folder in `scratch` that could not be sent a name like `name` there. Returns its new path."""
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    kept = made.with_name(f"{stem or 'file'}-{secrets.token_hex(4)}{suffix}")
    os.replace(made, kept)
    return kept
