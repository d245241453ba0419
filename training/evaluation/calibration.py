"""python -m training calibrate: whether points are right as often as a model's confidence says.

Confidence is the probability that a point is seen, and that its position is right. So of all positions with a
confidence of 0.8, eight in ten should be. Positions are sorted into ten classes by their confidence; the expected
calibration error is the mean distance between what a class says and how often it is right, by how many are in it.
(Guo et al. 2017, arXiv:1706.04599)

`--fit` tells the line through a few points that a manifest's `visibility.calibration` can hold, so that confidence is
right as often as it says on these videos.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

import tapsdk
from tapsdk.artifact.manifest import Curve
from tapsdk.geometry import scale_points
from tapsdk.system.files import AtomicFile
from tapsdk.system.places import place
from tapsdk.tracks import Tracks
from training.data.arguments import add_dataset, files_of, videos_of
from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import METRIC_SIZE
from training.evaluation.plot import COLOURS, Axis, Plot
from training.evaluation.queries import sample_queries
from training.evaluation.report import write_records

CLASSES = 10
RIGHT = 8.0
"""Pixels at 256x256 within which a position is right: about what TAPIR's `expected_dist` is trained to tell."""


KNOTS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Certainties between which confidence is fitted as a straight line: closer where most positions are."""
LEAST_RISE = 1e-3
"""Of a fitted line from knot to knot."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Of each class that is not empty: its mean confidence, how often it was right, and its share of all positions."""

    said: NDArray[np.float64]
    right: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error; NaN of nothing."""
        return float((self.share * np.abs(self.said - self.right)).sum()) if len(self.share) else float("nan")


def reliability(confidence: ArrayLike, right: ArrayLike, classes: int = CLASSES) -> Reliability:
    """confidence: [P] in [0, 1]. right: [P] bool. classes: of equal width."""
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    kind = np.minimum((confidence * classes).astype(int), classes - 1)
    held = [kind == i for i in range(classes) if (kind == i).any()]
    return Reliability(
        np.array([confidence[each].mean() for each in held]),
        np.array([right[each].mean() for each in held]),
        np.array([each.mean() for each in held]),
    )


def fit(certainty: ArrayLike, right: ArrayLike) -> Curve:
    """The line through KNOTS, from (0, 0) to (1, 1), that is nearest to what was right, by least squares (Brier 1950).

    Where there is next to nothing to go by, it is near the certainty.

    certainty: [P] in [0, 1]. right: [P] bool.
    """
    certainty, right = np.asarray(certainty, np.float64), np.asarray(right, np.float64)
    *inner, last = (np.interp(certainty, KNOTS, knot) for knot in np.eye(len(KNOTS))[1:])
    share = np.stack(inner, 1)
    # The identity, and the knots on the right: as if a position at each of them had been right as often as it says.
    heights = np.linalg.solve(share.T @ share + np.eye(len(inner)), share.T @ (right - last) + KNOTS[1:-1])
    line = [0.0]
    for i, height in enumerate(heights):
        line.append(float(np.clip(height, line[-1] + LEAST_RISE, 1 - (len(heights) - i) * LEAST_RISE)))
    return tuple(zip(KNOTS, [round(height, 4) for height in line] + [1.0], strict=True))


def uncalibrated(confidence: ArrayLike, calibration: Curve) -> NDArray[np.float64]:
    """What a model was certain of, [P], that reports such a confidence."""
    confidence = np.asarray(confidence, np.float64)
    certainty, reported = zip(*(calibration or ((0, 0), (1, 1))), strict=True)
    return np.asarray(np.interp(confidence, reported, certainty))


def observe(video: LabelledVideo, tracks: Tracks) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidence [P], and whether the point is seen and its position right [P], on all frames after the queries."""
    size = video.frames.shape[1:3]
    found, true = (scale_points(xy, size, METRIC_SIZE) for xy in (tracks.xy, video.xy))
    close = np.linalg.norm(found - true, axis=-1) < RIGHT
    scored = np.arange(len(video.frames)) > video.queries[:, :1]
    if video.annotated is not None:
        scored = scored & video.annotated
    return tracks.confidence[scored], (close & video.visible)[scored]


def figure(curves: Mapping[str, Reliability]) -> str:
    """A drawing (SVG) of how often positions are right over what is said of them, a line for each name."""
    ticks = (0, 0.5, 1)
    plot = Plot(Axis("confidence", 0, 1, ticks), Axis("share that is right", 0, 1, ticks))
    plot.guide((0, 0), (1, 1))
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        points = list(zip(curve.said, curve.right, strict=True))
        plot.line(points, colour)
        for point, share in zip(points, curve.share, strict=True):
            plot.dot(point, 2 + 12 * share**0.5, colour)
        plot.name(f"{name}: {100 * curve.error:.1f} % off", colour)
    return plot.render()


def add_parser(commands: Any) -> None:
    """Adds `calibrate` to the subcommands of a parser."""
    parser = commands.add_parser("calibrate", help="whether points are right as often as confidence says")
    parser.add_argument("--model", nargs="+", default=["tapir"], metavar="M", help="names, or artifact directories")
    add_dataset(parser, "published")
    parser.add_argument("-o", "--output", type=place, metavar="FILE.svg", help="draw it here")
    parser.add_argument("--fit", action="store_true", help="print the calibration that fits these videos best")
    parser.add_argument("--json", type=place, metavar="FILE", help="write the classes here, too")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    for output in filter(None, (args.output, args.json)):
        tapsdk.check_output(output, *args.model, *files_of(args))
    models = {name: tapsdk.load(name) for name in dict.fromkeys(args.model)}
    seen: dict[str, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]] = {name: [] for name in models}
    for video in tqdm(videos_of(args), unit="video"):
        asked = sample_queries(video, "first")
        for name, model in models.items():
            seen[name].append(observe(asked, tapsdk.track(asked.frames, asked.queries, model)))
    joined = {name: [np.concatenate(each) for each in zip(*rows, strict=True)] for name, rows in seen.items()}
    curves = {name: reliability(*observed) for name, observed in joined.items()}
    print(table(curves))
    for name, (confidence, right) in joined.items() if args.fit else ():
        calibration = models[name].manifest.visibility.calibration
        print(f"{name}: calibration {json.dumps(fit(uncalibrated(confidence, calibration), right))}")
    if args.output:
        with AtomicFile(args.output) as file:
            file.write(figure(curves).encode())
    if args.json:
        write_records(args.json, {name: _record(curve) for name, curve in curves.items()})


def _record(curve: Reliability) -> dict[str, Any]:
    classes = {"confidence": curve.said, "right": curve.right, "share": curve.share}
    return {"error": curve.error, **{name: column.tolist() for name, column in classes.items()}}


def table(curves: Mapping[str, Reliability]) -> str:
    """A line for each class of each name: what is said, how often it is right, and how many positions say so."""
    lines = []
    for name, curve in curves.items():
        lines.append(f"{name}: expected calibration error {100 * curve.error:.1f} %")
        lines += [
            f"  says {said:.2f}, is right {right:.2f} ({share:.1%})"
            for said, right, share in zip(curve.said, curve.right, curve.share, strict=True)
        ]
    return "\n".join(lines)
