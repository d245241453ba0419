"""Positions that follow the picture, for models of either framework: what `tapsdk.runtime.flow` does, in batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tapsdk.runtime.flow import Followed, Sighting, follow, fuse, sighting, texture_around
from training.models.tapir import FAMILY
from training.models.tapir.config import TapirConfig

Floats = NDArray[np.float32]

LEAST = 1e-7
"""Probabilities are kept this far from 0 and 1 where they become logits."""


def fuse_flow(
    config: TapirConfig,
    frames: tuple[Floats, Floats],
    previous: Floats,
    texture: Floats,
    seen: Sighting,
    begins: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Positions [B, N, 2] in a frame, from those in the frame before and the model's estimates; certainty [B, N].

    Args:
        frames: [B, h, w, 3] each, the one before and this one. previous: [B, N, 2] in pixels of `config.resolution`.
        texture: [B, N] from `texture_of`. seen: with a batch axis in front.
        begins: [B, N] points that stay at `previous`, because they were in no frame before.
    """
    fusion = config.fusion
    fused = []
    for i, (before, frame) in enumerate(zip(*frames, strict=True)):
        xy, missed = follow(fusion, before, frame, previous[i], config.resolution)
        xy = np.where(begins[i, :, None], previous[i], xy)
        missed = np.where(begins[i], 0.0, missed)
        one = Sighting(seen.xy[i], seen.seen[i], seen.near[i])
        fused.append(fuse(fusion, Followed(xy, missed, texture[i]), one))
    positions, certainty = zip(*fused, strict=True)
    return np.stack(positions), np.stack(certainty)


def fuse_estimate(
    config: TapirConfig,
    frames: tuple[Floats, Floats],
    previous: Floats,
    texture: Floats,
    xy: Floats,
    logits: Mapping[str, Floats],
    begins: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """The same of a model's logits [B, N]. Returns positions, and `expected_dist` [B, N] as it is for these.

    That logit is chosen so that the visibility rule gives the certainty of what is returned.
    """
    seen = sighting(xy, logits, FAMILY.visibility, config.fusion)
    positions, certainty = fuse_flow(config, frames, previous, texture, seen, begins)
    near = np.clip(certainty / np.maximum(seen.seen, LEAST), LEAST, 1 - LEAST).astype(np.float64)
    return positions, np.asarray(np.log1p(-near) - np.log(near), np.float32)


def texture_of(config: TapirConfig, video: Floats, frame: NDArray[np.int64], xy: Floats) -> Floats:
    """What the picture is like around points xy [B, N, 2] of frames [B, N] of a video [B, T, h, w, 3], [B, N]."""
    found = np.zeros(frame.shape, np.float32)
    for i, t in {(i, t) for i, row in enumerate(frame) for t in row if 0 <= t < video.shape[1]}:
        asked = frame[i] == t
        found[i, asked] = texture_around(config.fusion, video[i, t], xy[i, asked], config.resolution)
    return found
