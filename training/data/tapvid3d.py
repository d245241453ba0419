"""TAPVid-3D as a dataset: where its videos are from, which of them make up a split, and where their files lie.

A folder of the dataset has a folder for each source, with NAME.npz for each video (`training.data.readers.tapvid3d`).
"""

from __future__ import annotations

import gzip
import json
import logging
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from training.data.errors import DatasetError
from training.data.readers.tapvid3d import SOURCES, read_tapvid3d
from training.data.tracked_video3d import TrackedVideo3D

__all__ = ["SPLITS", "TERMS", "TrackedVideo3D", "names_of", "read_tapvid3d", "recording_of", "truths"]

logger = logging.getLogger(__name__)

SPLITS = ("minival", "full")
"""50 videos of each source to develop with, and 4,419 others for the full evaluation."""
NAMES = "tapvid3d_names.json.gz"
"""By split and source; and by the name of a sequence in version 1 of ADT, which the files go by, its name in version 2.
They are as tapnet/tapvid3d of Google DeepMind lists them (CC BY 4.0)."""


@dataclass(frozen=True)
class Terms:
    """What has to be agreed to before videos of a source are used."""

    dataset: str
    address: str


TERMS = {
    "adt": Terms("Aria Digital Twin", "https://www.projectaria.com/datasets/adt/license/"),
    "pstudio": Terms("Panoptic Studio", "http://domedb.perception.cs.cmu.edu/"),
    "drivetrack": Terms("Waymo Open Dataset", "https://waymo.com/open/terms/"),
}
"""By source."""


def names_of(source: str, split: str) -> list[str]:
    """The names of a split's videos of a source, sorted; all of them for "all". Raises DatasetError."""
    if source not in SOURCES or split not in (*SPLITS, "all"):
        allowed = f"sources are {', '.join(SOURCES)}, splits {', '.join(SPLITS)}, all"
        raise DatasetError(f"TAPVid-3D has no {source!r} with a split {split!r}; {allowed}")
    table = _table()
    return sorted(name for part in (SPLITS if split == "all" else (split,)) for name in table[part][source])


def recording_of(name: str) -> str | None:
    """The recording in version 2 of ADT that a video of adt is a part of; None for another video."""
    recording: str | None = _table()["adt_recordings"].get(name.rpartition("_")[0])
    return recording


def truths(folder: Path, split: str, sources: tuple[str, ...] = SOURCES) -> dict[str, list[Path]]:
    """By source, the files in a folder of the dataset that belong to a split.

    Of a source, none of whose files is one of TAPVid-3D's, they are all taken: videos of your own.
    Raises DatasetError where there is none of any source.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; it must hold {', '.join(SOURCES)}, with .npz files in them")
    found = {}
    for source in sources:
        there = {file.stem: file for file in sorted((folder / source).glob("*.npz"))}
        wanted = names_of(source, split)
        if there and not there.keys() & {*names_of(source, "all")}:
            logger.info("%s: its %d videos are none of TAPVid-3D's; all are taken", folder / source, len(there))
            wanted = list(there)
        chosen = [there[name] for name in wanted if name in there]
        if there and len(chosen) < len(wanted):
            logger.warning("%s has %d of the %d videos of %s", folder / source, len(chosen), len(wanted), split)
        if chosen:
            found[source] = chosen
    if not found:
        raise DatasetError(f"{folder} holds no video of {split}: {', '.join(f'{s}/*.npz' for s in sources)}")
    return found


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(gzip.decompress(files(__package__).joinpath(NAMES).read_bytes()))
    return table
