"""Signals that ask a command to end: it ends as after Ctrl-C, with what it has saved. For command lines alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tapsdk.system import leftovers

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C; what `docker stop` and job schedulers send; what a terminal sends that closes."""


class Ended(KeyboardInterrupt):
    """A signal asked the process to end. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as shells have it: 130 after Ctrl-C."""
    return 128 + int(getattr(interrupt, "number", signal.SIGINT))


class _Handler:
    """Raises `Ended` when a signal comes; while it is held, when the second one does."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.held = self.over = False
        self.came: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            # A forked child: it ends as it would have without us.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.came.append(number)
        if not self.over and not (self.held and len(self.came) == 1):
            raise Ended(number)


_active: _Handler | None = None


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Within it, each of `ENDING` raises `Ended`, which is a KeyboardInterrupt; the second one as well, at once.

    A signal that is ignored stays so, as SIGHUP under nohup, and so does one that somebody else handles. When one came,
    no temporary file is left in the end. Outside the main thread it does nothing.
    """
    global _active
    if threading.current_thread() is not threading.main_thread() or _active is not None:
        yield
        return
    _active, before = _Handler(), {}
    try:
        for number in (getattr(signal, name) for name in ENDING if hasattr(signal, name)):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, _active)
        yield
    finally:
        _active.over = True
        if _active.came:
            leftovers.remove()
        for number, handler in before.items():
            signal.signal(number, handler)
        _active = None


@contextmanager
def hold_signals(last: bool = False) -> Iterator[None]:
    """What is within is short, and done before a signal ends the process; a second signal does not wait for it.

    last: there is nothing to end after it, so that a signal that came is forgotten. Does nothing outside
    `signals_as_interrupts`.
    """
    handler = _active
    if handler is None or handler.held or handler.came:
        yield
        return
    handler.held = True
    try:
        yield
    finally:
        handler.held = False
    if handler.came and not last:
        raise Ended(handler.came[0])
