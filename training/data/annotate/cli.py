"""The command `annotate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tapsdk.system.console import tell
from tapsdk.system.places import Url, place
from training.data.annotate.adt import AdtPictures
from training.data.annotate.making import URL, Pictures, SourceFolder, make
from training.data.annotate.pstudio import pstudio_pictures
from training.data.errors import DatasetError
from training.data.readers.tapvid3d import SOURCES
from training.data.tapvid3d import SPLITS, TERMS, names_of

ACCEPT = "--accept-licence"


def add_parser(commands: Any) -> None:
    """Adds `annotate` to the subcommands of a parser."""
    parser = commands.add_parser("annotate", help="fetch TAPVid-3D, and put the pictures in")
    parser.add_argument("source", choices=SOURCES, help="where the videos are from")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default=SPLITS[0], help="(default: %(default)s)")
    parser.add_argument(
        "--videos",
        type=place,
        metavar="PATH",
        help="the pictures: for adt the folder of its sequences; for pstudio data.zip of Dynamic 3D Gaussians, or what "
        "was in it, or another URL of it; drivetrack comes with them",
    )
    parser.add_argument("--most", type=int, metavar="N", help="no more than the first N videos, to try it")
    parser.add_argument("--url", default=URL, metavar="URL", help="a mirror of the annotations")
    parser.add_argument(ACCEPT, dest="accepted", action="store_true", help="you agree to the terms of the source")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("tapvid3d"),
        metavar="DIR",
        help="folder of the dataset, in which the source gets a folder (default: %(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    names = names_of(args.source, args.split)
    if args.most is not None:
        if args.most < 1:
            raise DatasetError(f"--most must be 1 or more, got {args.most}")
        names = names[: args.most]
    folder = SourceFolder(args.source, args.output / args.source, args.url)
    if args.source == "drivetrack" and args.videos is not None:
        raise DatasetError("drivetrack comes with its pictures; leave --videos out")
    if args.source == "adt" and isinstance(args.videos, Url):
        raise DatasetError("adt needs --videos FOLDER on this machine")
    # Before anybody has to agree to anything: whether it can work at all.
    pictures: Pictures | None = AdtPictures(args.videos) if args.source == "adt" else None
    agree(args.source, args.accepted)
    if args.source == "pstudio":
        pictures = pstudio_pictures(folder, args.videos)
    done, new = make(folder, names, pictures)
    print(f"{folder.path}: {done} videos, {new} of them new")


def agree(source: str, accepted: bool) -> None:
    """Says on which terms the videos of a source may be used. Raises DatasetError unless somebody agrees."""
    terms = TERMS[source]
    tell(
        f"The videos of {source} are from {terms.dataset}, under its terms: {terms.address}\n"
        "The annotations are TAPVid-3D's, by Google DeepMind, under CC BY 4.0: "
        "https://creativecommons.org/licenses/by/4.0/legalcode"
    )
    if accepted:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise DatasetError(f"nothing was fetched; if you have read the terms and agree to them, add {ACCEPT}")
    tell("Do you agree to these terms? (yes or no)")
    if sys.stdin.readline().strip().lower() not in ("yes", "y"):
        raise DatasetError("nothing was fetched, as you do not agree to the terms")
