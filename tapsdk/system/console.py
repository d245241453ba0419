"""What command lines say, wherever it goes: to a terminal that has closed, into a narrow encoding, or nowhere."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from tapsdk.system.reading import printable

NO_MEMORY = "not enough memory; track fewer points at once, or at a smaller --resolution"


@contextmanager
def console() -> Iterator[None]:
    """Within it, which is a command as a whole, there are streams to write to, and it is no error if nobody reads them.

    Where stdin, stdout or stderr was closed, the next file that is opened would get its number, and what a library in C
    prints would go into that file: so something else takes the number. A character that stdout or stderr cannot hold
    is written as an escape. In the end, what could not be written is forgotten: Python would fail over it as it ends.
    """
    for number in range(3):
        _occupy(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        # Streams of notebooks and tests may lack the method.
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                let_go(stream)


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        with suppress(OSError):
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)


def let_go(stream: TextIO) -> None:
    """From now on what is written goes nowhere, and what could not be written as well."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def tell(message: str) -> None:
    """Lines on stderr, if anyone is still there to read them: the work goes on without, as after a hangup."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(_shown(message), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Lines on stdout, where results go. Raises OSError where they find no room."""
    print(_shown(text))


def log_to_stderr(level: int) -> None:
    """Has logging write to stderr from now on, unless that is set up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(_ShownFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    for name in ("fsspec", "gcsfs"):  # what they raise they also log, with a traceback
        logging.getLogger(name).setLevel(logging.CRITICAL)


def on_terminal() -> bool:
    """Whether somebody may be looking at stderr."""
    with suppress(AttributeError, OSError, ValueError):
        return sys.stderr.isatty()
    return False


def show_work(name: str) -> None:
    """On a terminal, what the logger of that name says of work that takes a while; elsewhere its warnings alone."""
    if on_terminal():
        logging.getLogger(name).setLevel(logging.INFO)


class _ShownFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _shown(super().format(record))


def _shown(text: str) -> str:
    """Names of files, and what files say, may hold what a terminal takes for commands."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))
