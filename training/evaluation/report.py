"""Scores of predictors on videos: their means, as a table, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapsdk.system.files import AtomicFile
from tapsdk.system.json_text import as_json

Metrics = dict[str, float]
Scores = dict[str, list[tuple[str, Metrics]]]
"""By predictor: the name of each video and its metrics."""


def mean(rows: Iterable[Metrics]) -> Metrics:
    """The plain mean over videos, as TAP-Vid takes it; a video in which a metric has nothing to score has no say."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean([v for v in seen if not math.isnan(v)] or [np.nan])) for name, seen in values.items()}


def table(scores: Scores, columns: Mapping[str, str], per_video: bool) -> str:
    """Per cent, by titles and the metrics under them: a line for each predictor's mean, or for each of its videos."""
    rows = [(name, mean(metrics for _, metrics in of_one)) for name, of_one in scores.items()]
    if per_video:
        rows = [(f"mean  {name}", row) for name, row in rows]
        for of_video in reversed(list(zip(*scores.values(), strict=True))):
            rows = [(f"{video}  {name}", row) for name, (video, row) in zip(scores, of_video, strict=True)] + rows
    width = max(14, *(len(label) for label, _ in rows))
    lines = [f"{'':{width}} " + " ".join(f"{title:>6s}" for title in columns)]
    for label, row in rows:
        values = (f"{100 * row[metric]:{max(6, len(title))}.1f}" for title, metric in columns.items())
        lines.append(f"{label:{width}} " + " ".join(values))
    return "\n".join(lines)


def write_json(path: Path, scores: Scores, context: Mapping[str, Any]) -> None:
    """One record for each predictor: the context, the means, and the metrics of each video. Raises SaveError."""
    records = {
        name: {
            **context,
            "videos": len(rows),
            **mean(metrics for _, metrics in rows),
            "per_video": [{"video": video, **metrics} for video, metrics in rows],
        }
        for name, rows in scores.items()
    }
    with AtomicFile(path) as file:
        file.write((json.dumps(as_json(records), indent=1, allow_nan=False) + "\n").encode())
