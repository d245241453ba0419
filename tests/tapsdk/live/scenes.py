"""Sources that do as tests want, and a session on one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import FramesError
from tapsdk.live.orders import Order
from tapsdk.live.origin import Origin
from tapsdk.live.recording import Names
from tapsdk.live.session import Moment, Session
from tapsdk.live.source import LiveSource
from tapsdk.runtime.model import Model
from tapsdk.video.frames import Frame, FrameSource, frames_from_array

SECONDS = 20.0
Video = NDArray[np.uint8]


def file_of(video: Video, fps: float = 1000.0) -> Origin:
    """A file of these frames; at this rate nobody waits for them."""
    return Origin("a file", lambda: frames_from_array(video).at_rate(fps), live=False)


class Camera:
    """Gives frames when it is told to, and can be lost."""

    def __init__(self) -> None:
        self._frames: queue.SimpleQueue[Frame | Exception] = queue.SimpleQueue()
        self.opened = 0
        self.broken = threading.Event()

    def show(self, *frames: Frame | Exception) -> None:
        """An exception is raised in the place of a frame."""
        for frame in frames:
            self._frames.put(frame)

    def origin(self) -> Origin:
        return Origin("a camera", self._open, live=True)

    def _open(self) -> FrameSource:
        if self.broken.is_set():
            raise FramesError("a camera: it is unplugged")
        self.opened += 1
        closed = threading.Event()
        return FrameSource(self._read(closed), hurry=closed.set)

    def _read(self, closed: threading.Event) -> Iterator[Frame]:
        while not closed.is_set():
            try:
                frame = self._frames.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(frame, Exception):
                raise frame
            yield frame


class Watched:
    """A session, and the moments that it tells."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.moments: queue.SimpleQueue[Moment] = queue.SimpleQueue()
        session.listeners.append(self.moments.put)

    def send(self, do: str, points: Any = (), frame: int | None = None, ids: Sequence[int] = ()) -> None:
        self.session.send(Order(do, np.array(points, np.float32).reshape(-1, 2), frame, list(ids)))

    def next(self) -> Moment:
        return self.moments.get(timeout=SECONDS)

    def frame(self) -> Moment:
        """The next one that is a new frame."""
        while not (moment := self.next()).fresh:
            pass
        return moment

    def step(self) -> Moment:
        """One frame of a paused file further."""
        self.send("step")
        return self.frame()


@contextmanager
def watched(origin: Origin, model: Model, folder: Path, *, playing: bool = False) -> Iterator[Watched]:
    """A session, started; of a file, paused at its first frame, which is the first moment."""
    session = Session(LiveSource(origin, playing=playing), model, Names(folder))
    found = Watched(session)
    session.start()
    try:
        yield found
    finally:
        session.stop()
        session.history.close()
