"""TAPIR, frame by frame, as stages.

encode  frame -> grids                              query   grids, points -> features
step    frame, features, state -> xy, logits, state
locate  lowest grid of `encode`, features -> xy, logits       mixer   patches, features, logits, memory -> corrections
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from export.stages import Cut, Stage, Style
from tapsdk.manifest import NEXT, Level, NativePlan, StageSpec, TensorSpec, Visibility
from training.models.configs import PATCH_RADIUS, TapirConfig
from training.models.sampling_torch import sample_frame
from training.models.tapir_torch import CORRELATE, Estimate, Grids, MixerState, Query, Tapir, halve, rescale

N = "N"
LOGITS = (TensorSpec("occlusion", (N,), "logit"), TensorSpec("expected_dist", (N,), "logit"))


class Encode(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        high, low = self.model.encode(frame)
        pooled = [low]
        for _ in range(self.model.config.pyramid_level):
            pooled.append(halve(pooled[-1]))
        return high, *pooled


class DescribeQuery(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.resolution = model.config.resolution

    def forward(self, high: Tensor, low: Tensor, xy: Tensor) -> Tensor:
        sampled = [sample_frame(g, rescale(xy[None], self.resolution, g.shape[1:3])) for g in (high, low)]
        return torch.cat(sampled, -1)[0]


class Step(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, features: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """past: the positions before, if the model has a motion prior, then narrow and wide of every iteration."""
        config = self.model.config
        previous, state = (past[0][None, None], past[1:]) if config.motion_prior else (None, past)
        high, low = self.model.encode(frame)
        grids = Grids(high[None], low[None], (frame.shape[1], frame.shape[2]))
        query = Query(*features[None].split([config.high_width, config.low_width], -1))
        memory = [MixerState(*pair) for pair in zip(state[::2], state[1::2], strict=True)]
        estimates, memory, _ = self.model.trajectories([grids] * 2, [query] * 2, causal=memory, previous=previous)
        flat = [tensor for pair in memory for tensor in pair]
        return *(tensor[0, 0] for tensor in estimates[-1]), *flat


class Locate(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.model = model

    def forward(self, low: Tensor, features: Tensor, *previous: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        config = self.model.config
        cells = low.shape[1:3]
        before = rescale(previous[0][None], config.resolution, cells) if previous else None
        xy, occlusion, expected_dist, _ = self.model.locate(low, features[None, :, config.high_width :], before)
        return rescale(xy, cells, config.resolution)[0], occlusion[0], expected_dist[0]


class Mix(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, patches: Tensor, features: Tensor, occlusion: Tensor, expected_dist: Tensor, *memory: Tensor
    ) -> tuple[Tensor, ...]:
        estimate = Estimate(
            patches.new_zeros(1, 1, patches.shape[0], 2), occlusion[None, None], expected_dist[None, None]
        )
        update, features, state = self.model.update(
            estimate, features[None, None], patches[None, None], MixerState(*memory)
        )
        return *(tensor[0, 0] for tensor in update), features[0, 0], *state


def cut(model: Tapir, style: Style) -> Cut:
    """The stages of a causal TAPIR."""
    config = model.config
    model = copy.copy(model)
    model.correlate = CORRELATE[style.lookup]
    features = TensorSpec("features", (N, config.feature_width), "query")
    size = None if config.size_multiple and style.any_size else _fixed_size(config, style)
    frame = TensorSpec("frame", (1, *(size or ("H", "W")), 3), "frame")
    grids = _grids(config, size)
    memory = (
        TensorSpec("narrow", (config.mixer_blocks, N, 2, config.mixer_width), "state"),
        TensorSpec("wide", (config.mixer_blocks, N, 2, 4 * config.mixer_width), "state"),
    )
    state = tuple(TensorSpec(f"{t.name}_{i}", t.shape, "state") for i in range(config.iterations) for t in memory)
    xy = TensorSpec("xy", (N, 2), "xy")
    points = TensorSpec("xy", (N, 2), "points")
    previous = (TensorSpec("previous", (N, 2), "previous"),) if config.motion_prior else ()
    patches = TensorSpec("patches", (N, config.levels * (2 * PATCH_RADIUS + 1) ** 2), "patches")
    offset = TensorSpec("offset", (N, 2), "offset")
    fused = (
        Stage("encode", Encode(model), StageSpec((frame,), grids if style.native else grids[:2])),
        Stage("query", DescribeQuery(model), StageSpec((*grids[:2], points), (features,))),
        Stage("step", Step(model), StageSpec((frame, features, *previous, *state), (xy, *LOGITS, *_next(*state)))),
    )
    native = (
        Stage("locate", Locate(model), StageSpec((grids[1], features, *previous), (xy, *LOGITS))),
        Stage(
            "mixer",
            Mix(model),
            StageSpec((patches, features, *LOGITS, *memory), (offset, *_next(*LOGITS, features, *memory))),
        ),
    )
    return Cut(
        (*fused, *native) if style.native else fused,
        Visibility({t.name: -1 for t in LOGITS}),
        _native_plan(config, grids) if style.native else None,
        size_multiple=None if size else config.size_multiple,
        frame_size=None if size in (None, config.resolution) else size,
    )


def _fixed_size(config: TapirConfig, style: Style) -> tuple[int, int]:
    size = style.frame_size or config.resolution
    nearest = config.working_size(size)
    if size != nearest:
        raise ValueError(f"it does not work on frames of {size[0]}x{size[1]}; use {nearest[0]}x{nearest[1]}")
    return size


def _native_plan(config: TapirConfig, grids: tuple[TensorSpec, ...]) -> NativePlan:
    split = config.high_width
    channels = [(0, split), *[(split, config.feature_width)] * (config.levels - 1)]
    levels = tuple(Level(g.name, c) for g, c in zip(grids, channels, strict=True))
    return NativePlan(config.iterations, PATCH_RADIUS, levels)


def _grids(config: TapirConfig, size: tuple[int, int] | None) -> tuple[TensorSpec, ...]:
    """Grids of frames of a size; None: of any size."""

    def grid(name: str, stride: int, channels: int) -> TensorSpec:
        sides = (size[0] // stride, size[1] // stride) if size else (f"H/{stride}", f"W/{stride}")
        return TensorSpec(name, (1, *sides, channels), "feature")

    pooled = (
        grid(f"low_{2**i}", config.low_stride * 2**i, config.low_width) for i in range(1, config.pyramid_level + 1)
    )
    return (
        grid("high", config.high_stride, config.high_width),
        grid("low", config.low_stride, config.low_width),
        *pooled,
    )


def _next(*tensors: TensorSpec) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(NEXT + t.name, t.shape, t.role) for t in tensors)
