"""python -m training pack: labelled videos as TAP-Vid's pickles, which its readers and ours read.

What `generate_tapvid.py` does for Kinetics (a table and its videos), and the same for any dataset, generated clips and
your own labels: in the layout of DAVIS, RGB-Stacking, Kinetics or RoboTAP (see `training.data.readers.tapvid`).
"""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tapsdk import check_output
from tapsdk.errors import SaveError
from tapsdk.system.files import AtomicFile
from tapsdk.system.folders import replace_folder
from tapsdk.system.leftovers import temporary_folder
from tapsdk.system.signals import hold_signals
from training.data.arguments import add_dataset, files_of, videos_of
from training.data.errors import DatasetError
from training.data.images import encode_jpeg
from training.data.labelled_video import LabelledVideo
from training.data.readers.tapvid import SUFFIX

QUALITY = 95
"""Of frames as JPEG."""


@dataclass(frozen=True)
class Layout:
    """How a published dataset keeps its videos."""

    named: bool
    """A dictionary of videos by name, or a list of them."""
    encoded: bool = False
    """Frames as JPEG, or as they are."""
    points: type[np.floating[Any]] = np.float32
    shards: int | None = None
    """Files in a folder, with as many videos in each as any; None: one file."""
    shard_name: str = ""


LAYOUTS = {
    "davis": Layout(named=True),
    "rgb-stacking": Layout(named=False),
    "kinetics": Layout(False, encoded=True, points=np.float64, shards=10, shard_name="{shard:04}_of_{shards:04}"),
    "robotap": Layout(named=True, shards=5, shard_name="robotap_split{shard}"),
}


def write_tapvid(path: Path, videos: Iterable[LabelledVideo], layout: str = "davis") -> int:
    """Writes videos in a layout of LAYOUTS, and returns how many.

    path: a .pkl file, or for layouts of several files a folder, which must not exist. It appears whole or not at all.
    Positions are shares of width and height: of double precision for "kinetics", which gives back the same pixels, and
    of single precision for the others, as published, which gives them back to a tenth of a thousandth. "kinetics"
    compresses frames to JPEG. All videos of a file are in memory at once.
    Raises DatasetError for videos that the layout cannot hold, SaveError.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"unknown layout {layout!r}; use one of {', '.join(LAYOUTS)}")
    kind = LAYOUTS[layout]
    if kind.shards is None:
        examples = [(video.name, _example(video, kind)) for video in videos]
        _check_names([name for name, _ in examples], kind)
        with AtomicFile(path) as file:
            pickle.dump(_content(examples, kind), file)
        return len(examples)
    check_place(path, layout)
    place = Path(os.path.realpath(path))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(place.parent) as parts, temporary_folder(place.parent) as work:
            names = _write_parts(parts, videos, kind)
            _check_names(names, kind)
            _gather(parts, names, work, kind)
            with hold_signals(last=True):
                replace_folder(work, place)
    except OSError as error:
        raise SaveError(f"could not write {path}: {error.strerror or error}") from error
    return len(names)


def check_place(path: Path, layout: str) -> None:
    """Raises SaveError, before any work, where `write_tapvid` could not write to `path`."""
    if LAYOUTS[layout].shards is not None:
        if path.exists():
            raise SaveError(f"could not write {path}: it exists; {layout!r} makes a new folder, give another name")
    elif path.suffix != SUFFIX:
        raise SaveError(f"could not write {path}: the suffix must be {SUFFIX}")
    else:
        AtomicFile(path).discard()


def _write_parts(folder: Path, videos: Iterable[LabelledVideo], kind: Layout) -> list[str]:
    """A file for each video, so that not all are in memory; their names."""
    names = []
    for video in videos:
        (folder / str(len(names))).write_bytes(pickle.dumps(_example(video, kind)))
        names.append(video.name)
    return names


def _gather(parts: Path, names: list[str], folder: Path, kind: Layout) -> None:
    assert kind.shards is not None
    each = -(-len(names) // kind.shards)
    for shard in range(kind.shards):
        some = range(shard * each, min((shard + 1) * each, len(names)))
        # Our own files of a moment ago, in a folder of our own.
        examples = [(names[i], pickle.loads((parts / str(i)).read_bytes())) for i in some]
        if examples:
            name = kind.shard_name.format(shard=shard, shards=kind.shards)
            with open(folder / f"{name}{SUFFIX}", "wb") as file:
                pickle.dump(_content(examples, kind), file)


def _content(examples: list[tuple[str, dict[str, Any]]], kind: Layout) -> Any:
    return dict(examples) if kind.named else [example for _, example in examples]


def _check_names(names: list[str], kind: Layout) -> None:
    if not names:
        raise DatasetError("there are no videos to pack")
    twice = next((name for name in names if names.count(name) > 1), None)
    if kind.named and twice is not None:
        raise DatasetError(
            f"two videos have the name {twice!r}, by which this layout knows them; rgb-stacking does not"
        )


def _example(video: LabelledVideo, kind: Layout) -> dict[str, Any]:
    if video.annotated is not None and not video.annotated.all():
        raise DatasetError(f"{video.name}: nothing is known of some frames, which TAP-Vid's pickles cannot say")
    height, width = video.frames.shape[1:3]
    return {
        "video": np.array([encode_jpeg(frame, QUALITY) for frame in video.frames]) if kind.encoded else video.frames,
        "points": (video.xy.astype(np.float64) / (width, height)).astype(kind.points),
        "occluded": ~video.visible,
    }


def add_parser(commands: Any) -> None:
    """Adds `pack` to the subcommands of a parser."""
    parser = commands.add_parser("pack", help="write labelled videos as TAP-Vid's pickles")
    add_dataset(parser, "native")
    parser.add_argument("--layout", choices=LAYOUTS, default="davis", help="as which dataset (default: %(default)s)")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="a .pkl file; kinetics, robotap: a new folder"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    check_output(args.output, *files_of(args))
    check_place(args.output, args.layout)
    count = write_tapvid(args.output, tqdm(videos_of(args), unit="video"), args.layout)
    print(f"{args.output}: {count} videos")
