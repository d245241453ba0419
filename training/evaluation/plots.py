"""Scores as a picture: accuracy over thresholds, survival over time, and each video, a colour for each predictor."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from tapsdk.system.files import AtomicFile
from tapsdk.system.places import Place
from training.evaluation.errors import EvaluationError
from training.evaluation.metrics import THRESHOLDS
from training.evaluation.pck import SHARES
from training.evaluation.report import Metrics, Pool, Scores, summary
from training.evaluation.survival import AFTER

SUFFIXES = (".png", ".svg", ".pdf")
MOST_NAMED = 40
"""Videos whose names fit below an axis."""


def check_plot(path: Place) -> None:
    """Raises, before any work, what `write_plot` would: EvaluationError for another kind of file, too."""
    if path.suffix.lower() not in SUFFIXES:
        raise EvaluationError(f"{path}: a plot is one of {', '.join(SUFFIXES)}")
    _figure_class()
    AtomicFile(path).discard()


def write_plot(path: Place, scores: Scores, pool: Pool | None = None) -> None:
    """Raises EvaluationError without Matplotlib, SaveError where the file cannot be written. pool: see `summary`."""
    means = summary(scores, pool)
    lasting = any("survival_after_1" in row for row in means.values())
    panels = [(_accuracy, means), *([(_survival, means)] if lasting else []), (_videos, scores)]
    figure = _figure_class()(figsize=(5 * len(panels), 4.5), layout="constrained")
    for axes, (draw, values) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        draw(axes, values)
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower()[1:], dpi=150)
    with AtomicFile(path) as file:
        file.write(buffer.getvalue())


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EvaluationError("plots are drawn with Matplotlib: pip install 'tapsdk[plots]'") from error
    return Figure


def _accuracy(axes: Any, means: dict[str, Metrics]) -> None:
    """Shares of points within each distance: of pixels, or of a person's size."""
    by_pixels = any("pts_within_1" in row for row in means.values())
    at = THRESHOLDS if by_pixels else SHARES
    metric = "pts_within_{}" if by_pixels else "PCK@{}"
    for name, row in means.items():
        axes.plot(at, [_per_cent(row, metric.format(value)) for value in at], marker="o", label=_plain(name))
    if by_pixels:
        axes.set_xscale("log", base=2)
    axes.set_xticks(at, [f"{value:g}" for value in at])
    axes.set_xlabel("pixels at 256x256" if by_pixels else "share of the person's size")
    axes.set_ylabel("visible points within, %" if by_pixels else "joints within, %")


def _survival(axes: Any, means: dict[str, Metrics]) -> None:
    at = [after for after in AFTER if any(f"survival_after_{after}" in row for row in means.values())]
    for name, row in means.items():
        axes.plot(at, [_per_cent(row, f"survival_after_{after}") for after in at], marker="o", label=_plain(name))
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [str(after) for after in at])
    axes.set_xlabel("frames after the query")
    axes.set_ylabel("points not lost yet, %")


def _videos(axes: Any, scores: Scores) -> None:
    """The main number of every video, the hardest for the last predictor first."""
    *_, last = scores.values()
    metric = "PCK@0.1" if any("PCK@0.1" in row for _, row in last) else "average_jaccard"
    order = sorted(range(len(last)), key=lambda i: np.nan_to_num(last[i][1].get(metric, 0), nan=-1))
    for name, rows in scores.items():
        axes.plot([_per_cent(rows[i][1], metric) for i in order], marker="o", linestyle="none", label=_plain(name))
    if len(order) <= MOST_NAMED:
        axes.set_xticks(range(len(order)), [_plain(last[i][0]) for i in order], rotation=90, fontsize=7)
    else:
        axes.set_xticks([])
    axes.set_xlabel("videos")
    axes.set_ylabel("AJ, %" if metric == "average_jaccard" else f"{metric}, %")


def _per_cent(row: Metrics, metric: str) -> float:
    return 100 * row.get(metric, float("nan"))


def _plain(text: str) -> str:
    """Without what Matplotlib takes for mathematics, or a label that begins with _ for none."""
    return text.replace("$", r"\$").lstrip("_")
