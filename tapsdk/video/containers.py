"""Opening what FFmpeg reads, for every version of PyAV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer

_STRICT_BEFORE = 19
"""PyAV 19 reads titles in any encoding; those before have to be asked to."""


def open_container(
    origin: str | IO[bytes],
    *,
    driver: str | None = None,
    options: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> InputContainer:
    """Opens a video, a picture or a device, whatever the encoding of its titles.

    driver: FFmpeg's name of what reads a device, or of a format. timeout: seconds of silence. Raises what PyAV does.
    """
    import av

    tolerant: dict[str, Any] = {}
    if int(av.__version__.split(".")[0]) < _STRICT_BEFORE:
        tolerant["metadata_errors"] = "replace"
    container: InputContainer = av.open(origin, "r", driver, options=dict(options or {}), timeout=timeout, **tolerant)
    return container
