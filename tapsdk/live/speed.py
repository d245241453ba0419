"""How fast a session is, over the last seconds."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

SECONDS = 3.0
"""That are looked back at."""


class Speed:
    """Takes note of frames, and says how many there are a second and how long each took; None where there were none."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, float]] = deque()

    def note(self, took: float) -> None:
        """A frame is done, so many seconds after it was there."""
        self._noted.append((time.monotonic(), took))
        self._forget()

    @property
    def fps(self) -> float | None:
        """Frames per second."""
        self._forget()
        if len(self._noted) < 2:
            return None
        span = self._noted[-1][0] - self._noted[0][0]
        return (len(self._noted) - 1) / span if span > 0 else None

    def percentile(self, share: int) -> float | None:
        """Milliseconds within which so many per cent of the frames were done."""
        self._forget()
        return float(np.percentile([took for _, took in self._noted], share)) * 1000 if self._noted else None

    def _forget(self) -> None:
        while self._noted and self._noted[0][0] < time.monotonic() - SECONDS:
            self._noted.popleft()
