"""python -m training evaluate: predictors against true tracks, in TAP-Vid's metrics."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from tapsdk import check_output
from tapsdk.geometry import Size
from training.data.datasets import DATASETS, GENERATED, SYNTHETIC, open_dataset
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import QUERY_MODES
from training.evaluation.predictors import BASELINES, predictor
from training.evaluation.queries import sample_queries
from training.evaluation.report import Scores, table, write_json
from training.evaluation.score import score
from training.evaluation.trajan import trajan_score
from training.models import load

COLUMNS = {
    "AJ": "average_jaccard",
    "<d_avg": "average_pts_within_thresh",
    "OA": "occlusion_accuracy",
    "AJ_RD": "AJ_RD",
    "mislead": "misleading",
}
TRAJAN_COLUMNS = {
    "TR_AJ": "trajan_average_jaccard",
    "TR_d": "trajan_average_pts_within_thresh",
    "TR_OA": "trajan_occlusion_accuracy",
}
METRICS = {"tapvid": COLUMNS, "trajan": TRAJAN_COLUMNS}
"""What `--metrics` names, and the columns that it prints."""


def evaluate(names: Iterable[str], videos: Iterable[LabelledVideo], mode: str = "first", trajan: Any = None) -> Scores:
    """Metrics of each predictor on each video; `trajan_score`'s, too, where its model is given."""
    predictors = {name: predictor(name) for name in names}
    scores: Scores = {name: [] for name in predictors}
    for video in videos:
        for name, predict in predictors.items():
            tracks = predict(video)
            motion = {} if trajan is None else trajan_score(video, *tracks, trajan)
            scores[name].append((video.name, {**score(video, *tracks, mode), **motion}))
    return scores


def add_parser(commands: Any) -> None:
    """Adds `evaluate` to the subcommands of a parser."""
    parser = commands.add_parser("evaluate", help="score models against true tracks, beside the baselines")
    parser.add_argument(
        "--model",
        nargs="+",
        default=["tapir"],
        metavar="M",
        help="names of models, artifact directories, or .npz files of predictions (NAME/tracks, NAME/visible)",
    )
    names = ", ".join([*GENERATED, *DATASETS])
    parser.add_argument("--dataset", default=SYNTHETIC, metavar="D", help=f"{names}, or a file or folder with one")
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the files of a named dataset are")
    parser.add_argument("--mode", choices=QUERY_MODES, default="first", help="which queries, in TAP-Vid's sense")
    parser.add_argument(
        "--resolution",
        type=_resolution,
        default="published",
        metavar="HxW|native|published",
        help="resize videos, leave them, or (default) do as the benchmark demands, which is 256x256 for TAP-Vid",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=list(METRICS),
        default=["tapvid"],
        help="tapvid, or trajan: how well TRAJAN reconstructs one half of the tracks from the other; it needs no truth",
    )
    parser.add_argument(
        "--trajan-weights", "--weights", metavar="FILE", help="of trajan/base; default: what tapsdk fetch left"
    )
    parser.add_argument("--textures", type=Path, metavar="DIR", help="photographs for the synthetic clips")
    parser.add_argument("--per-video", action="store_true", help="print a row for each video, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all metrics here, too")
    parser.set_defaults(run=_run)


def _resolution(text: str) -> Size | Literal["published"] | None:
    if text == "published":
        return "published"
    if text == "native":
        return None
    sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if sides is None:
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, such as 256x256, native or published, got {text!r}")
    return int(sides[1]), int(sides[2])


def _run(args: argparse.Namespace) -> None:
    data = args.textures or args.data if args.dataset in GENERATED else args.data
    if args.json:
        check_output(args.json, *args.model, args.dataset, data)
    trajan = load("trajan/base", args.trajan_weights) if "trajan" in args.metrics else None
    videos = open_dataset(args.dataset, data, args.resolution)
    asked = (sample_queries(video, args.mode) for video in videos)
    names = dict.fromkeys([*BASELINES, *args.model])
    scores = evaluate(names, tqdm(_not_empty(asked, args.dataset), unit="video"), args.mode, trajan)
    columns = {title: metric for name in args.metrics for title, metric in METRICS[name].items()}
    print(table(scores, columns, args.per_video))
    if args.json:
        size = args.resolution
        resolution = size if isinstance(size, str) else "x".join(map(str, size)) if size else "native"
        write_json(args.json, scores, {"dataset": args.dataset, "mode": args.mode, "resolution": resolution})


def _not_empty(videos: Iterator[LabelledVideo], dataset: str) -> Iterator[LabelledVideo]:
    """The videos in which there is something to track. Raises DatasetError if there is none at all."""
    found = False
    for video in videos:
        if len(video.queries):
            found = True
            yield video
    if not found:
        raise DatasetError(f"{dataset} has no point that is visible on a frame from which the mode asks for it")
