"""TAPIR as stages.

encode  frame -> grids                              query   grids, points -> features
step    frame, features, state -> xy, logits, state
locate  lowest grid of `encode`, features -> xy, logits       mixer   patches, features, logits, memory -> corrections

A variant that is not causal has no `step`, and its `mixer` takes and gives everything for all frames of a clip. It has

lookup  grids, points, features -> patches, for devices that kernels do not run on
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from export.stages import Cut, KernelChoice, Stage, Style
from tapsdk.artifact.manifest import (
    FRAMES,
    NEXT,
    Causal,
    FrameSpec,
    Level,
    PointSpec,
    Refined,
    Refinement,
    StageSpec,
    TensorSpec,
)
from training.models.layers.sampling_torch import rescale, sample_frame
from training.models.tapir import FAMILY
from training.models.tapir.config import PATCH_RADIUS, TapirConfig
from training.models.tapir.torch import CORRELATE, Estimate, Grids, MixerState, Query, Tapir, halve

N = "N"
LOGITS = tuple(TensorSpec(name, (N,), "logit") for name in FAMILY.visibility.logits)
EXACT = ("model.head", "model.mixer.out")
"""They give the first guess and its corrections."""


class Encode(nn.Module):
    def __init__(self, model: Tapir, pooled: int) -> None:
        """pooled: how many grids to give beyond the lowest, each of half the size of the one before."""
        super().__init__()
        self.model, self.pooled = model, pooled

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        high, low = self.model.encode(frame)
        pooled = [low]
        for _ in range(self.pooled):
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


class Lookup(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.model = model

    def forward(self, xy: Tensor, features: Tensor, *grids: Tensor) -> Tensor:
        """Scores around xy in every grid of the pyramid."""
        config = self.model.config
        high, low = features.split([config.high_width, config.low_width], -1)
        queries = (high, *[low] * (len(grids) - 1))
        patches = [
            self.model.correlate(grid, query[None], rescale(xy[None], config.resolution, grid.shape[1:3]), PATCH_RADIUS)
            for grid, query in zip(grids, queries, strict=True)
        ]
        return torch.cat(patches, -1)[0]


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


class MixClip(nn.Module):
    def __init__(self, model: Tapir) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, patches: Tensor, features: Tensor, occlusion: Tensor, expected_dist: Tensor
    ) -> tuple[Tensor, ...]:
        """All [N, T, ...]; the model has time before points."""
        patches, features, occlusion, expected_dist = (
            x.transpose(0, 1)[None] for x in (patches, features, occlusion, expected_dist)
        )
        estimate = Estimate(patches.new_zeros(*patches.shape[:3], 2), occlusion, expected_dist)
        update, features, _ = self.model.update(estimate, features, patches, None)
        return tuple(x[0].transpose(0, 1) for x in (*update, features))


def cut(model: Tapir, style: Style) -> Cut:
    """The stages of a TAPIR. Raises ValueError for a style that it cannot take."""
    multiple, coarsest = model.config.size_multiple, model.config.coarsest_stride
    if multiple and style.any_size and multiple % coarsest:
        raise ValueError(f"its encoder halves frames down to 1/{coarsest}; make size_multiple a multiple of {coarsest}")
    return _cut_causal(model, style) if model.config.causal else _cut_refined(model, style)


def _cut_causal(model: Tapir, style: Style) -> Cut:
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
    # Only the native path looks patches up in pooled grids from outside.
    encoded = grids if style.native else grids[:2]
    fused = (
        Stage("encode", Encode(model, len(encoded) - 2), StageSpec((frame,), encoded)),
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
    stages = (*fused, *native) if style.native else fused
    return Cut(
        tuple(replace(stage, exact=EXACT) for stage in stages),
        _frames(config, size),
        PointSpec(config.resolution, independent=True),
        Causal(_refinement(config, grids) if style.native else None),
        config.fusion,
        _kernels(model) if style.native and style.kernels else {},
    )


def _kernels(model: Tapir) -> dict[str, KernelChoice]:
    head, mixer = (
        {name: f"{part}.{name}" for name, _ in getattr(model, part).named_parameters()} for part in ("head", "mixer")
    )
    del head["heatmap.bias"]  # it moves all cells alike, which no position depends on
    numbers = {"temperature": model.config.softmax_temperature, "motion_prior": model.config.motion_prior}
    return {"locate": KernelChoice("cost_volume_track", head, numbers), "mixer": KernelChoice("mixer", mixer)}


def _cut_refined(model: Tapir, style: Style) -> Cut:
    config = model.config
    if config.motion_prior:
        raise ValueError("its motion prior needs the frames in order, but it looks at all of a clip at once")
    size = None if style.any_size else _fixed_size(config, style)
    # Frames of any multiple of the coarsest features' cells can be refined on, unless the model has sizes of its own.
    multiple = config.size_multiple or config.coarsest_stride
    frame = TensorSpec("frame", (1, *(size or ("H", "W")), 3), "frame")
    grids = _grids(config, size)
    points, features = TensorSpec("xy", (N, 2), "points"), TensorSpec("features", (N, config.feature_width), "query")
    patches = TensorSpec("patches", (N, config.levels * (2 * PATCH_RADIUS + 1) ** 2), "patches")
    mixed = _over_time(*LOGITS, features)
    corrections = (*_over_time(TensorSpec("offset", (N, 2), "offset")), *_next(*mixed))
    stages = (
        ("encode", Encode(model, config.pyramid_level), StageSpec((frame,), grids)),
        ("query", DescribeQuery(model), StageSpec((*grids[:2], points), (features,))),
        ("locate", Locate(model), StageSpec((grids[1], features), (TensorSpec("xy", (N, 2), "xy"), *LOGITS))),
        ("lookup", Lookup(model), StageSpec((points, features, *grids), (patches,))),
        ("mixer", MixClip(model), StageSpec((*_over_time(patches, features, *LOGITS),), corrections)),
    )
    return Cut(
        tuple(Stage(*stage, size_multiple=multiple, exact=EXACT) for stage in stages),
        _frames(config, size),
        PointSpec(config.resolution, independent=True),
        Refined(_refinement(config, grids), None if size or config.size_multiple else multiple, config.reach),
    )


def _frames(config: TapirConfig, size: tuple[int, int] | None) -> FrameSpec:
    """size: of all frames, where the graphs fix it."""
    return FrameSpec(size or config.resolution, None if size else config.size_multiple)


def _fixed_size(config: TapirConfig, style: Style) -> tuple[int, int]:
    size = style.frame_size or config.resolution
    nearest = config.working_size(size)
    if size != nearest:
        raise ValueError(f"it does not work on frames of {size[0]}x{size[1]}; use {nearest[0]}x{nearest[1]}")
    return size


def _refinement(config: TapirConfig, grids: tuple[TensorSpec, ...]) -> Refinement:
    split = config.high_width
    channels = [(0, split), *[(split, config.feature_width)] * (config.levels - 1)]
    levels = tuple(Level(g.name, c) for g, c in zip(grids, channels, strict=True))
    return Refinement(config.iterations, PATCH_RADIUS, levels)


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


def _over_time(*tensors: TensorSpec) -> tuple[TensorSpec, ...]:
    """The same for all frames of a clip."""
    return tuple(TensorSpec(t.name, (N, FRAMES, *t.shape[1:]), t.role) for t in tensors)


def _next(*tensors: TensorSpec) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(NEXT + t.name, t.shape, t.role) for t in tensors)
