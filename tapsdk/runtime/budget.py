"""How much memory a video may take while it is tracked, and how many points that comes to."""

from __future__ import annotations

from dataclasses import dataclass

from tapsdk.errors import PointsError
from tapsdk.system.memory import free_memory

SHARE = 0.5
"""Of the memory that is free, where nobody says how much to take."""
SPOOL_SHARE = 4
"""Of this many parts, one may hold frames."""
TRACK_BYTES = 13
"""Of a point in a frame: two floats, a flag, a confidence."""


@dataclass(frozen=True)
class Budget:
    """total: bytes, beside the model's own; None where nobody knows how much there is. given: somebody named it."""

    total: int | None
    given: bool = False

    @classmethod
    def of(cls, memory: int | None) -> Budget:
        """memory: bytes that somebody named; None: half of what is free now."""
        if memory is not None:
            return cls(memory, given=True)
        free = free_memory()
        return cls(None if free is None else int(free * SHARE))

    def spool(self, most: int) -> int:
        """Bytes of frames that may stay in memory, where more than `most` need not."""
        return most if self.total is None else min(most, self.total // SPOOL_SHARE)

    def points(self, count: int, frames: int | None, bytes_each: int) -> int:
        """How many of so many points are tracked at once, where each takes so many bytes, beside the tracks of all.

        Raises PointsError where there is no room for the tracks alone, if somebody named what there is.
        """
        if self.total is None:
            return count
        tracks = count * (frames or 1) * TRACK_BYTES
        if self.given and tracks > self.total:
            raise PointsError(
                f"the tracks of {count} points in {frames} frames take {tracks / 1e6:.0f} MB, and memory is limited to "
                f"{self.total / 1e6:.0f} MB: give more memory, or fewer points"
            )
        return min(count, max(1, (self.total - tracks - self.total // SPOOL_SHARE) // max(1, bytes_each)))


ANY_BUDGET = Budget(None)
