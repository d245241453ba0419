"""What command lines say, wherever their output goes: to a terminal that has closed, or into a narrow encoding."""

from __future__ import annotations

import sys
from contextlib import suppress

NO_MEMORY = "not enough memory; track fewer points at once, or at a smaller --resolution"


def print_anything() -> None:
    """From now on a character that stdout or stderr cannot hold is written as an escape, rather than failing."""
    for stream in (sys.stdout, sys.stderr):
        # Streams of notebooks and tests may lack the method; and there may be no stream at all.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def tell(message: str) -> None:
    """A line on stderr, if anyone is still there to read it: the work goes on without, as after a hangup."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(message, file=sys.stderr, flush=True)
