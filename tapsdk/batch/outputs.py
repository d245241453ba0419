"""Where the tracks of each video of a batch go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tapsdk.batch.listing import is_video
from tapsdk.errors import JobsError, SaveError
from tapsdk.system.places import Url, place
from tapsdk.system.reading import reason
from tapsdk.tracks_files import SUFFIXES


def names_of(videos: Sequence[str], base: str | None) -> list[str]:
    """Names like those of the videos, without the suffix of a video, unless two would be the same then.

    base: the folder that all of them lie in, or that is the only one; None: look for the innermost one.
    """
    paths = [PurePosixPath(_absolute(video)) for video in videos]
    common = _common(paths) if base is None else PurePosixPath(_absolute(base))
    within = [path.relative_to(common if common.parts else path.parts[0]) for path in paths]
    within = [path if path.parts else PurePosixPath(common.name) for path in within]
    stems = [path.with_suffix("") if is_video(path.name) else path for path in within]
    count = Counter(stems)
    named = [stem if count[stem] == 1 else path for stem, path in zip(stems, within, strict=True)]
    # The name of a pattern is none of a file.
    return [str(name).replace("*", "-").replace("?", "-") for name in named]


def _common(paths: Sequence[PurePosixPath]) -> PurePosixPath:
    """The innermost folder with all of these paths in it; "." where they are of different stores or disks."""
    several = len({path.parts[0] for path in paths}) != 1
    return PurePosixPath("" if several else os.path.commonpath([path.parent for path in paths]))


def _absolute(video: str) -> str:
    path = place(video)
    return path.text if isinstance(path, Url) else os.path.abspath(path).replace(os.sep, "/")


def within(folder: str, name: str) -> str:
    """The path or URL of an output that may be relative to a folder."""
    return name if isinstance(place(name), Url) else os.fspath(place(folder) / name)


def make_folder(folder: str) -> None:
    """Where there are such things, which stores do without. Raises SaveError."""
    target = place(folder)
    if not isinstance(target, Url):
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(f"could not make the folder {folder}: {reason(error)}") from error


def check_outputs(jobs: Iterable[tuple[str, Sequence[str], str]], taken: Iterable[str]) -> None:
    """Raises JobsError for an output that cannot be, or that replaces something.

    jobs: of each its video, the files that it reads, and its output. taken: outputs that are the batch's own.
    """
    owners = dict.fromkeys(map(_absolute, taken), "the summary")
    for video, read, output in jobs:
        path = _absolute(output)
        if place(output).suffix.lower() not in SUFFIXES:
            raise JobsError(f"{video} cannot go to {output}: the suffix must be one of {', '.join(SUFFIXES)}")
        if path in owners:
            raise JobsError(f"{owners[path]} and {video} would both go to {output}: give them different outputs")
        if path in map(_absolute, read):
            raise JobsError(f"the tracks of {video} would replace {output}, which is read: choose another output")
        owners[path] = video
