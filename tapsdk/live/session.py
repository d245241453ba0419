"""A live session: takes frames, obeys orders between them, tracks, records, and tells who listens."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import TapsdkError
from tapsdk.live.history import History
from tapsdk.live.orders import Order
from tapsdk.live.points import LivePoints
from tapsdk.live.recording import Names, Recording
from tapsdk.live.source import Arrival, LiveSource
from tapsdk.live.speed import Speed
from tapsdk.runtime.model import Model
from tapsdk.system.console import NO_MEMORY
from tapsdk.tracks import Tracks
from tapsdk.video.frames import Frame

logger = logging.getLogger(__name__)

WAIT = 0.25
"""Seconds between two looks at whether the source says something new."""
KEPT_ORDERS = 1000


@dataclass(frozen=True, eq=False)
class Moment:
    """What a session shows: its newest frame, where the points are in it, and how it is going.

    fresh: whether the frame is a new one; else the same with other points, or another status.
    """

    picture: Frame
    number: int
    time: float
    tracks: Tracks
    status: dict[str, Any]
    fresh: bool


Listener = Callable[[Moment], None]


class Session:
    """Tracks the frames of a source in a thread of its own, from `start` to `stop`.

    listeners: are called in that thread, with every frame and with what changes between frames. moment: the last one.
    Orders come from any thread (`send`). `history` has all tracks when it has stopped. `error`: what ended it early.
    once: it comes to its end with the file; else it waits there for orders.
    """

    def __init__(self, source: LiveSource, model: Model, names: Names, *, once: bool = False) -> None:
        self.source, self.listeners = source, list[Listener]()
        self.history = History(source.fps, model.report)
        self.runs_on = model.report.headline
        self.moment: Moment | None = None
        self.error: BaseException | None = None
        self.saved: list[Path] = []
        self._names, self._once = names, once
        self._points = LivePoints(model, self.history)
        self._speed, self._note = Speed(), ""
        self._recording: Recording | None = None
        self._orders: deque[Order] = deque(maxlen=KEPT_ORDERS)
        self._added: list[list[int]] = []
        self._shown: tuple[Frame, int, float] | None = None
        self._told: dict[str, Any] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live session", daemon=True)

    def start(self, points: NDArray[np.float32] | None = None) -> None:
        """points: [N, 2] (x, y) in the first frame, to begin with."""
        if points is not None and len(points):
            self._added.append(self._points.add(points))
        self.source.start()
        self._thread.start()

    def send(self, order: Order) -> None:
        """To be obeyed before the next frame."""
        self._orders.append(order)
        self.source.nudge()

    @property
    def is_over(self) -> bool:
        """Whether it was told to stop, or has come to its end."""
        return self._over.is_set()

    def wait(self) -> None:
        """Until it has come to its end, by itself or by an error."""
        while not self._over.wait(1.0):  # without a time, no signal would be heard on Windows
            pass

    def stop(self) -> None:
        """Ends it: a recording under way is finished, and `saved` says where. Returns when that is done."""
        self._over.set()
        self.source.nudge()
        if self._thread.ident is not None:
            self._thread.join()
        self.source.close()

    @property
    def status(self) -> dict[str, Any]:
        """How it is going, as JSON has it."""
        source, recording = self.source, self._recording
        return {
            "source": source.origin.name,
            "live": source.origin.live,
            "state": source.state,
            "reason": source.reason,
            "size": [source.size[1], source.size[0]],
            "fps": self._speed.fps,
            "source_fps": source.fps,
            "latency": [self._speed.percentile(50), self._speed.percentile(95)],
            "frames": len(self.history),
            "dropped": source.dropped,
            "runs_on": self.runs_on,
            "recording": None if recording is None else {"file": recording.path.name, "frames": recording.frames},
            "note": self._note,
            "undo": len(self._added),
        }

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._obey()
                self._tell(fresh=False)
                arrival = self.source.take(WAIT)
                if arrival is not None:
                    self._track(arrival)
                elif self._once and self.source.state == "ended":
                    break
        except Exception as error:
            self.error = error
        finally:
            self._stop_recording()
            self._over.set()

    def _track(self, arrival: Arrival) -> None:
        self._points.step(arrival.picture, arrival.number, arrival.time)
        self._speed.note(time.monotonic() - arrival.at)
        self._shown = arrival.picture, arrival.number, arrival.time
        if self._recording is not None:
            try:
                self._recording.write(arrival.picture, arrival.time)
            except TapsdkError as error:
                self._note = f"the recording ended, {error}; {self._stop_recording()}"
        self._tell(fresh=True)

    def _tell(self, fresh: bool) -> None:
        """A new frame, or what has changed since; of speed alone, nothing."""
        if self._shown is None:
            return
        status = self.status
        told = {name: value for name, value in status.items() if name not in ("fps", "latency", "dropped")}
        told["ids"] = self._points.latest.ids.tolist()
        if not fresh and told == self._told:
            return
        self._told = told
        self.moment = moment = Moment(*self._shown, self._points.latest, status, fresh)
        for listener in list(self.listeners):
            listener(moment)

    def _obey(self) -> None:
        while self._orders:
            order = self._orders.popleft()
            try:
                self._note = getattr(self, f"_do_{order.do}")(order) or ""
            except (TapsdkError, MemoryError) as error:
                self._note = NO_MEMORY if isinstance(error, MemoryError) else str(error)

    def _do_add(self, order: Order) -> None:
        self._added.append(self._points.add(order.xy, order.frame))

    def _do_remove(self, order: Order) -> None:
        self._points.remove(order.ids)

    def _do_clear(self, order: Order) -> None:
        self._points.remove(self._points.ids)
        self._added = []

    def _do_undo(self, order: Order) -> str:
        """Takes back the last points that were added, those of them that there still are."""
        while self._added:
            gone = self._points.remove(self._added.pop())
            if gone:
                return ""
        return "there is nothing to undo"

    def _do_play(self, order: Order) -> None:
        self.source.play()

    def _do_pause(self, order: Order) -> None:
        self.source.pause()

    def _do_step(self, order: Order) -> None:
        self.source.step()

    def _do_record(self, order: Order) -> None:
        if self._recording is None:
            path = self._names.recording()
            self._recording = Recording(path, self.source.fps, self.source.size, self.history)

    def _do_stop(self, order: Order) -> str:
        return self._stop_recording()

    def _stop_recording(self) -> str:
        """What to say of it."""
        recording, self._recording = self._recording, None
        if recording is None:
            return ""
        written, reason = recording.finish()
        self.saved += written
        if reason:
            logger.warning("the recording is not whole: %s", reason)
        said = f"saved {' and '.join(path.name for path in written)}" if written else "nothing was recorded"
        return f"{said}; {reason}" if reason else said
