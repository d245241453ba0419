"""A batch on a Ray cluster: Ray Data hands out the tasks, and each device has an actor that holds a model.

A task says no more than which video and points it is about, and a row what became of it: videos and tracks go to and
from files and never through Ray. An actor that dies, its machine with it, is replaced, and its task is done again by
another; what of that was finished is found in its file and kept.
"""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

from tapsdk.batch.local import Done
from tapsdk.batch.worker import Settings, Task, Worker, absolute, failed, part_path, settle
from tapsdk.system.cluster import HEAD, cluster, own_errors, rows_of
from tapsdk.system.places import place

logger = logging.getLogger(__name__)

MOST_BLOCKS = 10_000
"""That Ray Data hands out: of that many tasks each is one by itself."""
GPUS = ("cuda", "gpu", "migraphx", "rocm", "tensorrt")
"""How names of devices begin that are what Ray calls a GPU; each worker sees one, as if it were the only one."""
MOST_DEATHS = 3
"""Of workers over one task: machines die, but a video that kills is a failed row then."""
KILLED = (
    f"{MOST_DEATHS} workers died while they tracked it, perhaps for want of memory: track fewer points, split them, or "
    "work at a smaller resolution"
)


def run_on_ray(
    tasks: Sequence[Task], settings: Settings, address: str, workers: int | None = None
) -> Generator[Done, None, None]:
    """Does all tasks, in any order. workers: so many actors; None: from one to as many as the cluster has room for.

    Raises ModelError, ArtifactError, BackendError; TapsdkError where the cluster cannot do it.
    """
    with cluster(address) as ray, own_errors(ray):
        needs = needs_of(settings)
        # Where the work will be done.
        settings = ray.get(ray.remote(**needs)(settle).remote(settings))
        deaths = ray.remote(num_cpus=0, resources=HEAD)(Deaths).remote()
        seen = False
        for found in rows_of(ray, _dataset, tasks, [settings, deaths], workers, needs):
            task, row = tasks[found["index"]], pickle.loads(found["row"])
            if row.status == "done" and not seen:
                _look_for(task, settings)
                seen = True
            yield task, row


def _look_for(task: Task, settings: Settings) -> None:
    """Warns where workers write to disks of their own."""
    output = task.job.output if task.part is None else part_path(task.job.output, task.part)
    if not place(absolute(settings.home, output)).exists():
        logger.warning(
            "%s was written, but not where this machine sees it: if that is a disk of another machine alone, give a "
            "folder that all of them share, or the URL of a store",
            output,
        )


def needs_of(settings: Settings) -> dict[str, float]:
    """What an actor takes of a machine."""
    device = (settings.options.device or "").lower()
    gpu = device.startswith(GPUS)
    return {"num_cpus": settings.options.threads or 1, **({"num_gpus": 1} if gpu else {})}


class Deaths:
    """An actor that counts how often each task that is under way was begun, so that one that kills whoever does it is
    not tried for ever."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, index: int) -> int:
        """How often its worker has died so far."""
        self._begun[index] += 1
        return self._begun[index] - 1

    def end(self, index: int) -> None:
        del self._begun[index]


class RayWorker:
    """What an actor of Ray Data is made of."""

    def __init__(self, settings: Settings, deaths: Any) -> None:
        self._worker, self._deaths = Worker(settings), deaths

    def __call__(self, given: dict[str, Any]) -> dict[str, Any]:
        import ray

        index, task = int(given["index"]), pickle.loads(given["task"])
        died = ray.get(self._deaths.begin.remote(index))
        row = self._worker.do(task) if died < MOST_DEATHS else failed(task, KILLED)
        self._deaths.end.remote(index)
        return {"index": index, "row": pickle.dumps(row)}


def _dataset(
    data: Any, tasks: Sequence[Task], given_to_workers: list[Any], workers: int | None, needs: dict[str, float]
) -> Any:
    """Rows of every task as it is done. Ray Data restarts actors that die, and tries their tasks again."""
    given = [{"index": index, "task": pickle.dumps(task)} for index, task in enumerate(tasks)]
    pool = data.ActorPoolStrategy(size=workers) if workers else data.ActorPoolStrategy(min_size=1)
    source = data.from_items(given, override_num_blocks=min(len(given), MOST_BLOCKS))
    return source.map(RayWorker, fn_constructor_args=given_to_workers, compute=pool, **needs)
