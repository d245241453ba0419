"""A batch on a Ray cluster: Ray Data hands out the tasks, and each device has an actor that holds a model.

A task says no more than which video and points it is about, and a row what became of it: videos and tracks go to and
from files and never through Ray. An actor that dies, its machine with it, is replaced, and its task is done again by
another; what of that was finished is found in its file and kept.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Sequence
from typing import Any

from tapsdk.batch.local import Done
from tapsdk.batch.table import Row
from tapsdk.batch.worker import Settings, Task, Worker, failed, settle
from tapsdk.system.cluster import cluster, own_errors, quiet_data

MOST_BLOCKS = 10_000
"""That Ray Data hands out: of that many tasks each is one by itself."""
TRIES = 5
"""Deaths of actors over one task, after which it is a failed row: machines die, and videos that kill are tried no
more."""
KILLED = (
    f"{TRIES + 1} workers died while they tracked it, perhaps for want of memory: track fewer points, split them, or "
    "work at a smaller resolution"
)


def run_on_ray(
    tasks: Sequence[Task], settings: Settings, address: str, workers: int | None = None
) -> Generator[Done, None, None]:
    """Does all tasks, in any order. workers: so many actors; None: from one to as many as the cluster has room for.

    Raises ModelError, ArtifactError, BackendError; TapsdkError where the cluster cannot do it.
    """
    with cluster(address) as ray:
        needs = needs_of(settings)
        settings = _settled(ray, settings, needs)
        missing = dict(enumerate(tasks))
        for index, row in _rows(tasks, settings, needs, workers):
            yield missing.pop(index), row
        for task in missing.values():
            yield task, failed(task, KILLED)


def needs_of(settings: Settings) -> dict[str, float]:
    """What an actor takes of a machine."""
    device = (settings.options.device or "").lower()
    gpu = device.startswith(("cuda", "gpu", "tensorrt"))
    return {"num_cpus": settings.options.threads or 1, **({"num_gpus": 1} if gpu else {})}


def _settled(ray: Any, settings: Settings, needs: dict[str, float]) -> Settings:
    """Decided where the work will be done."""
    with own_errors(ray):
        settled: Settings = ray.get(ray.remote(**needs)(settle).remote(settings))
    return settled


class RayWorker:
    """What an actor of Ray Data is made of."""

    def __init__(self, settings: Settings) -> None:
        self._worker = Worker(settings)

    def __call__(self, given: dict[str, Any]) -> dict[str, Any]:
        row = self._worker.do(pickle.loads(given["task"]))
        return {"index": given["index"], "row": pickle.dumps(row)}


def _rows(
    tasks: Sequence[Task], settings: Settings, needs: dict[str, float], workers: int | None
) -> Generator[tuple[int, Row], None, None]:
    data = quiet_data()
    data.DataContext.get_current().max_errored_blocks = -1
    given = [{"index": index, "task": pickle.dumps(task)} for index, task in enumerate(tasks)]
    pool = data.ActorPoolStrategy(size=workers) if workers else data.ActorPoolStrategy(min_size=1)
    done = data.from_items(given, override_num_blocks=min(len(given), MOST_BLOCKS)).map(
        RayWorker, fn_constructor_args=[settings], compute=pool, max_task_retries=TRIES, max_restarts=-1, **needs
    )
    for row in done.iter_rows():
        yield int(row["index"]), pickle.loads(row["row"])
