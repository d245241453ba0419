"""python -m training compare: what several trackers make of the same clips, side by side on one page.

The page is a single file that needs no network: frames, predictions and the program that shows them are in it.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tapsdk import check_output
from tapsdk.system.files import AtomicFile
from tapsdk.system.pages import filled
from tapsdk.system.places import Place, place
from training.data.arguments import add_dataset, files_of, video_named, videos_of
from training.data.datasets import benchmark_of
from training.data.errors import DatasetError
from training.data.images import encode_jpeg
from training.data.labelled_video import LabelledVideo
from training.evaluation.errors import EvaluationError
from training.evaluation.metrics import METRIC_SIZE, QUERY_MODES
from training.evaluation.predictors import Predictor, predictor
from training.evaluation.scorers import SCORERS, Scorer

PAGE = Path(__file__).with_name("compare.html")
WITHIN = 8
"""Pixels at 256x256 within which the page's chart counts a point as found."""
QUALITY = 85
"""Of the page's pictures, as JPEG."""


def write_page(
    path: Place, videos: Iterable[LabelledVideo], predictors: Mapping[str, Predictor], scorer: Scorer, mode: str
) -> None:
    """Writes the page with a clip for each of the videos, which have queries. Raises SaveError, DatasetError."""
    clips = [_clip(video, predictors, scorer, mode) for video in videos]
    if not clips:
        raise DatasetError("there is no video with a point to compare trackers on")
    with AtomicFile(path) as file:
        file.write(filled(PAGE, {"clips": clips, "within": WITHIN}))


def _clip(video: LabelledVideo, predictors: Mapping[str, Predictor], scorer: Scorer, mode: str) -> dict[str, Any]:
    height, width = video.frames.shape[1:3]
    found = {name: predict(video) for name, predict in predictors.items()}
    scores = {name: scorer.score(video, *tracks, mode) for name, tracks in found.items()}
    return {
        "name": video.name,
        "size": [width, height],
        "scale": [METRIC_SIZE[1] / width, METRIC_SIZE[0] / height],
        "frames": [base64.b64encode(encode_jpeg(frame, QUALITY)).decode() for frame in video.frames],
        "queries": video.queries[:, 0].astype(int).tolist(),
        "truth": _tracks(video.xy, video.visible),
        "trackers": [
            {
                "name": name,
                **_tracks(*tracks),
                "metrics": {title: scores[name][metric] for title, metric in scorer.columns.items()},
            }
            for name, tracks in found.items()
        ],
    }


def _tracks(xy: NDArray[np.float32], visible: NDArray[np.bool_]) -> dict[str, Any]:
    """In tenths of pixels, None for what is no number; visible as a text of 1 and 0 for each point."""
    flat = xy.reshape(len(xy), -1)
    tenths = np.rint(np.clip(np.nan_to_num(flat, posinf=0, neginf=0), -1e6, 1e6) * 10).astype(int).tolist()
    known = np.isfinite(flat).tolist()
    return {
        "xy": [[v if k else None for v, k in zip(*row, strict=True)] for row in zip(tenths, known, strict=True)],
        "visible": ["".join("01"[flag] for flag in row) for row in visible.tolist()],
    }


def sources(trackers: Iterable[str], models: Iterable[str]) -> dict[str, str]:
    """What `predictor` takes, by the name to show it under. Raises EvaluationError for none, and for a name twice.

    trackers: NAME=WHAT, or WHAT, which is then the name, too. models: WHAT.
    """
    found: dict[str, str] = {}
    for name, _, what in [*(each.partition("=") for each in trackers), *((model, "", "") for model in models)]:
        if name in found:
            raise EvaluationError(f"two trackers are called {name}; give them names: NAME={what or name}")
        found[name] = what or name
    if not found:
        raise EvaluationError("no tracker to show: give NAME=PREDICTIONS.npz, --model M, or both")
    return found


def add_parser(commands: Any) -> None:
    """Adds `compare` to the subcommands of a parser."""
    parser = commands.add_parser("compare", help="a page that shows trackers side by side")
    parser.add_argument(
        "trackers",
        nargs="*",
        metavar="NAME=PRED.npz",
        help="predictions, as evaluate takes them, and what to call them",
    )
    parser.add_argument("--model", nargs="+", default=[], metavar="M", help="models, or still, or lucas-kanade")
    add_dataset(parser, "published")
    parser.add_argument("--mode", choices=QUERY_MODES, default="first", help="which queries, in TAP-Vid's sense")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--video", metavar="NAME", help="the clip to show (default: the first)")
    which.add_argument("--videos", type=int, default=1, metavar="N", help="show the first N clips")
    parser.add_argument("-o", "--output", type=place, required=True, metavar="PAGE.html", help="the page")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    named = sources(args.trackers, args.model)
    check_output(args.output, *named.values(), *files_of(args))
    if args.videos < 1:
        raise EvaluationError(f"--videos must be at least 1, got {args.videos}")
    AtomicFile(args.output).discard()
    predictors, scorer = {k: predictor(what) for k, what in named.items()}, SCORERS[benchmark_of(args.dataset)]
    asked = (scorer.ask(video, args.mode) for video in _chosen(args))
    shown = islice((video for video in asked if len(video.queries)), args.videos)
    write_page(args.output, tqdm(shown, unit="video"), predictors, scorer, args.mode)
    print(f"{args.output}: {', '.join(predictors)}")


def _chosen(args: argparse.Namespace) -> Iterator[LabelledVideo]:
    return videos_of(args) if args.video is None else iter([video_named(videos_of(args), args.video)])
