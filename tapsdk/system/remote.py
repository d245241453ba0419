"""Files in stores that URLs name: gs://, s3://, and whatever else fsspec has a package for.

All functions raise OSError and nothing else, with what went wrong in one line. fsspec and the store's package are
imported when a URL is first used. Credentials, endpoints and proxies are as these packages find them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tapsdk.system.leftovers import temporary_name
from tapsdk.system.reading import printable, reason
from tapsdk.system.signals import hold_signals

CHUNK = 1 << 20
"""Bytes that are read at once."""
MOST_BYTES = 8 << 30
"""Of a file that is copied here, unless its reader allows fewer."""
MOST_FILES = 1000
"""In a folder that is copied here or replaced."""
OBJECT_STORES = frozenset(("abfs", "abfss", "az", "gcs", "gs", "oci", "oss", "s3", "s3a"))
"""Where a key has its old bytes until all of the new ones have come. Elsewhere they go to another name first."""
READ_ONLY = frozenset(("http", "https"))
PACKAGES = {
    **dict.fromkeys(("gcs", "gs"), "'tapsdk[gcs]'"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "adlfs"),
    **dict.fromkeys(("http", "https"), "fsspec aiohttp"),
    **dict.fromkeys(("sftp", "ssh"), "fsspec paramiko"),
}
"""What to install for a scheme, as pip is told."""


def check(url: str, *, writable: bool = False) -> None:
    """Raises OSError for a URL that no package here reads, or, if asked, of a store that is not written to."""
    if writable and _scheme(url) in READ_ONLY:
        raise OSError(errno.EROFS, "web servers are read from alone; name a store, such as gs:// or s3://")
    with _as_os_error():
        _store(url)


def kind(url: str) -> str | None:
    """ "file" or "directory"; None where there is nothing."""
    try:
        with _as_os_error():
            store, name = _fresh(url)
            return "file" if store.info(name)["type"] == "file" else "directory"
    except FileNotFoundError:
        return None


def files_under(url: str) -> list[str]:
    """Paths within a folder of the files in it, in order; those of the folders in it, too."""
    with _as_os_error():
        store, name = _fresh(url)
        prefix = name.rstrip("/") + "/"
        found = (path.removeprefix(prefix) for path in store.find(name) if path.startswith(prefix))
        names = sorted(path for path in found if path and not path.endswith("/"))  # those are marks of folders
    if len(names) > MOST_FILES:
        raise OSError(errno.EFBIG, f"it holds {len(names)} files, and {MOST_FILES} are the most")
    strange = [each for each in names if not _is_plain(each)]
    if strange:
        raise OSError(errno.EINVAL, f"it holds a file that is named {printable(strange[0], 100)!r}")
    return names


def matches(base: str, pattern: str = "") -> list[str]:
    """Paths within the folder `base`, in order, of the files that match a pattern below it; "": of all of them."""
    with _as_os_error():
        store, name = _fresh(base)
        prefix = name.rstrip("/") + "/"
        found = store.glob(prefix + pattern) if pattern else store.find(name)
        return sorted(path.removeprefix(prefix) for path in found if path.startswith(prefix))


def version(url: str) -> str:
    """What tells the bytes that a file holds now from those of any other time, as far as the store knows."""
    with _as_os_error():
        store, name = _fresh(url)
        return str(store.ukey(name))


def _is_plain(name: str) -> bool:
    """Whether a path leads nowhere but down."""
    return not set(name) & set("\\\0:") and not {"", ".", ".."} & set(name.split("/"))


def download(
    url: str, path: Path, most_bytes: int = MOST_BYTES, told: Callable[[int, int | None], object] | None = None
) -> None:
    """Fills the file `path`: with all of what is there, of one version, and no more than so many bytes.

    told: called with the bytes that have come and those that there are, None where the store does not say.
    """
    with _as_os_error():
        store, name = _fresh(url)
        about, version = store.info(name), store.ukey(name)
        if about["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        size = about.get("size")
        _check_size(size or 0, most_bytes)
        came = 0
        with store.open(name, "rb") as source, open(path, "wb") as target:
            while part := source.read(CHUNK):
                came += len(part)
                _check_size(came, most_bytes)
                target.write(part)
                if told is not None:
                    told(came, size)
        if size is not None and came != size:
            raise OSError(errno.EIO, f"the connection broke off after {came} of {size} bytes")
        store.invalidate_cache()
        if store.ukey(name) != version:
            raise OSError(errno.EAGAIN, "it was replaced while it was read; try again")


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes, which are the most")


def upload(path: Path, url: str) -> None:
    """Puts a file there: whoever reads it, whenever, finds what was there before or all of this one."""
    check(url, writable=True)
    with _as_os_error("there is no such bucket or folder"):
        store, name = _store(url)
        size, first = path.stat().st_size, name
        if _scheme(url) not in OBJECT_STORES:
            parent = store._parent(name)
            store.makedirs(parent, exist_ok=True)
            first = f"{parent}/{temporary_name()}"
        try:
            store.put_file(str(path), first)
            store.invalidate_cache()
            if store.info(first)["size"] != size:
                raise OSError(errno.EIO, f"{store.info(first)['size']} of {size} bytes arrived")
            if first != name:
                store.mv(first, name)
        except BaseException:
            if first != name:
                with suppress(Exception):
                    store.rm_file(first)
            raise


def upload_folder(folder: Path, url: str, last: str) -> None:
    """Puts all files of a folder there; the one that is named `last`, without which the others are nothing, goes last.

    Where it is there already, the new files go beside it first. Then it is removed, they take their names, it is there
    anew, and old ones that are left are removed: this moment, in which there is none, moves bytes within the store
    alone, and no reader meets old and new together as one.
    """
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    names.sort(key=last.__eq__)
    old = files_under(url) if kind(f"{url}/{last}") else []
    stage = f"{url}/{temporary_name()}" if old else url
    sent = []
    try:
        for name in names:
            upload(folder / name, f"{stage}/{name}")
            sent.append(name)
    except BaseException:
        with suppress(OSError):
            for name in sent:
                remove(f"{stage}/{name}")
        raise
    if old:
        with hold_signals(last=True):
            remove(f"{url}/{last}")
            for name in names:
                _move(f"{stage}/{name}", f"{url}/{name}")
            for name in sorted(set(old).difference(names)):
                remove(f"{url}/{name}")


def _move(url: str, to: str) -> None:
    with _as_os_error():
        store, name = _store(url)
        store.makedirs(store._parent(_store(to)[1]), exist_ok=True)
        store.mv(name, _store(to)[1])


def remove(url: str) -> None:
    with _as_os_error():
        store, name = _store(url)
        store.rm_file(name)


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _fresh(url: str) -> tuple[Any, str]:
    """As `_store`, without what it remembers of earlier listings."""
    store, name = _store(url)
    store.invalidate_cache()
    return store, name


def _store(url: str) -> tuple[Any, str]:
    """The filesystem of fsspec that a URL belongs to, and the file's name there."""
    scheme = _scheme(url)
    if "::" in url:
        raise OSError(errno.EINVAL, "'::' is not allowed in a URL here")
    try:
        from fsspec.core import url_to_fs

        store, name = url_to_fs(url)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"fsspec knows no {scheme}:// ({reason(error)})") from error
    except ImportError as error:
        if scheme not in PACKAGES and error.name != "fsspec":
            raise OSError(errno.ENOSYS, f"{scheme}:// is not read here: {reason(error)}") from error
        command = f"pip install {PACKAGES.get(scheme, 'fsspec')}"
        raise OSError(errno.ENOSYS, f"{scheme}:// needs a package that is not installed: {command}") from error
    return store, str(name)


@contextmanager
def _as_os_error(missing: str = "there is no such file") -> Iterator[None]:
    """Stores raise errors of their own kinds, of which some say little. missing: what a FileNotFoundError says."""
    try:
        yield
    except FileNotFoundError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):  # a web server was not reached
            raise OSError(cause.errno or errno.EIO, _said(cause)) from error
        raise FileNotFoundError(errno.ENOENT, missing) from error
    except OSError as error:
        raise OSError(error.errno or errno.EIO, _said(error)) from error
    except Exception as error:
        raise OSError(errno.EIO, _said(error)) from error


def _said(error: Exception) -> str:
    said = reason(error).replace("\\n", " ").strip(" ,") or type(error).__name__
    return f"the server answered {said}" if said.isdecimal() else said
