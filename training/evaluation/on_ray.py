"""Evaluation on a Ray cluster: videos are read here and go to its machines, which track and score them.

Which backend and plan run a model is decided here, and threads are as many as there are here, so that machines of one
kind give the numbers that this one gives.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from tapsdk.errors import TapsdkError
from tapsdk.system.cluster import cluster, own_errors
from tapsdk.system.machine import cores
from training.data.labelled_video import LabelledVideo
from training.evaluation.predictors import Predictor, predictor, settled_backend
from training.evaluation.report import ScoredVideo
from training.evaluation.scorers import Score

TRIES = 5
"""Times that a video is tried again when its actor or its machine dies."""
AHEAD = 2
"""Videos on their way to each actor."""


class Scoring:
    """What an actor does: it keeps the predictors that it has met."""

    def __init__(self, mode: str, score: Score) -> None:
        self._mode, self._score = mode, score
        self._predictor = cache(predictor)

    def score(self, video: LabelledVideo, backends: dict[str, str]) -> ScoredVideo:
        predictors: dict[str, Predictor] = {name: self._predictor(name, each) for name, each in backends.items()}
        metrics = {name: self._score(video, *predict(video), self._mode) for name, predict in predictors.items()}
        return video.name, metrics


def each_video_on_ray(
    names: Sequence[str],
    videos: Iterable[LabelledVideo],
    mode: str,
    score: Score,
    *,
    on: str = "ray",
    workers: int | None = None,
) -> Iterator[ScoredVideo]:
    """As `training.evaluation.evaluate.each_video`, in the same order, on a cluster.

    names: those of files and artifact directories are paths that all machines see. on: see
    `tapsdk.system.cluster.cluster`. workers: actors; None: one for each processor that the cluster has.
    Raises TapsdkError.
    """
    if workers is not None and workers < 1:
        raise TapsdkError(f"workers is how many work at once, at least 1, got {workers}")
    with cluster(on) as ray, own_errors(ray):
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores()))}  # else Ray sets its own
        make = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=TRIES, runtime_env={"env_vars": threads})
        actors = [make(Scoring).remote(mode, score) for _ in range(count)]
        waiting: deque[Any] = deque()
        for number, video in enumerate(videos):
            backends = {name: settled_backend(name, len(video.queries)) for name in names}
            waiting.append(actors[number % count].score.remote(video, backends))
            if len(waiting) >= AHEAD * count:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
