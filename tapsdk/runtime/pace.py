"""A model looks at every k-th frame only; in the frames between, points follow the picture.

A look takes many times as long as following does, so that a processor keeps up with a camera. A point that was visible
takes the step that the picture takes, if the way back leads to where it was. One that was not, or that the picture does
not lead on, goes with the points around it; the next look alone says where it is then. A position between two looks is
never surer than the look that it comes from, and less sure with every frame that it could not be followed to.
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
from tapsdk.video.frames import USUAL_FPS

Pace: TypeAlias = int | Literal["real-time"]
"""A look at every so many frames; or as seldom as it takes to keep up with the rate of the frames."""
REAL_TIME: Literal["real-time"] = "real-time"
MOST = 8
"""Frames from look to look in real time. Much is lost beyond that."""
SMOOTHING = 0.2
"""Share of the latest frame in what a look is taken to cost."""
PREFIX = "between_"
"""Of the names that arrays of `Between` have among saved ones."""


SLIP: Ramp = (0.5, 1.5)
"""Pixels of the frames by which the way back misses a point; up to the first a step counts in full, from the second not
at all."""
REACH = 0.05
"""Of the longer side of the points' space: how near points are whose steps one takes that has none of its own."""
KEPT = 0.95
"""Share of its certainty that a point keeps in a frame that it cannot be followed to."""
LOST = 0.5
"""Trust below which nobody knows where a point is: the next look alone says."""


@dataclass(frozen=True)
class Following:
    """How points follow the picture: see `FlowFusion`."""

    radius: int = 3
    levels: int = 4

    @staticmethod
    def like(fusion: FlowFusion | None) -> Following:
        """As a model does it whose positions follow the picture anyway."""
        return Following(fusion.radius, fusion.levels) if fusion else Following()


@dataclass(frozen=True)
class Between:
    """Where points are, for the next frame to follow them from.

    frame: [1, H, W, 3] as the model sees it. xy: [N, 2] in the points' space. certainty: [N]. trust: [N] in the steps
    since the last look; 0 for points that it did not see. since: frames that went by without a look, this one included.
    """

    frame: Array
    xy: Array
    certainty: Array
    trust: Array
    since: int = 0

    @property
    def lost(self) -> Array:
        """[N] points that nobody knows the place of."""
        return self.trust < LOST

    def followed(self, frame: Array, space: Size, threshold: float, how: Following, threads: int | None) -> Between:
        """In the next frame [1, H, W, 3]. threshold: of certainty, from which on a point is visible."""
        found, missed = follow(how, self.frame[0], frame[0], self.xy, space, threads)
        slip = ramp(missed, SLIP)
        trust = (1 - slip) * (self.certainty > threshold)
        step = found - self.xy
        weak = np.flatnonzero(trust < 1)
        share = trust[weak, None]
        step[weak] = share * step[weak] + (1 - share) * self._steps_around(weak, step, trust, max(space))
        certainty = (self.certainty * np.maximum(1 - slip, KEPT)).astype(np.float32)
        xy = (self.xy + step).astype(np.float32)
        return Between(frame, xy, certainty, (self.trust * trust).astype(np.float32), self.since + 1)

    def _steps_around(self, rows: Array, step: Array, trust: Array, side: int) -> Array:
        """[M, 2] what points near those of `rows` [M] do, as far as these are to be trusted."""
        away = np.linalg.norm(self.xy[rows, None] - self.xy, axis=-1) / (REACH * side)
        weights = np.exp(-(away**2) / 2) * trust
        # The addend leaves a point without neighbours where it is.
        return np.asarray((weights @ step) / (weights.sum(1, keepdims=True) + 1e-3))

    def at(self, index: Array) -> Between:
        """The points at `index` alone."""
        return Between(self.frame, self.xy[index], self.certainty[index], self.trust[index], self.since)

    def to_arrays(self) -> dict[str, Array]:
        """For saving, beside others."""
        named = {"frame": self.frame, "xy": self.xy, "certainty": self.certainty, "trust": self.trust}
        named["since"] = np.array(self.since)
        return {PREFIX + name: array for name, array in named.items()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], count: int) -> tuple[Between | None, dict[str, Array]]:
        """What `to_arrays` gave, of `count` points, and the other arrays. Raises ValueError for what it never gave."""
        own = {name.removeprefix(PREFIX): a for name, a in arrays.items() if name.startswith(PREFIX)}
        others = {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}
        if not own:
            return None, others
        if own.keys() != {"frame", "xy", "certainty", "trust", "since"}:
            raise ValueError(f"it holds {', '.join(own)} of the frames between looks")
        shapes = (
            own["xy"].shape,
            own["certainty"].shape,
            own["trust"].shape,
            own["since"].shape,
            own["frame"].shape[::3],
        )
        floats = [own[name] for name in ("frame", "xy", "certainty", "trust")]
        if shapes != ((count, 2), (count,), (count,), (), (1, 3)) or any(a.dtype != np.float32 for a in floats):
            raise ValueError(f"what it holds of the frames between looks is not of {count} points")
        if not all(np.isfinite(each).all() for each in floats) or not 0 <= own["since"] < 1 << 31:
            raise ValueError("what it holds of the frames between looks has values that are no numbers")
        return Between(own["frame"], own["xy"], own["certainty"], own["trust"], int(own["since"])), others


class Pacer:
    """Says whether the next frame is looked at.

    pace: see `Pace`. rate: frames per second that it is to keep up with.
    """

    def __init__(self, pace: Pace, rate: float | None = None) -> None:
        self._pace = pace
        self._budget = 1 / (rate or USUAL_FPS)
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
