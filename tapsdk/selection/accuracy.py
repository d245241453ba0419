"""How far tracks may be from what they should be before the engine that made them counts as wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FLIPS = 0.05
"""Largest allowed share of visibility flags that differ."""


MOST = 0.95
"""Of the positions; the rest may lie where two places look alike, and rounding decides between them."""


@dataclass(frozen=True)
class Tolerance:
    """Pixels that positions may be off: the largest error, that of all but a few, or the median."""

    pixels: float
    of: Literal["largest", "most", "median"] = "largest"

    def __str__(self) -> str:
        whose = {"largest": "at most", "most": f"for {MOST:.0%} of the positions", "median": "in the median"}
        return f"{self.pixels} px {whose[self.of]}"


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(0.05),
    "fp16": Tolerance(0.25, "most"),
    "bf16": Tolerance(0.5, "most"),
    "int8": Tolerance(1.0, "median"),
}
"""By precision of the artifact; one that is not named has to be as exact as fp32."""


@dataclass(frozen=True)
class Difference:
    """Between two sets of tracks: pixels at most, for `MOST` and in the median, and the share of flags that differ."""

    largest: float
    most: float
    median: float
    flips: float

    def counted(self, precision: str) -> float:
        """Pixels that the tolerance is about."""
        return float(getattr(self, tolerance_of(precision).of))

    def complaint(self, precision: str) -> str:
        """What is wrong with it; nothing if it is within the tolerance."""
        tolerance = tolerance_of(precision)
        if not self.counted(precision) <= tolerance.pixels:  # so that NaN is too much
            return f"its tracks are off by {self.counted(precision):.3g} px ({precision} may be by {tolerance})"
        if not self.flips <= FLIPS:
            return f"{self.flips:.0%} of its visibility flags are wrong (at most {FLIPS:.0%} may be)"
        return ""


def tolerance_of(precision: str) -> Tolerance:
    return TOLERANCES.get(precision, TOLERANCES["fp32"])


@dataclass(frozen=True)
class Rollout:
    """Tracks of some points through some frames: xy [N, T, 2] pixels, visible [N, T]."""

    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]

    def to_table(self) -> dict[str, Any]:
        """Lists, as JSON has them."""
        return {"xy": self.xy.tolist(), "visible": self.visible.tolist()}

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Rollout:
        return Rollout(np.array(table["xy"], np.float32), np.array(table["visible"], np.bool_))

    def difference(self, expected: Rollout) -> Difference:
        """To the tracks that there should be, over the frames that both have but the first.

        The first says what the manifest wants it to (`query_frame`).
        """
        frames = slice(1, min(self.xy.shape[1], expected.xy.shape[1]))
        distance = np.linalg.norm(self.xy[:, frames] - expected.xy[:, frames], axis=2)
        flips = self.visible[:, frames] != expected.visible[:, frames]
        if not distance.size:
            return Difference(0.0, 0.0, 0.0, 0.0)
        most = float(np.quantile(distance, MOST, method="inverted_cdf"))
        return Difference(float(distance.max()), most, float(np.median(distance)), float(flips.mean()))
