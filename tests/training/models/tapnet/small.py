"""A small TAP-Net for tests, with weights under which every part of it matters."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.training.models.frameworks import spread
from training.models.tapnet.config import TapnetConfig

SMALL = TapnetConfig(stem=8, channels=(8, 16, 16), head=(4, 4, 4), resolution=(64, 96))


def random_weights(state: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """With the names and shapes of a state_dict, under which every number matters; variances are positive."""
    weights = spread(state, seed)
    return {name: np.abs(w) + 0.5 if name.endswith("running_var") else w for name, w in weights.items()}
