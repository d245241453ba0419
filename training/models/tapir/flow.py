"""Positions that follow the picture, for models of either framework: what `tapsdk.runtime.flow` does, in batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tapsdk.runtime.flow import follow, fuse
from tapsdk.runtime.stages import confidence_of
from training.models.tapir import FAMILY
from training.models.tapir.config import TapirConfig

Floats = NDArray[np.float32]


def fuse_flow(
    config: TapirConfig,
    before: Floats,
    frame: Floats,
    previous: Floats,
    estimate: Floats,
    confidence: Floats,
    begins: NDArray[np.bool_],
) -> Floats:
    """Positions [B, N, 2] in a frame, from those in the frame before and the model's estimates.

    Args:
        before, frame: [B, h, w, 3]. previous, estimate: [B, N, 2] in pixels of `config.resolution`. confidence: [B, N].
        begins: [B, N] points that stay at `previous`, because they were in no frame before.
    """
    fusion = config.fusion
    fused = []
    for each in range(len(frame)):
        xy, missed = follow(fusion, before[each], frame[each], previous[each], config.resolution)
        xy = np.where(begins[each, :, None], previous[each], xy)
        missed = np.where(begins[each], 0.0, missed)
        fused.append(fuse(fusion, xy, missed, estimate[each], confidence[each]))
    return np.stack(fused)


def fuse_estimate(
    config: TapirConfig,
    frames: tuple[Floats, Floats],
    previous: Floats,
    xy: Floats,
    logits: Mapping[str, Floats],
    begins: NDArray[np.bool_],
) -> Floats:
    """The same, with the model's logits [B, N] by name in place of confidence. frames: the one before, and this one."""
    return fuse_flow(config, *frames, previous, xy, confidence_of(logits, FAMILY.visibility), begins)
