"""Frames read and prepared in a thread of their own while those before them are worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

from tapsdk.video.frames import Frame, FrameSource

Prepared = TypeVar("Prepared")

AHEAD = 2
"""Most frames that are read before they are asked for."""


def as_it_is(frame: Frame) -> Frame:
    return frame


@contextmanager
def read_ahead(source: FrameSource, prepare: Callable[[Frame], Prepared]) -> Iterator[Iterator[Prepared]]:
    """Within it, the frames of a source in order, or what `prepare` makes of each.

        with read_ahead(source, lambda frame: resize_normalize(frame, 256, 256)) as inputs:
            for each in inputs: ...

    Frames of files and arrays are read, and prepared, up to `AHEAD` before they are asked for, in a thread that ends
    with the context. Others, such as those of a generator, a pipe or a camera, are taken one at a time when they are
    asked for, in the caller's thread: nobody knows what else happens when they are, nor how long it takes. What goes
    wrong is raised where the frame would have come.
    """
    if not source.may_be_read_ahead:
        yield map(prepare, source)
        return
    frames = _ReadAhead(source, prepare)
    try:
        yield frames
    finally:
        frames.close()


class _ReadAhead(Iterator[Prepared], Generic[Prepared]):
    """The thread and two queues, which a signal may interrupt anywhere: neither has a lock of Python's."""

    def __init__(self, source: FrameSource, prepare: Callable[[Frame], Prepared]) -> None:
        self._source, self._prepare = source, prepare
        self._ready: SimpleQueue[tuple[Prepared, None] | tuple[None, BaseException]] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        """As many as there is room for in `_ready`; one more lets the thread see that it is over."""
        for _ in range(AHEAD):
            self._room.put(None)
        self._over = False
        # A daemon, so that Python can end where a second signal kept `close` from its work.
        self._thread = threading.Thread(target=self._read_all, name="frames read ahead", daemon=True)
        self._thread.start()

    def _read_all(self) -> None:
        while self._read_one():
            pass

    def _read_one(self) -> bool:
        """Whether there may be more."""
        self._room.get()
        if self._over:
            return False
        try:
            self._ready.put((self._prepare(next(self._source)), None))
        except BaseException as error:  # whatever it is, it is for who takes the frames; StopIteration, too
            self._ready.put((None, error))
            return False
        return True

    def __next__(self) -> Prepared:
        if self._over:
            raise StopIteration
        frame, error = self._ready.get()
        if error is not None:
            self._over = True
            raise error
        self._room.put(None)
        return frame  # type: ignore[return-value]

    def close(self) -> None:
        """Ends the thread, which finishes the frame that it is at."""
        self._over = True
        self._source.hurry()
        self._room.put(None)
        self._thread.join()
