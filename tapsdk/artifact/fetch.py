"""Fetching official checkpoints into the cache, and knowing them again.

Nobody publishes checksums of these files. So the first fetch pins what came: size and SHA-256 go into a small
JSON beside the file, and from then on only that file passes for it, be it from the disk or from the server.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from tapsdk.artifact import bundled_models
from tapsdk.artifact.download import check_arrived, download
from tapsdk.artifact.registry import ALIASES, OFFICIAL
from tapsdk.errors import FetchError, ModelError, SaveError
from tapsdk.system import remote
from tapsdk.system.cache import cache_directory, file_lock
from tapsdk.system.files import AtomicFile, sha256
from tapsdk.system.places import Place, Url, local_copy, place
from tapsdk.system.progress import ByteBar
from tapsdk.system.reading import MOST_JSON_BYTES, read_json, reading, reason

logger = logging.getLogger(__name__)

AnyPlace = TypeVar("AnyPlace", Path, Url)
LONGEST_NAME = 200
"""Bytes of the name of a file."""
BESIDE = (".part", ".json", ".lock")
"""Endings of what lies beside a file."""


@dataclass(frozen=True)
class Pin:
    """What was fetched for a model: the file's name and what its bytes must be."""

    model: str
    url: str
    file: str
    bytes: int
    sha256: str
    fetched: str
    """When, in UTC."""


def fetch(
    model: str,
    *,
    directory: str | os.PathLike[str] | None = None,
    url: str | None = None,
    progress: bool = False,
) -> Path:
    """The official file of a published model, downloaded unless it is at hand and unchanged.

    Args:
        model: a published model's name, such as "tapir/base".
        directory: where to keep the file; by default the model's folder in `tapsdk.system.cache.cache_directory()`. A
            URL, such as gs://bucket/checkpoints, is a store that machines share: the file comes from there if one of
            them has put it there, else from its publisher, and is put there. Then it is in the cache, too.
        url: another address of the file, such as a mirror; also one of a store, such as gs://bucket/file.npy.
        progress: a bar on stderr, on a terminal.
    Raises ModelError for a model without an official file; FetchError if the file cannot be had, or is not
    the one that was fetched before. What came before a failure is kept, and the next call goes on from there.
    """
    name = _official(model)
    store = None if directory is None else place(directory)
    if isinstance(store, Url):
        return _fetch_by_way_of(store, name, url, progress)
    return _fetch(name, _folder(name, store), url, progress)


def _fetch(name: str, folder: Path, url: str | None, progress: bool) -> Path:
    address = url or OFFICIAL[name].addresses[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / f".{_slug(name)}.lock"):
            pin = _read_pin(_pin_path(folder, name))
            # Without an address of the caller's, whichever of the model's files is at hand will do.
            if pin and (url is None or pin.file == _file_name(address)):
                if _fault(folder, pin) is None:
                    return folder / pin.file
                address = url or pin.url
            return _download(name, address, folder, progress)
    except (OSError, ValueError) as error:  # ValueError: of a path with a NUL
        said = getattr(error, "strerror", None) or error
        raise FetchError(f"cannot keep files in {folder}: {said}; name another folder") from error


def _fetch_by_way_of(store: Url, name: str, url: str | None, progress: bool) -> Path:
    """The file in the cache, from the store if that has it; if not, it has it then."""
    folder, note = _folder(name, None), _pin_path(store, name)
    own = _pin_path(folder, name)
    stored = _stored_pin(note)
    if stored is not None:
        url = url or (store / stored.file).text
        if _read_pin(own) is None:
            _write_pin(own, stored)
    path = _fetch(name, folder, url, progress)
    fetched = _read_pin(own)
    if stored is not None and fetched is not None:
        _check_same(stored, fetched, note)
        return path
    try:
        # The pin goes last: it says that the file is there.
        for file in (path, own):
            remote.upload(file, (store / file.name).text)
    except OSError as error:
        raise FetchError(f"could not write {store}: {reason(error)}; the file is kept as {path}") from error
    return path


def _stored_pin(note: Url) -> Pin | None:
    with reading(note, "cannot be read", FetchError):
        there = remote.kind(note.text)
    if there is None:
        return None
    with local_copy(note, FetchError, MOST_JSON_BYTES) as copy:
        return _read_pin(copy)


def cached(model: str, *, directory: str | os.PathLike[str] | None = None) -> Path | None:
    """The file that was fetched for a model, None if none was. Its checksum is compared with the pinned one.

    Raises ModelError for a model without an official file, FetchError if the file has changed since.
    """
    name = _official(model)
    folder = _folder(name, directory)
    pin = _read_pin(_pin_path(folder, name))
    if pin is None or not (folder / pin.file).exists():
        return None
    fault = _fault(folder, pin)
    if fault is not None:
        raise FetchError(
            f"{folder / pin.file} is not the file that was fetched for {name}: {fault}. "
            f"Fetch that one again: tapsdk fetch {name}. To accept the server's file as it is now, "
            f"delete {_pin_path(folder, name)} first"
        )
    return folder / pin.file


def next_step(model: str) -> str:
    """What to do with a fetched model, as a sentence for people."""
    name = _official(model)
    if OFFICIAL[name].use:
        return f"{name} tracks no video; it {OFFICIAL[name].use}."
    return (
        f"Next, make it ready: tapsdk get {name}\n"
        f'and track with it: tapsdk track VIDEO --model {name}, or tapsdk.track(..., model="{name}").'
    )


def _official(model: str) -> str:
    name = ALIASES.get(model, model)
    if name in bundled_models():
        raise ModelError(f"{name} comes with tapsdk, there is nothing to fetch; track with model={name!r}")
    if name not in OFFICIAL:
        raise ModelError(f"{name!r} has no official file to fetch; these have: {', '.join(OFFICIAL)}")
    return name


def _slug(name: str) -> str:
    return name.replace("/", "-")


def _folder(name: str, directory: str | os.PathLike[str] | None) -> Path:
    if directory is not None:
        return Path(directory)
    try:
        return cache_directory() / "checkpoints" / _slug(name)
    except RuntimeError as error:
        raise FetchError(f"there is no folder to cache files in: {error}; set TAPSDK_CACHE to one") from error


def _file_name(url: str) -> str:
    try:
        name = PurePosixPath(unquote(urlsplit(url).path)).name
    except ValueError as error:
        raise FetchError(f"{url!r} is not an address: {error}") from error
    if not _is_file_name(name):
        raise FetchError(f"the address {url!r} does not end in the name of a file of weights")
    return name


def _is_file_name(name: str) -> bool:
    """Whether a name is plain on every system, and none of those that are kept beside a file."""
    return (
        0 < len(name.encode("utf-8", "replace")) <= LONGEST_NAME
        and name.isprintable()
        and not set(name) & set('\\/:*?"<>|')
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and not name.lower().endswith(BESIDE)
    )


def _download(name: str, url: str, folder: Path, progress: bool) -> Path:
    path = folder / _file_name(url)
    part = path.with_name(path.name + ".part")
    source, md5 = place(url), None
    if isinstance(source, Url) and not source.is_web:
        _copy(source, part, progress)
    else:
        md5 = download(url, part, label=path.name, progress=progress)
    try:
        new = _describe(name, str(source) if isinstance(source, Url) else url, path.name, part, md5)
        pinned = _read_pin(_pin_path(folder, name))
        if pinned and pinned.file == new.file:
            _check_same(pinned, new, _pin_path(folder, name))
        else:
            # The pin goes first: a file without one passes for nothing, a pin without its file does no harm.
            _write_pin(_pin_path(folder, name), new)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    logger.info("fetched %s (sha256 %s)", path, new.sha256)
    return path


def _copy(source: Url, part: Path, progress: bool) -> None:
    try:
        with ByteBar(source.name, progress) as bar:
            remote.download(source.text, part, told=bar.at)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FetchError(f"could not fetch {source}: {reason(error)}") from error
        raise


def _describe(name: str, url: str, file: str, part: Path, md5: str | None) -> Pin:
    """Reads what came. Raises FetchError if it is not what the server said it would be."""
    check_arrived(url, part, md5)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Pin(name, url, file, part.stat().st_size, sha256(part), now)


def _check_same(pinned: Pin, new: Pin, pin_path: Place) -> None:
    if new.sha256 == pinned.sha256:
        return
    raise FetchError(
        f"{new.url} is not the file that was fetched on {pinned.fetched}: pinned is sha256 {pinned.sha256} "
        f"({pinned.bytes} bytes), found was {new.sha256} ({new.bytes} bytes). Nothing was changed. "
        f"If you trust the new file, delete {pin_path} and fetch again"
    )


def _fault(folder: Path, pin: Pin) -> str | None:
    """What is wrong with the file of a pin, None if nothing is."""
    path = folder / pin.file
    try:
        size = path.stat().st_size
        if size != pin.bytes:
            return f"pinned are {pin.bytes} bytes, found were {size}"
        found = sha256(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    return None if found == pin.sha256 else f"pinned is sha256 {pin.sha256}, found was {found}"


def _pin_path(folder: AnyPlace, name: str) -> AnyPlace:
    return folder / f"{_slug(name)}.pin.json"


def _read_pin(path: Path) -> Pin | None:
    with reading(path, "is no note of a fetched file (delete it and fetch the model again)", FetchError):
        try:
            table = read_json(path)
        except FileNotFoundError:
            return None
        pin = Pin(**table)
        if not all(isinstance(text, str) and text.isprintable() for text in (pin.model, pin.url, pin.fetched)):
            raise ValueError("it has something else where a text should be")
        if not isinstance(pin.file, str) or not _is_file_name(pin.file):
            raise ValueError(f"{pin.file!r} is not the name of a file")
        if type(pin.bytes) is not int or pin.bytes < 0 or not re.fullmatch("[0-9a-f]{64}", pin.sha256):
            raise ValueError("it has no size and no SHA-256")
        return pin


def _write_pin(path: Path, pin: Pin) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(path) as file:
            file.write(json.dumps(asdict(pin), indent=1).encode() + b"\n")
    except (OSError, SaveError) as error:
        raise FetchError(str(error)) from error
