"""python -m training evaluate3d: predicted tracks in three dimensions against those of TAPVid-3D.

Predictions are files of the names of the videos, in folders by source as the dataset has them: SOURCE/NAME.npz with

    tracks_XYZ: [T, N, 3] float, metres in the camera of each frame, N in the order of the file's queries
    visibility: [T, N] bool

As in the published evaluation, distances are in pixels of a video whose shorter side is 256, a prediction that is
missing or does not fit counts as zeros, metrics are means over the videos of a source, and the overall ones are means
over the sources. A video in which a metric has nothing to score has no say in it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tapsdk import check_output
from tapsdk.errors import TapsdkError, TracksError
from tapsdk.system.npz import read_npz
from tapsdk.system.places import place
from tapsdk.system.reading import reading
from training.data.readers.tapvid3d import SOURCES, read_truth
from training.data.tapvid3d import SPLITS, truths
from training.evaluation.errors import EvaluationError
from training.evaluation.metrics import THRESHOLDS
from training.evaluation.metrics3d import SCALINGS, tapvid3d_metrics
from training.evaluation.report import Metrics, Scores, add_styles, mean, table, write_records

logger = logging.getLogger(__name__)

SIDE = 256
"""Pixels of the shorter side of a video, in which distances are measured."""
OVERALL = "overall"
COLUMNS = {"3D-AJ": "average_jaccard", "APD": "average_pts_within_thresh", "OA": "occlusion_accuracy"}
DETAILS = {
    **{f"Jac. d{i}": f"jaccard_{d}" for i, d in enumerate(THRESHOLDS)},
    **{f"<d{i}": f"pts_within_{d}" for i, d in enumerate(THRESHOLDS)},
}
PARTS = ("occlusion_accuracy", "average_jaccard", "average_pts_within_thresh", *DETAILS.values())


@dataclass
class Evaluation:
    """Of one source: each video and its metrics, and why predictions are missing, by video."""

    videos: list[tuple[str, Metrics]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def evaluate3d(
    predictions: Path,
    data: Path,
    split: str = "minival",
    sources: tuple[str, ...] = SOURCES,
    scaling: str = "median",
    fixed_thresholds: bool = False,
    progress: bool = False,
) -> dict[str, Evaluation]:
    """By source, the metrics of every video in `data` that belongs to the split (`training.data.tapvid3d.truths`).

    Raises EvaluationError where there is no folder of predictions, DatasetError for a truth that cannot be read.
    """
    if not predictions.is_dir():
        raise EvaluationError(f"{predictions}: no such folder; it must hold SOURCE/NAME.npz of {', '.join(SOURCES)}")
    chosen = truths(data, split, sources)
    found = {source: Evaluation() for source in chosen}
    todo = [(source, file) for source, files in chosen.items() for file in files]
    for source, file in tqdm(todo, unit="video", disable=not progress):
        truth, size = read_truth(file)
        try:
            xyz, visible = read_prediction(predictions / source / file.name, truth.visible.shape)
            result = tapvid3d_metrics(
                ~truth.visible,
                truth.xyz,
                ~visible,
                xyz,
                truth.intrinsics * SIDE / min(size),
                scaling=scaling,
                query_points=truth.queries_txy[:, [0, 2, 1]],
                fixed_thresholds=fixed_thresholds,
            )
            metrics = {name: float(np.squeeze(value)) for name, value in result.items()}
        except TapsdkError as error:
            found[source].missing[file.stem] = str(error)
            metrics = dict.fromkeys(PARTS, 0.0)
        found[source].videos.append((file.stem, metrics))
    return found


def read_prediction(path: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """xyz [N, T, 3] and visible [N, T] of a file of predictions. Raises TracksError unless they have this [N, T]."""
    points, frames = shape
    if not path.exists():
        raise TracksError(f"{path} does not exist")
    with reading(path, "is not a .npz file of predictions", TracksError), open(path, "rb") as file:
        arrays = read_npz(file, {"tracks_XYZ", "visibility"})
    for name, expected in (("tracks_XYZ", (frames, points, 3)), ("visibility", (frames, points))):
        if name not in arrays:
            raise TracksError(f"{path} lacks {name}")
        if arrays[name].shape != expected or arrays[name].dtype.kind not in "biuf":
            got = f"{list(arrays[name].shape)} of {arrays[name].dtype}"
            raise TracksError(f"{path}: {name} must be numbers of shape {list(expected)}, got {got}")
    return arrays["tracks_XYZ"].astype(np.float64).swapaxes(0, 1), arrays["visibility"].astype(bool).T


def means(found: dict[str, Evaluation]) -> dict[str, Metrics]:
    """By source, and "overall": the mean over sources, not over videos."""
    by_source = {source: mean(metrics for _, metrics in one.videos) for source, one in found.items()}
    return by_source | {OVERALL: mean(by_source.values())}


def add_parser(commands: Any) -> None:
    """Adds `evaluate3d` to the subcommands of a parser."""
    parser = commands.add_parser("evaluate3d", help="score predicted 3-D tracks against TAPVid-3D")
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="folder with SOURCE/NAME.npz (tracks_XYZ, visibility)"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--split", choices=SPLITS, default="minival", help="which videos (default: %(default)s)")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES, help="which sources (default: all)")
    parser.add_argument(
        "--scaling", choices=SCALINGS, default="median", help="how predictions are scaled (default: %(default)s)"
    )
    parser.add_argument("--fixed", action="store_true", help="thresholds in metres, the same at every depth")
    parser.add_argument("--per-video", action="store_true", help="print a row for each video, too")
    parser.add_argument("--details", action="store_true", help="a column for each threshold, too")
    add_styles(parser)
    parser.add_argument("--json", type=place, metavar="FILE", help="write all metrics here, too")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if args.json:
        check_output(args.json, args.predictions, args.data)
    found = evaluate3d(
        args.predictions, args.data, args.split, tuple(args.sources), args.scaling, args.fixed, progress=True
    )
    for source, one in found.items():
        if one.missing:
            first, why = next(iter(one.missing.items()))
            logger.warning(
                "%s: %d of %d predictions are missing or do not fit and count as zeros; the first of them is %s: %s",
                *(source, len(one.missing), len(one.videos), first, why),
            )
    columns = COLUMNS | (DETAILS if args.details else {})
    print(table(_rows(found, args.per_video), columns, False, args.style))
    if args.json:
        context = {"split": args.split, "scaling": args.scaling, "fixed_thresholds": args.fixed}
        write_records(args.json, records(found, context))


def _rows(found: dict[str, Evaluation], per_video: bool) -> Scores:
    """What the table has a line for."""
    videos = [(f"{source}/{name}", row) for source, one in found.items() for name, row in one.videos]
    rows: Iterable[tuple[str, Metrics]] = [*(videos if per_video else []), *means(found).items()]
    return {label: [(label, row)] for label, row in rows}


def records(found: dict[str, Evaluation], context: dict[str, Any]) -> dict[str, Any]:
    """One record for each source, as `training evaluate` writes one for each predictor, and one for all."""
    averages = means(found)
    by_source = {
        source: {
            **context,
            "videos": len(one.videos),
            "missing": one.missing,
            **averages[source],
            "per_video": [{"video": name, **row} for name, row in one.videos],
        }
        for source, one in found.items()
    }
    total = sum(len(one.videos) for one in found.values())
    return by_source | {OVERALL: {**context, "videos": total, **averages[OVERALL]}}
