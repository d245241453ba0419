"""How commands are told which videos to take: --dataset, --data, --textures, --resolution."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tapsdk.geometry import Size
from training.data.datasets import DATASETS, GENERATED, SYNTHETIC, open_dataset
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo

Resolution = Size | Literal["published"] | None
"""(height, width); None for the videos' own."""


def add_dataset(parser: argparse.ArgumentParser, resolution: Literal["published", "native"]) -> None:
    """Adds the options. resolution: what is done to videos if nobody says."""
    names = ", ".join([*GENERATED, *DATASETS])
    parser.add_argument("--dataset", default=SYNTHETIC, metavar="D", help=f"{names}, or a file or folder with one")
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the files of a named dataset are")
    parser.add_argument("--textures", type=Path, metavar="DIR", help="photographs for generated clips")
    parser.add_argument(
        "--resolution",
        type=_resolution,
        default=resolution,
        metavar="HxW|native|published",
        help="resize videos, leave them, or do as the benchmark demands, which is 256x256 for TAP-Vid "
        "(default: %(default)s)",
    )


def files_of(args: argparse.Namespace) -> list[str | os.PathLike[str]]:
    """What is read, for `tapsdk.check_output`."""
    return [path for path in (args.dataset, _data(args)) if path is not None]


def videos_of(args: argparse.Namespace) -> Iterator[LabelledVideo]:
    """The videos, one at a time. Raises DatasetError."""
    return open_dataset(args.dataset, _data(args), args.resolution)


def video_named(videos: Iterator[LabelledVideo], name: str) -> LabelledVideo:
    """The first video of this name. Raises DatasetError, which tells other names, where there is none."""
    others = []
    for video in videos:
        if video.name == name:
            return video
        others.append(video.name)
    raise no_such_video(name, others)


def no_such_video(name: str, others: list[str]) -> DatasetError:
    """What to raise where there is none of this name, but these."""
    some = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
    return DatasetError(f"there is no video {name!r}; there are {len(others)}: {some}")


def _data(args: argparse.Namespace) -> Path | None:
    return args.textures or args.data if args.dataset in GENERATED else args.data


def _resolution(text: str) -> Resolution:
    if text == "published":
        return "published"
    if text == "native":
        return None
    sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if sides is None:
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, such as 256x256, native or published, got {text!r}")
    return int(sides[1]), int(sides[2])
