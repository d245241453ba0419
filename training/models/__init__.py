"""The models, in torch and in JAX, under one name each: `load(name, weights, framework)`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tapsdk.system.places import place

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def load(
    name: str,
    weights: str | os.PathLike[str] | Mapping[str, ArrayLike] | None = None,
    framework: str = "torch",
) -> Any:
    """A model with its weights, in float32, ready for inference.

    Args:
        name: "family/variant", such as "tapir/boots-causal", or an alias, such as "tapir".
        weights: canonical weights (.safetensors), an official file (.npy, .npz, .pt, .pth, .ckpt), each by its path
            or its URL, or arrays by our parameter names. None: the weights that come with the repository, else the
            official file that `tapsdk fetch` left in the cache.
        framework: "torch" gives a torch.nn.Module in eval mode, "jax" an equinox.Module.
    Returns:
        a model with clip(video [B, T, H, W, 3] in [-1, 1], queries_tyx [B, N, 3] in its pixels) -> dict
        of "tracks" [B, N, T, 2] (x, y) in pixels of the video and the logits "occlusion" and "expected_dist"
        (TAPNext: "visible_logits" in their place) [B, N, T]. If it is causal it also has
        init(frame [B, 1, H, W, 3], queries_tyx) -> state, and step(frame, state) -> (dict for T = 1, state).
    Raises ModelError for an unknown model, for a framework that is unknown or not installed, and where no weights
    are at hand; CheckpointError for weights that cannot be read or are not the model's.
    """
    # Not above: the checkpoints that this needs look up models themselves.
    from training.checkpoints.loading import build, check_framework, config_for, find_weights, read_weights
    from training.models.registry import config_of, resolve

    model = resolve(name)
    check_framework(framework)
    if weights is None:
        weights = find_weights(model)
    if isinstance(weights, Mapping):
        return build(model, config_of(model), weights, framework)
    path = place(weights)
    arrays, metadata = read_weights(model, path, framework)
    return build(model, config_for(model, path, metadata), arrays, framework)
