"""What is to be done: a model, frames, points, threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.selection.reference import moving_pattern

DIFFERENT_FRAMES = 8
"""A longer video goes on by beginning again: what is in frames does not change the work."""


@dataclass(frozen=True)
class Workload:
    """A turn is one frame after another, or a whole clip at once.

    size: (height, width) of the frames that come in. clip: frames of a whole video that is tracked at once; None: frame
    by frame. resolution: the side of the square of the same area that the model works at; None: its own.
    """

    model: str = "tapir/tiny"
    points: int = 64
    threads: int = 1
    size: tuple[int, int] = (720, 1280)
    clip: int | None = None
    resolution: int | None = None

    @property
    def label(self) -> str:
        """For people, and the key of a row."""
        parts = [self.model, f"{self.size[1]}x{self.size[0]}", _counted(self.points, "point")]
        parts += [_counted(self.clip, "frame")] if self.clip else []
        parts += [f"at {self.resolution}x{self.resolution}"] if self.resolution else []
        return ", ".join([*parts, _counted(self.threads, "thread")])

    def video(self) -> NDArray[np.uint8]:
        """Different frames [T, H, W, 3]: a drifting texture."""
        return moving_pattern(self.size, DIFFERENT_FRAMES, 1)[0]

    def whole_clip(self) -> NDArray[np.float32]:
        """Its `clip` frames [1, T, H, W, 3] in [-1, 1], as the models take them."""
        video = self.video()
        return video[None, np.arange(self.clip or 1) % len(video)].astype(np.float32) / 127.5 - 1

    def queries_tyx(self) -> NDArray[np.float32]:
        """Its points in the first frame [1, N, 3] (t, y, x)."""
        xy = self.xy()
        return np.concatenate([np.zeros_like(xy[:, :1]), xy[:, ::-1]], 1)[None]

    def xy(self) -> NDArray[np.float32]:
        """Points [N, 2] of the first frame, in its pixels."""
        height, width = self.size
        inside = np.random.RandomState(1).uniform(0.1, 0.9, (self.points, 2))
        return np.asarray(inside * (width, height), np.float32)

    def to_table(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Workload:
        """From what `to_table` became on its way through JSON."""
        return Workload(**{**table, "size": tuple(table["size"])})


def _counted(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"
