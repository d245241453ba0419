"""How sure TAPNext is of where a point is: the share of its heatmap that lies near the position that it gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

RADIUS = 8.0
"""Bins, as published."""


def certainty(
    tracks: ArrayLike, coordinate_logits: ArrayLike, size: Sequence[int], radius: float = RADIUS
) -> NDArray[np.float32]:
    """The probability in [0, 1] that a point is within `radius` bins of where `Tapnext.clip` says.

        outputs = model.clip(video, queries)
        sure = certainty(outputs["tracks"], outputs["coordinate_logits"], video.shape[2:4])
        shown = sigmoid(outputs["visible_logits"]) * sure > 0.5

    The models in `tapsdk` go by visibility alone; this filters points that are seen, but not where they are.
    The published function exchanges x and y in laying the disc over the heatmap, which moves it by less than a bin;
    here it is around the position.

    Args:
        tracks: [..., 2] (x, y) in pixels of frames of `size` (height, width). coordinate_logits: [..., 2, bins].
    Returns:
        [...]
    """
    logits = np.asarray(coordinate_logits, np.float64)
    bins = logits.shape[-1]
    share = np.exp(logits - logits.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    centre = np.asarray(tracks, np.float64) * (bins / size[1], bins / size[0])
    # As many bins as the disc can reach along each axis, from the first one within the frame.
    first = np.clip(np.floor(centre - radius), 0, max(bins - 1, 0)).astype(int)
    window = first[..., None] + np.arange(int(2 * radius) + 2)
    inside = window < bins
    near = np.where(inside, np.take_along_axis(share, np.minimum(window, bins - 1), -1), 0)
    squared = np.square(window + 0.5 - centre[..., None])
    disc = squared[..., 0, :, None] + squared[..., 1, None, :] <= radius**2
    return (near[..., 0, :, None] * near[..., 1, None, :] * disc).sum((-1, -2)).astype(np.float32)
