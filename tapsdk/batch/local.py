"""A batch on this machine: one worker a process, as many as there are cores and memory for.

How much memory a worker takes is known when the first one has done a video; only then others begin. What the system
kills is tried once more in the end, alone, and is a failed row if that ends so, too.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from tapsdk.batch.table import Row
from tapsdk.batch.worker import Settings, Task, Worker, failed, settle
from tapsdk.errors import TapsdkError
from tapsdk.system.children import serve_parent
from tapsdk.system.machine import cores, peak_memory
from tapsdk.system.memory import free_memory
from tapsdk.system.signals import signals_as_interrupts

GRACE_SECONDS = 5.0
"""For a worker that is stopped to tidy up."""
KILLED = (
    "the process that tracked it was killed, and again when it had the machine to itself, perhaps for want of memory: "
    "track fewer points, split them, or work at a smaller resolution"
)
NO_START = (
    "a worker process could not start; a program that calls tapsdk.batch.run with more than one worker does so under "
    'if __name__ == "__main__":, as multiprocessing asks for; or pass workers=1'
)
Done = tuple[Task, Row]


@dataclass(frozen=True)
class Answer:
    """Of a process: what became of its task, and the most bytes that it held so far."""

    row: Row | None
    peak: int


def run_here(tasks: Iterable[Task], settings: Settings, workers: int | None = None) -> Generator[Done, None, None]:
    """Does all tasks, in any order. workers: at most so many; None: one for each core that their threads leave.

    Raises ModelError, ArtifactError, BackendError; TapsdkError where processes cannot be started.
    """
    settings = settle(settings)
    most = workers or max(1, cores() // (settings.options.threads or 1))
    if most > 1:
        yield from Pool(settings, most).run(tasks)
        return
    worker = Worker(settings)
    for task in tasks:
        yield task, worker.do(task)


class WorkerProcess:
    """A `Worker` in a process of its own, which does one task at a time. Raises TapsdkError if that cannot start."""

    def __init__(self, settings: Settings) -> None:
        # Not forked: the threads of an engine would leave locks behind that nobody unlocks.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.task: Task | None = None
        self._process = context.Process(target=serve, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        if self.answer() is None:
            self.stop()
            raise TapsdkError(NO_START)

    def give(self, task: Task) -> None:
        self.task = task
        with suppress(OSError):  # it has died, and `answer` will say so
            self.pipe.send(task)

    def answer(self) -> Answer | None:
        """What it has to say; None if it has died."""
        self.task = None
        try:
            answer: Answer = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return answer

    def stop(self) -> None:
        self._process.terminate()
        self._process.join(GRACE_SECONDS)
        self._process.kill()
        self._process.join()
        self.pipe.close()


def serve(pipe: Connection, settings: Settings) -> None:
    """The other side of a `WorkerProcess`."""
    serve_parent()
    with suppress(KeyboardInterrupt, EOFError, OSError), signals_as_interrupts():
        worker = Worker(settings)
        pipe.send(Answer(None, 0))
        while True:
            row = worker.do(pipe.recv())
            pipe.send(Answer(row, peak_memory() or 0))


class Pool:
    """Hands out tasks to at most so many processes."""

    def __init__(self, settings: Settings, most: int) -> None:
        self._settings, self._most = settings, most
        self._processes: list[WorkerProcess] = []
        self._need: int | None = None
        """Most bytes that a process held so far; None while nothing is done."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Done]:
        suspects = []
        try:
            for task, row in self._each(tasks):
                if row is None:
                    suspects.append(task)
                else:
                    yield task, row
            for suspect in suspects:
                self._stop()
                self._most = 1
                for task, row in self._each([suspect]):
                    yield task, row or failed(task, KILLED)
        finally:
            self._stop()

    def _each(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Row | None]]:
        """Tasks and their rows; None where the process was killed."""
        waiting = iter(tasks)
        while busy := self._at_work(waiting):
            for process in busy:
                task, answer = process.task, process.answer()
                assert task is not None
                if answer is None:
                    self._processes.remove(process)
                    process.stop()
                else:
                    self._need = max(self._need or 0, answer.peak)
                yield task, None if answer is None else answer.row

    def _at_work(self, waiting: Iterator[Task]) -> list[WorkerProcess]:
        """Gives every process something to do, and waits until some are done with it: those."""
        while self._idle() or self._has_room():
            task = next(waiting, None)
            if task is None:
                break
            if not self._idle():
                self._processes.append(WorkerProcess(self._settings))
            self._idle()[0].give(task)
        busy = {process.pipe: process for process in self._processes if process.task is not None}
        ready = wait(list(busy)) if busy else []
        return [process for pipe, process in busy.items() if pipe in ready]

    def _idle(self) -> list[WorkerProcess]:
        return [process for process in self._processes if process.task is None]

    def _has_room(self) -> bool:
        if not self._processes:
            return True
        if len(self._processes) >= self._most or self._need is None:
            return False
        free = free_memory()
        return free is None or free > self._need

    def _stop(self) -> None:
        while self._processes:
            self._processes.pop().stop()
