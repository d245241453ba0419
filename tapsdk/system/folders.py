"""Folders that take the place of others: a reader finds one of the two, whole, whenever a process is killed."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapsdk.errors import SaveError
from tapsdk.system import remote
from tapsdk.system.leftovers import temporary_folder
from tapsdk.system.places import Place, Url, keep, scratch
from tapsdk.system.reading import reason
from tapsdk.system.signals import hold_signals

_HERE = -100
"""AT_FDCWD of Linux: paths are as in any other call."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux, and RENAME_SWAP of macOS."""


@contextmanager
def new_folder(place: Place, last: str) -> Iterator[Path]:
    """A folder to fill, which takes the name `place` when all is well; on any exception nothing has that name.

    Under a URL its files appear one by one, and the one that is named `last`, without which they are nothing, in the
    end. Raises OSError; and SaveError where they cannot be sent: then the folder stays on this machine, and the error
    says where.
    """
    if isinstance(place, Url):
        with temporary_folder(scratch()) as made:
            yield made
            _send(made, place, last)
        return
    target = Path(os.path.realpath(place))  # so that a symbolic link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target.parent) as made:
        yield made
        with hold_signals(last=True):
            replace_folder(made, target)


def _send(made: Path, url: Url, last: str) -> None:
    try:
        remote.upload_folder(made, url.text, last)
    except OSError as error:
        raise SaveError(
            f"could not write {url}: {reason(error)}; what was to go there is kept as {keep(made, url.name)}"
        ) from error


def replace_folder(made: Path, place: Path) -> None:
    """Gives a folder the name `place`, in the same folder; what has that name is gone then. Raises OSError.

    What was there leaves its permissions, file by file. The two exchange their names in one step where the system has
    one. Elsewhere the old one moves aside first, and back if anything goes wrong: after a kill in between, `put_back`
    does that. The old one may be left under the name `made`, for the caller to remove.
    """
    if not place.exists():
        os.rename(made, place)
        return
    for new in (made, *made.rglob("*")):
        old = place / new.relative_to(made)
        if old.exists():
            shutil.copymode(old, new)
    if exchange(made, place):
        return
    try:
        os.rename(place, _aside(place))
        os.rename(made, place)
    finally:
        put_back(place)


def put_back(place: Place) -> None:
    """Where `replace_folder` was killed: a folder that was aside gets its name again, unless another has it. Raises
    OSError."""
    if isinstance(place, Url):
        return
    target = Path(os.path.realpath(place))
    aside = _aside(target)
    if aside.exists() and not target.exists():
        os.rename(aside, target)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(place: Path) -> Path:
    return place.with_name(f".tapsdk-replaced-{place.name}")


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two names. Whether it was done; if not, because the system or the file system cannot, nothing was."""
    if sys.platform not in ("linux", "darwin"):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    library = ctypes.CDLL(None)
    try:
        if sys.platform == "linux":
            failed = library.renameat2(_HERE, paths[0], _HERE, paths[1], ctypes.c_uint(_EXCHANGE))
        else:
            failed = library.renamex_np(*paths, ctypes.c_uint(_EXCHANGE))
    except AttributeError:  # an older C library
        return False
    return not failed
