"""python -m training paint: a clip of a dataset as a video with its true tracks drawn on it, to see what they are.

The tracks of TAPVid-3D also as a picture of what they are in three dimensions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

import tapsdk
from training.data.arguments import add_dataset, files_of, no_such_video, video_named, videos_of
from training.data.datasets import GENERATED, locate
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo
from training.data.plot3d import SUFFIXES, check_plot3d, write_plot3d
from training.data.readers.tapvid3d import files_in, read_truth

FPS = 25.0
Video = TypeVar("Video")
PICTURES = f"a video; or, of TAPVid-3D, a page or a picture in three dimensions ({', '.join(SUFFIXES)})"


def choose(videos: Iterable[Video], seed: int | None) -> Video:
    """One of the videos, each with the same probability; one at a time is in memory. Raises DatasetError for none.

    seed: gives the same choice again; None: another one each time.
    """
    rng = np.random.default_rng(seed)
    chosen = None
    for count, video in enumerate(videos):
        if rng.integers(count + 1) == 0:
            chosen = video
    if chosen is None:
        raise DatasetError("the dataset has no videos")
    return chosen


def paint(video: LabelledVideo, path: Path, fps: float = FPS, trail: int = 16) -> None:
    """Writes the video with its tracks: a disc where a point is visible, a circle where it is hidden.

    path: .mp4, .mov or .mkv. trail: how many frames a trail reaches back. Raises SaveError.
    """
    tracks = tapsdk.Tracks(video.xy, video.visible, video.visible.astype(np.float32))
    with tapsdk.VideoWriter(path, fps, video.frames.shape[1:3]) as writer:
        for frame in tapsdk.draw(iter(video.frames), tracks, trail=trail):
            writer.write(frame)


def paint3d(dataset: str, data: Path | None, name: str | None, seed: int | None, output: Path) -> None:
    """Draws the tracks of one of TAPVid-3D's files in three dimensions. Raises DatasetError, SaveError."""
    kind, path = (dataset, None) if dataset in GENERATED else locate(dataset, data)
    if kind != "tapvid3d" or path is None:
        raise DatasetError(f"{output}: only TAPVid-3D's tracks have three dimensions; write a video, such as OUT.mp4")
    check_plot3d(output)
    files = files_in(path)
    named = [file for file in files if name in (None, file.stem)]
    if not named:
        raise no_such_video(str(name), [file.stem for file in files])
    video, _ = read_truth(choose(named, seed))
    write_plot3d(output, video)
    print(f"{output}: {video.name}, {len(video.xyz)} points")


def add_parser(commands: Any) -> None:
    """Adds `paint` to the subcommands of a parser."""
    parser = commands.add_parser("paint", help="draw the true tracks of a clip of a dataset on it")
    add_dataset(parser, "native")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--video", metavar="NAME", help="which one (default: any of them)")
    which.add_argument("--seed", type=int, metavar="N", help="the same clip for the same number")
    parser.add_argument("--fps", type=float, default=FPS, metavar="N", help="frames per second (default: %(default)g)")
    parser.add_argument("--trail", type=int, default=16, metavar="K", help="frames that a trail reaches back")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.mp4", help=PICTURES)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if args.seed is not None and args.seed < 0:
        raise DatasetError(f"--seed must be 0 or more, got {args.seed}")
    tapsdk.check_output(args.output, *files_of(args))
    if args.output.suffix.lower() in SUFFIXES:
        paint3d(args.dataset, args.data, args.video, args.seed, args.output)
        return
    videos = tqdm(videos_of(args), unit="video")
    video = choose(videos, args.seed) if args.video is None else video_named(videos, args.video)
    paint(video, args.output, args.fps, args.trail)
    print(f"{args.output}: {video.name}, {len(video.xy)} points")
