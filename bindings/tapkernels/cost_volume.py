"""The weights that `tapkernels.cost_volume_track` reads a cost volume with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Float32 = NDArray[np.float32]

ARRAYS = (
    "shared_weight",
    "shared_bias",
    "heatmap_weight",
    "occlusion_conv_weight",
    "occlusion_conv_bias",
    "occlusion_hidden_weight",
    "occlusion_hidden_bias",
    "occlusion_out_weight",
    "occlusion_out_bias",
)
"""The arrays of a head, in the order in which the op takes them."""


@dataclass(frozen=True)
class CostVolumeHead:
    """The head of a TAPIR: arrays as `torch.nn.Conv2d` and `torch.nn.Linear` keep them, float32 and C-contiguous.

    The heatmap's convolution has no bias here: it would move all cells alike, which no position depends on.
    """

    shared_weight: _Float32
    """[S, 1, 3, 3]: from scores to S shared channels."""
    shared_bias: _Float32
    """[S]"""
    heatmap_weight: _Float32
    """[1, S, 3, 3]"""
    occlusion_conv_weight: _Float32
    """[O, S, 3, 3], of stride 2"""
    occlusion_conv_bias: _Float32
    """[O]"""
    occlusion_hidden_weight: _Float32
    """[D, O]"""
    occlusion_hidden_bias: _Float32
    """[D]"""
    occlusion_out_weight: _Float32
    """[L, D]: to L logits."""
    occlusion_out_bias: _Float32
    """[L]"""
    temperature: float
    """Of the softmax: what heatmaps are multiplied by."""
    motion_prior: float = 0.0
    """Weight of the prior that a point is near where it was in the frame before."""

    @classmethod
    def of(
        cls, parameters: Mapping[str, ArrayLike], prefix: str, *, temperature: float, motion_prior: float = 0.0
    ) -> CostVolumeHead:
        """From a model's parameters, by the names that they have there: ``head.shared.weight`` for "head.".

        Raises:
            KeyError: a parameter is not there.
        """

        def array(name: str) -> _Float32:
            layer, _, kind = name.rpartition("_")
            return np.ascontiguousarray(parameters[f"{prefix}{layer}.{kind}"], np.float32)

        return cls(**{name: array(name) for name in ARRAYS}, temperature=temperature, motion_prior=motion_prior)

    def arrays(self) -> tuple[_Float32, ...]:
        """What the op takes of it, in order: the arrays, then [2] the temperature and the weight of the prior."""
        return *(getattr(self, name) for name in ARRAYS), np.array([self.temperature, self.motion_prior], np.float32)
