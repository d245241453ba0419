"""Files that come from anybody: whatever is wrong with one is a single typed error, and no size is believed unseen.

    with reading(path, "is not a tracks file", TracksError):
        table = read_json(path)
        ...

Within `reading` a reader may index, convert and unpack as if the file were fine. Arrays are read with
`tapsdk.system.npz`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tapsdk.errors import TapsdkError
from tapsdk.system.json_text import parse_json

MOST_JSON_BYTES = 1 << 24
"""Of a file of settings; what holds data has a limit of its own."""
MOST_DATA_BYTES = 1 << 31
"""Of one that holds data."""
MOST_CHARACTERS = 300
"""Of what a stranger says, in a message."""
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@contextmanager
def reading(path: str | os.PathLike[str], complaint: str, error: type[TapsdkError]) -> Iterator[None]:
    """Within it, all that a damaged, foreign or malicious file makes a reader raise becomes `error`, with the path.

    That is every Exception: decoders, zip, zlib, numpy and Python's own parsers each have errors of their own, among
    them RecursionError, OverflowError, MemoryError and those that libraries do not document. A TapsdkError that names
    the file already passes.

    complaint: what a file at fault does, for the message, as in "is not a tracks file".
    """
    try:
        yield
    except Exception as caught:
        if isinstance(caught, TapsdkError) and str(path) in str(caught):
            raise
        # Decoders raise OSError for what a file holds, too; the system's own has a number.
        if isinstance(caught, OSError) and caught.errno is not None:
            complaint = "cannot be read"
        else:
            complaint += ", or is damaged"
        raise error(f"{path} {complaint}: {reason(caught)}") from caught


def reason(error: BaseException) -> str:
    """What an error says, in words that may be shown: without control characters, and not too long."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, KeyError):
        return printable(f"it lacks {error}")
    return printable(str(getattr(error, "strerror", None) or error) or type(error).__name__)


def printable(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text as it may go to a terminal: control characters, and those that turn a line around, as escapes."""
    shown = _UNSHOWN.sub(lambda found: repr(found[0])[1:-1], text[:most])
    return shown + "..." if len(text) > most else shown


def read_json(path: str | os.PathLike[str], most_bytes: int = MOST_JSON_BYTES) -> Any:
    """What a JSON file of at most so many bytes holds. Raises OSError and ValueError, and nothing else."""
    with open(path, "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return parse_json(data)
