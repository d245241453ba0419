"""python -m training evaluate: predictors against true tracks, in TAP-Vid's metrics."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tapsdk.errors import TapsdkError
from tapsdk.geometry import scale_points
from training.evaluation.datasets import DATASETS, Sample
from training.evaluation.metrics import tapvid_metrics
from training.evaluation.predictors import BASELINES, Prediction, predictor

METRIC_SIZE = (256, 256)


def score(sample: Sample, prediction: Prediction, mode: str = "first") -> dict[str, float]:
    """TAP-Vid's metrics of one video; positions are scaled to 256x256 first, as the benchmark demands."""
    size = sample.frames.shape[1:3]
    xy, visible = prediction
    found, true = (scale_points(p, size, METRIC_SIZE)[None] for p in (xy, sample.xy))
    tyx = sample.queries[None][..., [0, 2, 1]]
    metrics = tapvid_metrics(tyx, ~sample.visible[None], true, ~visible[None], found, mode)
    return {name: float(value[0]) for name, value in metrics.items()}


def evaluate(names: list[str], samples: Iterable[Sample], mode: str = "first") -> dict[str, dict[str, float]]:
    """Metrics of each predictor: the plain mean over videos, as TAP-Vid takes it."""
    predictors = {name: predictor(name) for name in names}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for sample in samples:
        for name, predict in predictors.items():
            scores[name].append(score(sample, predict(sample), mode))
    return {
        name: {k: float(np.nanmean([r[k] for r in rows])) for k in rows[0]} for name, rows in scores.items() if rows
    }


def add_parser(commands: Any) -> None:
    """Adds `evaluate` to the subcommands of a parser."""
    parser = commands.add_parser("evaluate", help="score a model against true tracks, beside the baselines")
    parser.add_argument("--model", default="tapir", help="a model's name or an artifact directory")
    parser.add_argument("--dataset", default="synthetic", help=f"one of {', '.join(DATASETS)}")
    parser.add_argument("--textures", metavar="DIR", help="photographs for the synthetic clips")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the metrics here, too")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if args.dataset not in DATASETS:
        raise TapsdkError(f"unknown dataset {args.dataset!r}; use one of {', '.join(DATASETS)}")
    samples = tqdm(DATASETS[args.dataset](args.textures), unit="video")
    rows = evaluate([*BASELINES, args.model], samples)
    print(f"{'':14s} {'AJ':>6s} {'<d_avg':>6s} {'OA':>6s}")
    for name, row in rows.items():
        columns = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")
        print(f"{name:14s} " + " ".join(f"{100 * row[c]:6.1f}" for c in columns))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
