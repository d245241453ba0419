"""A model looks at every k-th frame only; in the frames between, points follow the picture.

A look takes many times as long as following does, so that a processor keeps up with a camera. A point that was visible
takes the step that the picture takes, if the way back leads to where it was; one that was not stays where it is. What
the way back misses by is taken off its confidence, frame after frame, until the next look says where it is: so a
position between two looks is never surer than the look that it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tapsdk.artifact.manifest import FlowFusion, Ramp
from tapsdk.backends import Array
from tapsdk.errors import ModelError
from tapsdk.geometry import Size
from tapsdk.runtime.flow import follow, ramp

Pace: TypeAlias = int | Literal["real-time"]
"""A look at every so many frames; or as seldom as it takes to keep up with the rate of the frames."""
REAL_TIME: Literal["real-time"] = "real-time"
MOST = 8
"""Frames from look to look in real time. Much is lost beyond that."""
USUAL_RATE = 30.0
"""Frames per second, where nobody says how many there are."""
SMOOTHING = 0.2
"""Share of the latest frame in what a look is taken to cost."""
PREFIX = "between_"
"""Of the names that arrays of `Between` have among saved ones."""


@dataclass(frozen=True)
class Following:
    """How points follow the picture: see `FlowFusion`."""

    radius: int = 3
    levels: int = 4
    slip: Ramp = (0.3, 0.6)

    @staticmethod
    def like(fusion: FlowFusion | None) -> Following:
        """As a model does it whose positions follow the picture anyway."""
        return Following(fusion.radius, fusion.levels, fusion.slip) if fusion else Following()


@dataclass(frozen=True)
class Between:
    """Where points are, for the next frame to follow them from.

    frame: [1, H, W, 3] as the model sees it. xy: [N, 2] in the points' space. confidence: [N]. since: frames that went
    by without a look, this one included.
    """

    frame: Array
    xy: Array
    confidence: Array
    trust: Array
    since: int = 0

    @staticmethod
    def looked(frame: Array, xy: Array, confidence: Array, threshold: float) -> Between:
        return Between(frame, xy, confidence, (confidence > threshold).astype(np.float32))

    def followed(self, frame: Array, space: Size, threshold: float, how: Following, threads: int | None) -> Between:
        """In the next frame [1, H, W, 3]. threshold: of confidence, from which on a point is visible."""
        found, missed = follow(how, self.frame[0], frame[0], self.xy, space, threads)
        import os
        slip = tuple(map(float, os.environ.get("SLIP", "0.3,0.6").split(",")))
        keep = float(os.environ.get("KEEP", "0"))
        trust = (1 - ramp(missed, slip)) * (self.confidence > threshold)
        step = found - self.xy
        share = trust[:, None]
        if os.environ.get("NEAR"):
            reach = float(os.environ["NEAR"]) * max(space)
            away = np.linalg.norm(self.xy[:, None] - self.xy[None], axis=-1)
            weights = np.exp(-((away / reach) ** 2) / 2) * trust + 1e-9
            others = (weights @ step) / (weights.sum(1)[:, None] + 1e-3)
        else:
            others = 0 * step
        xy = self.xy + share * step + (1 - share) * others
        confidence = np.asarray(self.confidence * np.maximum(1 - ramp(missed, slip), keep), np.float32)
        return Between(frame, xy.astype(np.float32), confidence, self.trust * trust.astype(np.float32), self.since + 1)

    def at(self, index: Array) -> Between:
        """The points at `index` alone."""
        return Between(self.frame, self.xy[index], self.confidence[index], self.trust[index], self.since)

    def to_arrays(self) -> dict[str, Array]:
        """For saving, beside others."""
        named = {"frame": self.frame, "xy": self.xy, "confidence": self.confidence, "since": np.array(self.since)}
        return {PREFIX + name: array for name, array in named.items()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], count: int) -> tuple[Between | None, dict[str, Array]]:
        """What `to_arrays` gave, of `count` points, and the other arrays. Raises ValueError for what it never gave."""
        own = {name.removeprefix(PREFIX): a for name, a in arrays.items() if name.startswith(PREFIX)}
        others = {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}
        if not own:
            return None, others
        if own.keys() != {"frame", "xy", "confidence", "since"}:
            raise ValueError(f"it holds {', '.join(own)} of the frames between looks")
        shapes = own["xy"].shape, own["confidence"].shape, own["since"].shape, own["frame"].shape[::3]
        floats = [own[name] for name in ("frame", "xy", "confidence")]
        if shapes != ((count, 2), (count,), (), (1, 3)) or any(a.dtype != np.float32 for a in floats):
            raise ValueError(f"what it holds of the frames between looks is not of {count} points")
        if not all(np.isfinite(each).all() for each in floats) or not 0 <= own["since"] < 1 << 31:
            raise ValueError("what it holds of the frames between looks has values that are no numbers")
        return Between(own["frame"], own["xy"], own["confidence"], int(own["since"])), others


class Pacer:
    """Says whether the next frame is looked at.

    pace: see `Pace`. rate: frames per second that it is to keep up with.
    """

    def __init__(self, pace: Pace, rate: float | None = None) -> None:
        self._pace = pace
        self._budget = 1 / (rate or USUAL_RATE)
        self._costs: dict[bool, float] = {}

    @property
    def follows(self) -> bool:
        """Whether frames are ever passed over."""
        return self._pace != 1

    @property
    def every(self) -> int:
        """Frames from look to look, as things are."""
        if self._pace != REAL_TIME:
            return int(self._pace)
        look, between = self._costs.get(True, 0.0), self._costs.get(False, 0.0)
        if look <= self._budget:
            return 1
        spare = self._budget - between
        return min(MOST, max(2, math.ceil((look - between) / spare))) if spare > 0 else MOST

    def took(self, seconds: float, looked: bool) -> None:
        """What a frame cost."""
        before = self._costs.get(looked, seconds)
        self._costs[looked] = before + SMOOTHING * (seconds - before)


def check_pace(pace: object) -> Pace:
    """Raises ModelError for what is none."""
    if pace == REAL_TIME:
        return REAL_TIME
    if type(pace) is not int or pace < 1:
        raise ModelError(
            f"pace is how often the model looks: 1 for every frame, 4 for every 4th, or {REAL_TIME!r}; got {pace!r}"
        )
    return pace
