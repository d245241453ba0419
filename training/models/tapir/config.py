"""The configuration of TAPIR, for its torch and its JAX module. Variants are rows of numbers, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tapsdk.artifact.manifest import FlowFusion
from tapsdk.artifact.registry import ENLARGED
from tapsdk.runtime.sizes import refinement_resolutions, working_size


@dataclass(frozen=True)
class TapirConfig:
    """TAPIR (Doersch et al. 2023, arXiv:2306.08637); BootsTAPIR (arXiv:2402.00847) adds convolutions and a level.

    The defaults are the published TAPIR.
    """

    causal: bool = False
    """The refinement looks at the past alone, so that the model can run frame by frame."""
    encoder: Literal["residual", "efficientnet-lite"] = "residual"
    """What turns frames into grids: residual groups, as published; or EfficientNet-Lite0, for which weights pretrained
    on ImageNet exist, with a learned top-down part. Of `channels` that one takes the widths of the two grids; its
    grids are at 1/4 and 1/8, and `blocks` and `strides` say nothing of it."""
    channels: tuple[int, int, int, int] = (64, 128, 256, 256)
    """Of the four residual groups; group 1 gives the high-resolution grid, group 3 the low-resolution one."""
    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    strides: tuple[int, int, int, int] = (1, 2, 2, 1)
    """Of the groups, after a stem of stride 2."""
    extra_convs: int = 0
    """Residual convolution blocks on the low-resolution grid."""
    pyramid_level: int = 0
    """Average-pooled levels that the refinement looks at below the two grids."""
    softmax_temperature: float = 20.0
    motion_prior: float = 0.0
    """Weight of the prior that a point is near where it was in the frame before; 0 is none, as published."""
    flow: FlowFusion | None = None
    """How positions follow the picture between frames, given a motion prior; None: not at all, as published."""
    head: tuple[int, int, int] = (16, 32, 16)
    """Widths of the cost-volume head: shared convolution, occlusion convolution, occlusion hidden layer."""
    mixer_width: int = 512
    mixer_blocks: int = 12
    iterations: int = 4
    """Refinement iterations at each resolution."""
    resolution: tuple[int, int] = (256, 256)
    """(height, width) at which the cost volume is computed and positions are refined."""
    size_multiple: int | None = None
    """Frames keep their aspect ratio at the area of `resolution`, with sides that are multiples of this; positions are
    still in the space of `resolution`. None: they are squashed to `resolution`, as published."""

    def working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) at which frames of `size` are encoded for the cost volume."""
        return working_size(size, self.resolution, self.size_multiple) if self.size_multiple else self.resolution

    def refinement_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """(height, width) at which frames of `size` are refined, one after the other, unless told otherwise."""
        base = self.working_size(size)
        return [base] if self.size_multiple else refinement_resolutions(size, base)

    @property
    def fusion(self) -> FlowFusion | None:
        """What `flow` comes to: it takes a model that is told where its points were."""
        return self.flow if self.motion_prior else None

    @property
    def high_width(self) -> int:
        return self.channels[1]

    @property
    def low_width(self) -> int:
        return self.channels[3]

    @property
    def feature_width(self) -> int:
        """Channels of a query's descriptor: high-resolution features, then low-resolution ones."""
        return self.high_width + self.low_width

    @property
    def reach(self) -> int:
        """Frames before and after one that the mixer of a clip looks at: each block has two convolutions over three."""
        return 2 * self.mixer_blocks

    @property
    def levels(self) -> int:
        """Grids that one refinement step looks at."""
        return 2 + self.pyramid_level

    @property
    def high_stride(self) -> int:
        return 2 * self.strides[0] * self.strides[1] if self.encoder == "residual" else 4

    @property
    def low_stride(self) -> int:
        return self.high_stride * self.strides[2] * self.strides[3] if self.encoder == "residual" else 8

    @property
    def coarsest_stride(self) -> int:
        """Of the features inside the encoder: graphs for frames of any size are for sides that are multiples of it."""
        return self.low_stride if self.encoder == "residual" else 16


PATCH_RADIUS = 3
"""The refinement looks up a patch of 7x7 scores around each estimate, at every level."""

SOFT_ARGMAX_RADIUS = 5
"""Cells around the heatmap's peak that are averaged."""


_BOOTS = {"pyramid_level": 1, "extra_convs": 5, "softmax_temperature": 10.0}

_TINY = TapirConfig(
    causal=True,
    encoder="efficientnet-lite",
    channels=(24, 48, 96, 128),
    pyramid_level=1,
    motion_prior=2.0,
    flow=FlowFusion(
        radius=3,
        levels=4,
        slip=(0.3, 0.6),
        shown=(0.3, 0.6),
        pull=0.1,
        sure=(0.7, 0.95),
        leap=(0.5, 0.7),
        apart=(6.0, 14.0),
        texture=(1e-5, 6e-5),
        doubt=(3.0, 0.7),
        hidden="occlusion",
    ),
    size_multiple=16,
    head=(16, 16, 16),
    mixer_width=128,
    mixer_blocks=5,
    iterations=3,
)


def _enlarged(config: TapirConfig, resolution: tuple[int, int]) -> TapirConfig:
    """The same model on larger frames, whose positions are in their space, too."""
    assert config.flow is not None
    times = resolution[0] / config.resolution[0]
    low, high = config.flow.apart
    return replace(config, resolution=resolution, flow=replace(config.flow, apart=(times * low, times * high)))


VARIANTS = {
    "tapir/tiny": _TINY,
    "tapir/small": _enlarged(_TINY, ENLARGED["tapir/small"].size),
    "tapir/base": TapirConfig(),
    "tapir/causal": TapirConfig(causal=True),
    "tapir/boots": TapirConfig(**_BOOTS),
    "tapir/boots-causal": TapirConfig(causal=True, **_BOOTS),
}
