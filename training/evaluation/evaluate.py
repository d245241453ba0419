"""python -m training evaluate: predictors against true tracks, in the metrics of the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

from tapsdk import check_output
from tapsdk.system.places import place
from training.data.arguments import add_dataset, files_of, videos_of
from training.data.datasets import benchmark_of
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import QUERY_MODES
from training.evaluation.plots import check_plot, write_plot
from training.evaluation.predictors import BASELINES, predictor
from training.evaluation.report import ScoredVideo, Scores, add_styles, table, write_json
from training.evaluation.score import score as tapvid_score
from training.evaluation.scorers import SCORERS, TRAJAN_COLUMNS, Score, with_trajan
from training.models import load

METRICS = ("benchmark", "trajan")


def evaluate(
    names: Iterable[str], videos: Iterable[LabelledVideo], mode: str = "first", score: Score = tapvid_score
) -> Scores:
    """Metrics of each predictor on each video, which has queries."""
    names = list(names)
    return _gathered(names, each_video(names, videos, mode, score))


def each_video(
    names: Iterable[str], videos: Iterable[LabelledVideo], mode: str = "first", score: Score = tapvid_score
) -> Iterator[ScoredVideo]:
    """The same, video by video."""
    predictors = {name: predictor(name) for name in names}
    for video in videos:
        yield video.name, {name: score(video, *predict(video), mode) for name, predict in predictors.items()}


def _gathered(names: Iterable[str], videos: Iterable[ScoredVideo]) -> Scores:
    scores: Scores = {name: [] for name in names}
    for video, metrics in videos:
        for name, rows in scores.items():
            rows.append((video, metrics[name]))
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
    add_dataset(parser, "published")
    parser.add_argument("--mode", choices=QUERY_MODES, default="first", help="which queries, in TAP-Vid's sense")
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=METRICS,
        default=["benchmark"],
        help="the dataset's own, or trajan: how well TRAJAN reconstructs one half of the tracks from the other; it "
        "needs no truth",
    )
    parser.add_argument("--trajan-weights", metavar="FILE", help="of trajan/base; default: what tapsdk fetch left")
    parser.add_argument("--per-video", action="store_true", help="print a row for each video, too")
    parser.add_argument("--details", action="store_true", help="a column for each threshold, too")
    parser.add_argument("--on", metavar="WHERE", help="ray, or a cluster's ray://HOST:PORT (default: this machine)")
    parser.add_argument("--workers", type=int, metavar="N", help="on Ray (default: one for each of its processors)")
    add_styles(parser)
    parser.add_argument(
        "--plot",
        type=place,
        metavar="FILE",
        help="draw accuracy over thresholds, survival over time, and each video (.png, .svg or .pdf)",
    )
    parser.add_argument("--json", type=place, metavar="FILE", help="write all metrics here, too")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    for output in filter(None, (args.json, args.plot)):
        check_output(output, *args.model, *files_of(args))
    if args.plot:
        check_plot(args.plot)
    scorer = SCORERS[benchmark_of(args.dataset)]
    own = {**scorer.columns, **(scorer.details if args.details else {})}
    if "trajan" in args.metrics:
        scorer = with_trajan(scorer, load("trajan/base", args.trajan_weights))
    asked = (scorer.ask(video, args.mode) for video in videos_of(args))
    names = list(dict.fromkeys([*BASELINES, *args.model]))
    scored = _scored(args, names, _not_empty(asked, args.dataset), scorer.score)
    scores = _gathered(names, tqdm(scored, unit="video"))
    asked_for = {"benchmark": own, "trajan": TRAJAN_COLUMNS}
    columns = {title: metric for name in args.metrics for title, metric in asked_for[name].items()}
    print(table(scores, columns, args.per_video, args.style, scorer.pool))
    if args.json:
        size = args.resolution
        resolution = size if isinstance(size, str) else "x".join(map(str, size)) if size else "native"
        context = {"dataset": args.dataset, "mode": args.mode, "resolution": resolution}
        write_json(args.json, scores, context, scorer.pool)
    if args.plot:
        write_plot(args.plot, scores, scorer.pool)


def _scored(
    args: argparse.Namespace, names: list[str], videos: Iterator[LabelledVideo], score: Score
) -> Iterator[ScoredVideo]:
    if args.on is None:
        return each_video(names, videos, args.mode, score)
    from training.evaluation.on_ray import each_video_on_ray

    return each_video_on_ray(names, videos, args.mode, score, on=args.on, workers=args.workers)


def _not_empty(videos: Iterator[LabelledVideo], dataset: str) -> Iterator[LabelledVideo]:
    """The videos in which there is something to track. Raises DatasetError if there is none at all."""
    found = False
    for video in videos:
        if len(video.queries):
            found = True
            yield video
    if not found:
        raise DatasetError(f"{dataset} has no point that is visible on a frame from which the mode asks for it")
