"""The videos in a folder, and those that a pattern stands for, on this machine or in a store."""

from __future__ import annotations

import glob
import os
from pathlib import Path, PurePosixPath

from tapsdk.errors import JobsError
from tapsdk.system import remote
from tapsdk.system.places import Url, place
from tapsdk.system.reading import reason
from tapsdk.video.images import VIDEO_SUFFIXES, is_image, natural_order

STILL = (".bmp", ".jpeg", ".jpg", ".png")
"""Suffixes of pictures that are seldom videos by themselves."""


def videos_in(text: str) -> list[str]:
    """The videos, and folders of images, in a folder or below it, that a pattern matches; or the one of that path.

    In a store these are videos alone. Raises JobsError if there are none.
    """
    source = place(text)
    try:
        found = _stored(source.text) if isinstance(source, Url) else _here(os.fspath(source))
    except OSError as error:
        raise JobsError(f"{source} cannot be listed: {reason(error)}") from error
    if not found:
        raise JobsError(f"{source}: no videos there; looked for {', '.join(VIDEO_SUFFIXES)} and for folders of images")
    return found


def base_of(text: str) -> str:
    """The folder that `videos_in` lists, or of the pattern or the path."""
    source = place(text)
    path = source.text if isinstance(source, Url) else os.path.expanduser(source)
    if glob.has_magic(path) and not os.path.lexists(path):
        return _without_pattern(path)[0]
    is_folder = remote.kind(path) == "directory" if isinstance(source, Url) else os.path.isdir(path)
    return path if is_folder else os.path.dirname(path)


def _without_pattern(path: str) -> tuple[str, str]:
    """The folder before the first part with a wildcard, and the rest."""
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first]), "/".join(parts[first:])


def is_video(name: str) -> bool:
    """By its suffix."""
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def _here(text: str) -> list[str]:
    path = text if os.path.lexists(text) else os.path.expanduser(text)
    if os.path.isdir(path):
        return _below(path)
    if os.path.lexists(path):
        return [path]
    if not glob.has_magic(path):
        raise JobsError(f"{text}: no such file or folder, and no pattern")
    found = sorted(glob.glob(path, recursive=True), key=natural_order)
    if found and all(Path(each).suffix.lower() in STILL for each in found):
        raise JobsError(f"{text} matches pictures, each of which would be a video: give the folder that they are in")
    return [each for each in found if not os.path.isdir(each) or any(map(is_image, os.listdir(each)))]


def _below(folder: str) -> list[str]:
    found = []
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [name for name in names if not name.startswith(".")]  # thumbnails and the like
        found += [str(Path(path, name)) for name in shown if is_video(name)]
        found += [path] if any(map(is_image, shown)) else []
    return sorted(found, key=natural_order)


def _stored(url: str) -> list[str]:
    if not glob.has_magic(url):
        return [url] if remote.kind(url) == "file" else [f"{url}/{n}" for n in remote.matches(url) if is_video(n)]
    base, pattern = _without_pattern(url)
    return [f"{base}/{name}" for name in remote.matches(base, pattern)]
