"""Scores of predictors on videos: their means, as tables for terminals, Markdown and LaTeX, and as JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tapsdk.system.files import AtomicFile
from tapsdk.system.json_text import as_json
from tapsdk.system.places import Place

Metrics = dict[str, float]
Scores = dict[str, list[tuple[str, Metrics]]]
"""By predictor: the name of each video and its metrics."""
ScoredVideo = tuple[str, dict[str, Metrics]]
"""The name of a video and, by predictor, its metrics."""
Pool = Callable[[Sequence[Metrics]], Metrics]
"""Metrics of all videos together that are no means of theirs."""

NOTHING = "nan"
"""How a table on a terminal shows that there was nothing to score."""
LATEX = {
    "<d_avg": r"$<\delta^x_{avg}$",
    "AJ_RD": r"AJ$_{RD}$",
    **{f"<d{i}": rf"$<\delta^{i}$" for i in range(5)},
    **{f"Jac. d{i}": rf"Jac.\ $\delta^{i}$" for i in range(5)},
}
"""How titles are set where they are more than words."""


def mean(rows: Iterable[Metrics]) -> Metrics:
    """The plain mean over videos, as TAP-Vid takes it; a video in which a metric has nothing to score has no say."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: mean_of_known(seen) for name, seen in values.items()}


def mean_of_known(values: Iterable[float]) -> float:
    """Without NaN; NaN of nothing."""
    return float(np.mean([value for value in values if not math.isnan(value)] or [np.nan]))


def weighted_mean(rows: Iterable[Metrics], name: str, weight: str) -> float:
    """Of a metric over rows, by what another one says of how much each is a mean of; NaN where that is nothing at all.

    A row may lack both.
    """
    known = [(row[name], row[weight]) for row in rows if row.get(weight, 0) > 0]
    if not known:
        return float("nan")
    values, weights = zip(*known, strict=True)
    return float(np.average(values, weights=weights))


def summary(scores: Scores, pool: Pool | None = None) -> dict[str, Metrics]:
    """By predictor: means over videos, and what `pool` says of all of them in place of means."""
    rows = {name: [metrics for _, metrics in of_one] for name, of_one in scores.items()}
    return {name: mean(of_one) | (pool(of_one) if pool else {}) for name, of_one in rows.items()}


def table(
    scores: Scores, columns: Mapping[str, str], per_video: bool, style: str = "text", pool: Pool | None = None
) -> str:
    """Per cent, by titles and the metrics under them: a line for each predictor's mean, or for each of its videos.

    style: one of STYLES. pool: see `summary`. A metric that was not measured is a dash.
    """
    rows = list(summary(scores, pool).items())
    if per_video:
        rows = [(f"mean  {name}", row) for name, row in rows]
        for of_video in reversed(list(zip(*scores.values(), strict=True))):
            rows = [(f"{video}  {name}", row) for name, (video, row) in zip(scores, of_video, strict=True)] + rows
    cells = [[label, *(_per_cent(row.get(metric)) for metric in columns.values())] for label, row in rows]
    return STYLES[style](list(columns), cells)


def _per_cent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _text(titles: list[str], rows: list[list[str]]) -> str:
    width = max(14, *(len(label) for label, *_ in rows))
    columns = [max(6, len(title)) for title in titles]
    lines = [f"{'':{width}} " + " ".join(f"{title:>6s}" for title in titles)]
    lines += [f"{label:{width}} " + " ".join(map(str.rjust, values, columns)) for label, *values in rows]
    return "\n".join(lines)


def _markdown(titles: list[str], rows: list[list[str]]) -> str:
    lines = [["", *titles], ["---", *["---:"] * len(titles)], *rows]
    return "\n".join(f"| {' | '.join(map(_as_markdown, line))} |" for line in lines)


def _as_markdown(text: str) -> str:
    return "-" if text == NOTHING else text.replace("|", r"\|").replace("<", "&lt;")


def _latex(titles: list[str], rows: list[list[str]]) -> str:
    head = ["", *(LATEX.get(title) or _as_latex(title) for title in titles)]
    body = [[_as_latex(label), *("--" if cell in ("-", NOTHING) else cell for cell in cells)] for label, *cells in rows]
    lines = [" & ".join(line) + r" \\" for line in (head, *body)]
    lines = [r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
    return "\n".join([rf"\begin{{tabular}}{{l{'r' * len(titles)}}}", *lines, r"\end{tabular}"])


def _as_latex(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    return "".join(named.get(c) or (f"\\{c}" if c in "&%$#_{}" else c) for c in text)


STYLES: dict[str, Callable[[list[str], list[list[str]]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
}
"""Of tables: titles of columns, and rows that begin with a label."""


def add_styles(parser: argparse.ArgumentParser) -> None:
    """Adds --markdown and --latex, which set `style` to one of STYLES."""
    styles = parser.add_mutually_exclusive_group()
    for style, title in (("markdown", "Markdown"), ("latex", "LaTeX")):
        styles.add_argument(f"--{style}", dest="style", action="store_const", const=style, help=f"print {title}")
    parser.set_defaults(style="text")


def write_json(path: Place, scores: Scores, context: Mapping[str, Any], pool: Pool | None = None) -> None:
    """One record for each predictor: the context, the means, and the metrics of each video. Raises SaveError."""
    means = summary(scores, pool)
    records = {
        name: {
            **context,
            "videos": len(rows),
            **means[name],
            "per_video": [{"video": video, **metrics} for video, metrics in rows],
        }
        for name, rows in scores.items()
    }
    write_records(path, records)


def write_records(path: Place, records: Mapping[str, Any]) -> None:
    """As JSON, with null for what is not a number. Raises SaveError."""
    with AtomicFile(path) as file:
        file.write((json.dumps(as_json(records), indent=1, allow_nan=False) + "\n").encode())
