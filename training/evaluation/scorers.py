"""What benchmarks ask trackers for, and how they score the answers: a row for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import THRESHOLDS
from training.evaluation.pck import SHARES, ask_joints, pck, pool_pck
from training.evaluation.queries import sample_queries
from training.evaluation.redetection import pool_redetection
from training.evaluation.report import Metrics, Pool
from training.evaluation.score import score
from training.evaluation.trajan import trajan_score

Score = Callable[[LabelledVideo, NDArray[np.float32], NDArray[np.bool_], str], Metrics]
"""Of a video with queries, tracks [N, T, 2] in its pixels, visible [N, T], and the mode of the queries."""


@dataclass(frozen=True)
class Scorer:
    """A benchmark's way to ask and to score."""

    ask: Callable[[LabelledVideo, str], LabelledVideo]
    """The video with queries, by the mode: "first" or "strided"."""
    score: Score
    columns: Mapping[str, str]
    """Titles of a table, and the metrics below them."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Columns for whoever asks for more."""
    pool: Pool | None = None
    """Metrics of all videos together, where they are no means of the videos' own."""


SCORERS = {
    "tapvid": Scorer(
        sample_queries,
        score,
        {
            "AJ": "average_jaccard",
            "<d_avg": "average_pts_within_thresh",
            "OA": "occlusion_accuracy",
            "AJ_RD": "AJ_RD",
            "mislead": "misleading",
        },
        {
            **{f"Jac. d{i}": f"jaccard_{d}" for i, d in enumerate(THRESHOLDS)},
            **{f"<d{i}": f"pts_within_{d}" for i, d in enumerate(THRESHOLDS)},
            "survival": "survival",
        },
        pool_redetection,
    ),
    "pck": Scorer(ask_joints, pck, {f"PCK@{share}": f"PCK@{share}" for share in SHARES}, pool=pool_pck),
}

TRAJAN_COLUMNS = {
    "TR_AJ": "trajan_average_jaccard",
    "TR_d": "trajan_average_pts_within_thresh",
    "TR_OA": "trajan_occlusion_accuracy",
}


def with_trajan(scorer: Scorer, model: Any) -> Scorer:
    """The same, and what TRAJAN says of the tracks (`trajan_score`): TRAJAN_COLUMNS are of it."""

    def both(video: LabelledVideo, xy: NDArray[np.float32], visible: NDArray[np.bool_], mode: str) -> Metrics:
        return {**scorer.score(video, xy, visible, mode), **trajan_score(video, xy, visible, model)}

    return replace(scorer, score=both)
