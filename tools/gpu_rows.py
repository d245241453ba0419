"""A row of `tools.gpu_check`, and what it is checked with."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

WARM_UP = 5
"""Frames before those that are timed."""
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class Row:
    """status: "ok", "wrong", "failed" or "skipped". pixels: off what should be, by what the precision is judged by."""

    part: str
    model: str
    what: str
    precision: str = "fp32"
    points: int | None = None
    status: str = "ok"
    pixels: float | None = None
    milliseconds: float | None = None
    frames_per_second: float | None = None
    note: str = ""


Check = tuple[Row, Callable[[Row], Row]]
"""A row as it is before, and what fills it in."""


@dataclass(frozen=True)
class Settings:
    device: str
    quick: bool

    @property
    def frames(self) -> int:
        """Most that are timed."""
        return 5 if self.quick else 40

    @property
    def on_cuda(self) -> bool:
        return self.device.startswith("cuda")


def timed(row: Row, seconds: Sequence[float], mean: float) -> Row:
    """seconds: of frames with a wait for each. mean: of a frame where nobody waits before the end."""
    return replace(row, milliseconds=1000 * statistics.median(seconds), frames_per_second=1 / mean)
