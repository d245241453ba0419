"""A causal model of either framework, frame by frame until the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def frame_by_frame(model: Any, video: Any, queries_tyx: Any) -> dict[str, NDArray[np.float32]]:
    """The outputs of `init` and of `step` for every frame, joined as those of `clip`: [B, N, T, ...] by name.

    video: [B, T, H, W, 3] in [-1, 1]. queries_tyx: [B, N, 3], points of the first frame, unless the model takes others.
    Both are of the model's framework, on its device; what comes back are numpy arrays.
    """
    state, outputs = model.init(video[:, :1], queries_tyx), []
    for t in range(video.shape[1]):
        output, state = model.step(video[:, t : t + 1], state)
        outputs.append(output)
    return {name: np.concatenate([_array(each[name]) for each in outputs], 2) for name in outputs[0]}


def _array(tensor: Any) -> NDArray[np.float32]:
    """Of either framework, from whatever device."""
    return np.asarray(tensor.cpu() if hasattr(tensor, "cpu") else tensor)
