"""Two frames, points in the first, and where the numpy reference follows them to: for what follows points elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tapkernels import reference


@dataclass(frozen=True)
class Pair:
    """before, after: [H, W, 3] float32 in [-1, 1]. xy: [N, 2] float32 pixels of `before`."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    xy: NDArray[np.float32]
    radius: int
    levels: int

    def check(self, found: NDArray[np.float64]) -> None:
        """Positions, and what the way back missed, [N, 3], are those of the reference."""
        expected = reference.lucas_kanade(self.before, self.after, self.xy, self.radius, self.levels)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def make_pair(height: int, width: int, radius: int = 4, levels: int = 4) -> Pair:
    """Coloured waves that turn and move; a block covers some of them, and one side of the frame gets darker.

    Points lie anywhere, on the corners and edges, and outside.
    """
    rng = np.random.default_rng(0)
    waves, phases = rng.uniform(-0.5, 0.5, (12, 2)), rng.uniform(0, 6, (12, 3))
    y, x = np.mgrid[:height, :width] + 0.5

    def waves_at(x: Any, y: Any) -> NDArray[np.float64]:
        along = x[..., None] * waves[:, 0] + y[..., None] * waves[:, 1]
        return np.sin(along[..., None] + phases).mean(-2)

    before, after = waves_at(x, y), waves_at(x - 1.7 + 0.01 * y, y + 0.8 - 0.01 * x)
    after[height // 3 : height // 2, width // 2 : width * 3 // 4] = (0.6, -0.2, 0.3)
    after -= 0.3 * x[..., None] / width
    inside = rng.uniform(0, (width, height), (12, 2))
    edge = [(0, 0), (width, height), (width, 0), (width / 2, 0.5), (0.2, height / 2)]
    outside = [(-0.1, 3), (3, height + 0.1), (np.nan, 3)]
    xy = np.float32([*inside, *edge, *outside])
    return Pair(before.astype(np.float32), after.astype(np.float32), xy, radius, levels)


pairs = pytest.mark.parametrize(
    "pair",
    [
        pytest.param(make_pair(60, 84), id="as it is used"),
        pytest.param(make_pair(47, 33, radius=2, levels=3), id="odd sides, a small window"),
        pytest.param(make_pair(15, 40, radius=7, levels=4), id="too small for a pyramid"),
        pytest.param(make_pair(64, 64, levels=1), id="one level"),
    ],
)
