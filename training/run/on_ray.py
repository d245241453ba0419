"""Training batches that a Ray cluster makes, as a dataset of Ray Data: the same ones, in the same order."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from functools import partial
from typing import Any

from tapsdk.system.cluster import cluster, own_errors, rows_of
from training.data.training_videos import TrainingVideos
from training.run.batches import Batch, make_batch, open_videos
from training.run.config import TrainConfig

MOST_BLOCKS = 1000
"""That the steps of a run are handed out in; those of one are made by one task."""


def iterate_on_ray(
    config: TrainConfig, start: int, rank: int = 0, world: int = 1, *, on: str = "ray"
) -> Generator[Batch, None, None]:
    """As `training.run.batches.iterate`. As many are made ahead of time as the cluster's memory has room for.

    on: see `tapsdk.system.cluster.cluster`. Where `config.data` names labelled videos, all machines see them, and the
    folder of TMPDIR that they are unpacked in. Raises DatasetError, SaveError, TapsdkError.
    """
    with open_videos(config) as videos, cluster(on) as ray, own_errors(ray):
        steps = range(start, config.total_steps)
        if steps:
            for row in rows_of(ray, batch_source, config, steps, rank, world, videos):
                yield pickle.loads(row["batch"])


def batch_source(
    data: Any, config: TrainConfig, steps: range, rank: int, world: int, videos: TrainingVideos | None
) -> Any:
    """A `ray.data.Dataset` with a row a step: "id", counted from the first of the steps, and "batch", pickled.

    data: the module `ray.data`.
    """
    data.DataContext.get_current().execution_options.preserve_order = True
    make = partial(_made, config, steps.start, rank, world, videos)
    return data.range(len(steps), override_num_blocks=min(len(steps), MOST_BLOCKS)).map(make, num_cpus=1)


def _made(
    config: TrainConfig, start: int, rank: int, world: int, videos: TrainingVideos | None, row: dict[str, Any]
) -> dict[str, Any]:
    batch = make_batch(config, start + int(row["id"]), rank, world, videos)
    return {"id": row["id"], "batch": pickle.dumps(batch)}
