"""TAPIR in JAX: one module for every variant of `training.models.tapir.config.TapirConfig`.

Reads side by side with `tapir/torch.py`: the encoder turns frames into two feature grids; a query point's descriptor is
read off them; the cost-volume head finds the descriptor in every frame on its own; the mixer refines that guess from
patches of scores around it, iteration by iteration, along time. `Tapir.clip` does this for a whole clip, `init` and
`step` frame by frame; these three are compiled once for each shape of their arguments.

Shapes: B batch, T frames, N points, h x w grid cells. Inside, arrays of points run [B, T, N, ...] with xy in pixels of
`config.resolution`; the public methods return [B, N, T, ...] with xy in pixels of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from training.models.layers.efficientnet_jax import EfficientNetLite
from training.models.layers.modules_jax import (
    Conv,
    CostVolumeLayers,
    InstanceNorm,
    LayerNorm,
    Linear,
    from_weights,
    key_stream,
    merge,
    same_pad,
    split,
)
from training.models.layers.sampling_jax import (
    correlate_dense,
    correlate_gather,
    rescale,
    sample_clip,
    sample_frame,
    soft_argmax,
    unit,
)
from training.models.tapir.config import PATCH_RADIUS, SOFT_ARGMAX_RADIUS, TapirConfig
from training.models.tapir.flow import fuse_estimate, texture_of

CORRELATE: dict[str, Callable[[Array, Array, Array, int], Array]] = {
    "dense": correlate_dense,
    "gather": correlate_gather,
}


class Grids(NamedTuple):
    """Unit-length features of frames at one resolution: high [B, T, H, W, C'], low [B, T, h, w, C]."""

    high: Array
    low: Array
    size: tuple[int, int]
    """(height, width) of the frames that were encoded."""


class Query(NamedTuple):
    """Descriptors of the points at one resolution: high [B, N, C'], low [B, N, C]."""

    high: Array
    low: Array


class Estimate(NamedTuple):
    """One guess for every point and frame: xy [B, T, N, 2], logits [B, T, N]."""

    xy: Array
    occlusion: Array
    expected_dist: Array


class MixerState(NamedTuple):
    """What one refinement iteration remembers of the two frames before."""

    narrow: Array
    """[blocks, rows, 2, width]"""
    wide: Array
    """[blocks, rows, 2, 4 width]"""


class TapirState(NamedTuple):
    """Everything `step` needs of the past."""

    queries: tuple[Query, ...]
    causal: tuple[MixerState, ...]
    previous: Array
    """[B, N, 2] where the points were, in pixels of `config.resolution`."""
    frame: Array | None = None
    """[B, h, w, 3] the frame that they were in, where positions follow the picture."""
    texture: Array | None = None
    """[B, N] what it is like around the points where they were asked for, there, too."""


class ResidualBlock(eqx.Module):
    """Pre-activation residual block with instance normalisation."""

    norm_0: InstanceNorm
    conv_0: Conv
    norm_1: InstanceNorm
    conv_1: Conv
    projection: Conv | None

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool, keys: Iterator[Array]) -> None:
        self.norm_0 = InstanceNorm(inputs)
        self.conv_0 = Conv(inputs, outputs, 3, keys, stride=stride, bias=False)
        self.norm_1 = InstanceNorm(outputs)
        self.conv_1 = Conv(outputs, outputs, 3, keys, padding=1, bias=False)
        self.projection = Conv(inputs, outputs, 1, keys, stride=stride, bias=False) if project else None

    def __call__(self, x: Array) -> Array:
        y = jax.nn.relu(self.norm_0(x))
        shortcut = x if self.projection is None else self.projection(y)
        y = self.conv_0(same_pad(y, 3, self.conv_0.stride))
        return self.conv_1(jax.nn.relu(self.norm_1(y))) + shortcut


class ResNet(eqx.Module):
    """Frames [F, H, W, 3] to features of group 1 (high resolution) and group 3 (low resolution)."""

    stem: Conv
    groups: list[list[ResidualBlock]]

    def __init__(self, config: TapirConfig, keys: Iterator[Array]) -> None:
        widths = (config.channels[0], *config.channels)
        self.stem = Conv(3, widths[0], 7, keys, stride=2, bias=False)
        self.groups = [
            [
                ResidualBlock(widths[g], widths[g + 1], config.strides[g], True, keys),
                *(ResidualBlock(widths[g + 1], widths[g + 1], 1, False, keys) for _ in range(config.blocks[g] - 1)),
            ]
            for g in range(4)
        ]

    def __call__(self, frames: Array) -> tuple[Array, Array]:
        x = self.stem(same_pad(frames, 7, 2))
        high = chain(self.groups[1], chain(self.groups[0], x))
        return high, chain(self.groups[3], chain(self.groups[2], high))


def chain(layers: Sequence[Callable[[Array], Array]], x: Array) -> Array:
    """The layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


class ExtraConv(eqx.Module):
    """BootsTAPIR's residual block on the low-resolution grid; the residual starts from the normalised features."""

    norm: LayerNorm
    conv_0: Conv
    conv_1: Conv

    def __init__(self, width: int, keys: Iterator[Array]) -> None:
        self.norm = LayerNorm(width)
        self.conv_0 = Conv(width, 4 * width, 3, keys, padding=1)
        self.conv_1 = Conv(4 * width, width, 3, keys, padding=1)

    def __call__(self, x: Array) -> Array:
        x = self.norm(x)
        return x + self.conv_1(jax.nn.gelu(self.conv_0(x), approximate=True))


class CostVolumeHead(CostVolumeLayers):
    """From scores of every cell to a heatmap and two logits, per point and frame."""

    def __call__(self, scores: Array) -> tuple[Array, Array]:
        """Scores [M, h, w, 1] to heatmap logits [M, h, w] and (occlusion, expected_dist) logits [M, 2]."""
        x = jax.nn.relu(self.shared(scores))
        padded = jnp.pad(x, ((0, 0), (0, 2), (0, 2), (0, 0)))
        pooled = jax.nn.relu(self.occlusion_conv(padded)).mean((1, 2))
        logits = self.occlusion_out(jax.nn.relu(self.occlusion_hidden(pooled)))
        return self.heatmap(x)[..., 0], logits


class TemporalConv(eqx.Module):
    """Two depthwise convolutions over three frames, through four times the width and back by summing fours.

    Written as three weighted sums instead of a convolution: one frame with its two predecessors is then the same code
    as a clip.
    """

    up_weight: Array
    up_bias: Array
    out_weight: Array
    out_bias: Array
    causal: bool = eqx.field(static=True)

    def __init__(self, width: int, causal: bool, keys: Iterator[Array]) -> None:
        self.causal = causal
        self.up_weight = jax.random.normal(next(keys), (4 * width, 3)) * 3**-0.5
        self.up_bias = jnp.zeros(4 * width)
        self.out_weight = jax.random.normal(next(keys), (4 * width, 3)) * 12**-0.5
        self.out_bias = jnp.zeros(4 * width)

    def _with_neighbours(self, x: Array, past: Array | None) -> Array:
        if past is not None:
            return jnp.concatenate([past, x], 1)
        return jnp.pad(x, ((0, 0), (2, 0) if self.causal else (1, 1), (0, 0)))

    def __call__(self, x: Array, narrow: Array | None, wide: Array | None) -> tuple[Array, Array, Array]:
        """x: [R, T, width]; narrow [R, 2, width] and wide [R, 2, 4 width] are the two frames before, if any."""
        rows, frames, width = x.shape
        window = self._with_neighbours(x, narrow)
        taps = self.up_weight.reshape(width, 4, 3)
        y = sum(window[:, k : k + frames, :, None] * taps[..., k] for k in range(3)).reshape(rows, frames, 4 * width)
        y = jax.nn.gelu(y + self.up_bias, approximate=True)
        wide_window = self._with_neighbours(y, wide)
        y = sum(wide_window[:, k : k + frames] * self.out_weight[:, k] for k in range(3)) + self.out_bias
        return y.reshape(rows, frames, width, 4).sum(-1), window[:, -2:], wide_window[:, -2:]


class MixerBlock(eqx.Module):
    norm_time: LayerNorm
    time: TemporalConv
    norm_channels: LayerNorm
    channels_up: Linear
    channels_down: Linear

    def __init__(self, width: int, causal: bool, keys: Iterator[Array]) -> None:
        self.norm_time = LayerNorm(width, bias=False)
        self.time = TemporalConv(width, causal, keys)
        self.norm_channels = LayerNorm(width, bias=False)
        self.channels_up = Linear(width, 4 * width, keys)
        self.channels_down = Linear(4 * width, width, keys)

    def __call__(self, x: Array, narrow: Array | None, wide: Array | None) -> tuple[Array, Array, Array]:
        y, narrow, wide = self.time(self.norm_time(x), narrow, wide)
        x = x + y
        y = self.channels_up(self.norm_channels(x))
        return x + self.channels_down(jax.nn.gelu(y, approximate=True)), narrow, wide


class Mixer(eqx.Module):
    """The refinement network: MLP-Mixer of PIPs with depthwise convolutions along time."""

    embed: Linear
    blocks: list[MixerBlock]
    norm: LayerNorm
    out: Linear

    def __init__(self, config: TapirConfig, keys: Iterator[Array]) -> None:
        outputs = 4 + config.feature_width
        patch = (2 * PATCH_RADIUS + 1) ** 2
        self.embed = Linear(outputs + config.levels * patch, config.mixer_width, keys)
        self.blocks = [MixerBlock(config.mixer_width, config.causal, keys) for _ in range(config.mixer_blocks)]
        self.norm = LayerNorm(config.mixer_width, bias=False)
        self.out = Linear(config.mixer_width, outputs, keys)

    def __call__(self, x: Array, state: MixerState | None = None) -> tuple[Array, MixerState]:
        """x: [R, T, inputs] -> [R, T, 4 + feature width] and what to remember of the last two frames."""
        x = self.embed(x)
        narrows, wides = [], []
        for i, block in enumerate(self.blocks):
            narrow, wide = (None, None) if state is None else (state.narrow[i], state.wide[i])
            x, narrow, wide = block(x, narrow, wide)
            narrows.append(narrow)
            wides.append(wide)
        return self.out(self.norm(x)), MixerState(jnp.stack(narrows), jnp.stack(wides))


class Tapir(eqx.Module):
    """See the module's docstring. `correlate` picks how patches are looked up: "dense" or "gather", equal in result."""

    resnet: ResNet | None
    lite: EfficientNetLite | None
    """The encoder is one of these two, as the config says."""
    extra_convs: list[ExtraConv]
    head: CostVolumeHead
    mixer: Mixer
    config: TapirConfig = eqx.field(static=True)
    correlate: Callable[[Array, Array, Array, int], Array] = eqx.field(static=True)

    def __init__(self, config: TapirConfig, key: Array, correlate: str = "gather") -> None:
        keys = key_stream(key)
        self.config = config
        self.correlate = CORRELATE[correlate]
        lite = config.encoder == "efficientnet-lite"
        self.resnet = None if lite else ResNet(config, keys)
        self.lite = EfficientNetLite(config.high_width, config.low_width, keys) if lite else None
        self.extra_convs = [ExtraConv(config.low_width, keys) for _ in range(config.extra_convs)]
        self.head = CostVolumeHead(config.head, 2, keys)
        self.mixer = Mixer(config, keys)

    @classmethod
    def from_weights(cls, config: TapirConfig, weights: Mapping[str, ArrayLike], correlate: str = "gather") -> Tapir:
        """The model with weights by the names of the torch state_dict. Raises ValueError if they do not fit."""
        return from_weights(eqx.filter_eval_shape(cls, config, jax.random.key(0), correlate), weights)

    # The four parts.

    def encode(self, frames: Array) -> tuple[Array, Array]:
        """Frames [F, H, W, 3] in [-1, 1] to unit features high [F, H/4, W/4, C'] and low [F, H/8, W/8, C]."""
        encoder = self.resnet if self.lite is None else self.lite
        high, low = encoder(frames)
        low = chain(self.extra_convs, low)
        return unit(high), unit(low)

    def locate(self, low: Array, query: Array, previous: Array | None = None) -> tuple[Array, Array, Array, Array]:
        """Finds every query in its frame by the cost volume.

        Args:
            low: [F, h, w, C] grids. query: [F, N, C] descriptors.
            previous: [F, N, 2] in grid cells, where the points were in the frame before, for `config.motion_prior`.
        Returns:
            xy [F, N, 2] in grid cells, occlusion [F, N], expected_dist [F, N], heatmap logits [F, N, h, w].
        """
        frames, height, width, channels = low.shape
        points = query.shape[1]
        scores = query @ low.reshape(frames, height * width, channels).swapaxes(1, 2)
        heatmap, logits = self.head(scores.reshape(frames * points, height, width, 1))
        heatmap = heatmap * self.config.softmax_temperature
        if previous is not None:
            heatmap = heatmap - self.config.motion_prior * _log_distance(previous.reshape(-1, 2), height, width)
        xy = soft_argmax(jax.nn.softmax(heatmap, (-2, -1)), SOFT_ARGMAX_RADIUS)
        xy, logits, heatmap = (split(x, (frames, points)) for x in (xy, logits, heatmap))
        return xy, logits[..., 0], logits[..., 1], heatmap

    def lookup(self, grids: Grids, xy: Array, features: Array) -> Array:
        """Patches of scores [B, T, N, levels * 49] around xy [B, T, N, 2] for descriptors [B, T, N, C' + C]."""
        lead = xy.shape[:2]
        high, low, xy, features = (merge(array) for array in (grids.high, grids.low, xy, features))
        high_query, low_query = jnp.split(features, [self.config.high_width], -1)
        pyramid = [(high, high_query), (low, low_query)]
        for _ in range(self.config.pyramid_level):
            pyramid.append((halve(pyramid[-1][0]), low_query))
        patches = [
            self.correlate(grid, query, rescale(xy, self.config.resolution, grid.shape[1:3]), PATCH_RADIUS)
            for grid, query in pyramid
        ]
        return split(jnp.concatenate(patches, -1), lead)

    def update(
        self, estimate: Estimate, features: Array, patches: Array, state: MixerState | None
    ) -> tuple[Estimate, Array, MixerState]:
        """One pass of the mixer. The xy of the result is an offset in pixels of the encoded frames.

        Returns:
            the estimate with updated logits and the offset in place of xy, updated features, and the mixer's memory.
        """
        # The mixer was designed to see positions as well, and was trained with zeros in their place.
        nothing = jnp.zeros_like(estimate.xy)
        logits = jnp.stack([estimate.occlusion, estimate.expected_dist], -1)
        x = jnp.concatenate([nothing, logits, features, patches], -1)
        x = x.swapaxes(1, 2)
        y, state = self.mixer(merge(x), state)
        y = split(y, x.shape[:2]).swapaxes(1, 2)
        refined = Estimate(y[..., :2], estimate.occlusion + y[..., 2], estimate.expected_dist + y[..., 3])
        return refined, features + y[..., 4:], state

    # Whole clips.

    def feature_grids(self, video: Array, resolutions: Sequence[tuple[int, int]] | None = None) -> list[Grids]:
        """Grids of video [B, T, H, W, 3] at the size that `config` works at, and at each one of the refinement."""
        frame_size = video.shape[2:4]
        base = self.config.working_size(frame_size)
        if resolutions is None:
            resolutions = self.config.refinement_sizes(frame_size)
        by_size: dict[tuple[int, int], Grids] = {}
        for size in (base, *resolutions):
            if size[0] % 8 or size[1] % 8:
                raise ValueError(f"refinement resolutions must be multiples of 8, got {size}")
            if size not in by_size:
                high, low = self.encode(merge(_resize(video, size)))
                lead = video.shape[:2]
                by_size[size] = Grids(split(high, lead), split(low, lead), size)
        return [by_size[size] for size in (base, *resolutions)]

    def clip_queries(self, grids: Sequence[Grids], queries_tyx: Array, size: tuple[int, int]) -> list[Query]:
        """Descriptors of queries [B, N, 3] (t, y, x; pixels of frames of `size`) at every resolution."""

        def sample(grid: Array) -> Array:
            scale = jnp.array([1, grid.shape[2] / size[0], grid.shape[3] / size[1]])
            return sample_clip(grid, queries_tyx * scale)

        return [Query(sample(g.high), sample(g.low)) for g in grids]

    def trajectories(
        self,
        grids: Sequence[Grids],
        queries: Sequence[Query],
        known: Array | None = None,
        causal: Sequence[MixerState] | None = None,
        previous: Array | None = None,
    ) -> tuple[list[Estimate], list[MixerState], Array]:
        """The guess of the cost volume and of every refinement iteration after it.

        Args:
            grids, queries: at the base resolution first, then at each resolution of the refinement.
            known: [B, N, 3] (t, y, x) at the base resolution: the query points, put in place of the first guess.
            causal: what each iteration remembers (online), in order.
            previous: [B, T, N, 2] at the base resolution, where the points were in the frame before (online).
        Returns:
            estimates (1 + iterations x resolutions), the new memory of each iteration, heatmap logits [B, T, N, h, w].
        """
        estimate, heatmap = self._first_guess(grids[0], queries[0], known, previous)
        estimates, memory = [estimate], []
        for grid, query in zip(grids[1:], queries[1:], strict=True):
            features = jnp.concatenate([query.high, query.low], -1)
            features = jnp.repeat(features[:, None], grid.low.shape[1], 1)
            # Every resolution starts from the position of the one before, but from the first logits.
            estimate = Estimate(estimate.xy, estimates[0].occlusion, estimates[0].expected_dist)
            for _ in range(self.config.iterations):
                state = None if causal is None else causal[len(memory)]
                patches = self.lookup(grid, estimate.xy, features)
                update, features, state = self.update(estimate, features, patches, state)
                offset = rescale(update.xy, grid.size, self.config.resolution)
                estimate = update._replace(xy=estimate.xy + offset)
                estimates.append(estimate)
                memory.append(state)
        return estimates, memory, heatmap

    def _first_guess(
        self, grids: Grids, query: Query, known: Array | None, previous: Array | None
    ) -> tuple[Estimate, Array]:
        batch, frames = grids.low.shape[:2]
        low_query = jnp.repeat(query.low[:, None], frames, 1)
        cells = grids.low.shape[2:4]
        if previous is not None:
            previous = merge(rescale(previous, self.config.resolution, cells))
        low, low_query = merge(grids.low), merge(low_query)
        xy, occlusion, expected_dist, heatmap = self.locate(low, low_query, previous)
        xy = rescale(xy, cells, self.config.resolution)
        lead = (batch, frames)
        xy = split(xy, lead)
        if known is not None:
            frame = jnp.arange(frames)
            at_query = known[:, None, :, 0].round() == frame[None, :, None]
            xy = jnp.where(at_query[..., None], known[:, None, :, :0:-1], xy)
        estimate = Estimate(xy, split(occlusion, lead), split(expected_dist, lead))
        return estimate, split(heatmap, lead)

    @eqx.filter_jit
    def clip(
        self,
        video: Array,
        queries_tyx: Array,
        resolutions: Sequence[tuple[int, int]] | None = None,
        chunk: int = 64,
    ) -> dict[str, Array]:
        """Tracks query points through a clip.

        Args:
            video: [B, T, H, W, 3] float in [-1, 1].
            queries_tyx: [B, N, 3] (frame, y, x) in pixels of the video.
            resolutions: (height, width) multiples of 8 at which to refine; by default from `config.resolution` up to
                the video's size.
            chunk: queries handled at once. They do not see one another, so this changes memory and nothing else.
        Returns:
            tracks [B, N, T, 2] (x, y) in pixels of the video, occlusion [B, N, T] and expected_dist [B, N, T] logits:
            the mean over resolutions, each after its last iteration. A variant with a motion prior cannot look at
            all frames at once: it goes forwards from each query's frame, then backwards, as `step` does.
        """
        size = video.shape[2:4]
        grids = self.feature_grids(video, resolutions)
        scale = jnp.array([1, *(b / s for b, s in zip(self.config.resolution, size, strict=True))])
        parts = []
        for start in range(0, max(1, queries_tyx.shape[1]), chunk):
            some = queries_tyx[:, start : start + chunk]
            queries = self.clip_queries(grids, some, size)
            if self.config.motion_prior:
                parts.append(both_ways(self, self._pictures(video), (grids, queries), some * scale))
                continue
            estimates, _, _ = self.trajectories(grids, queries, known=some * scale)
            final = estimates[self.config.iterations :: self.config.iterations]
            parts.append(Estimate(*(jnp.stack(field).mean(0) for field in zip(*final, strict=True))))
        return self._public(Estimate(*(jnp.concatenate(field, 2) for field in zip(*parts, strict=True))), size)

    # Frame by frame.

    @eqx.filter_jit
    def init(self, frame: Array, queries_tyx: Array) -> TapirState:
        """State that tracks the points queries_tyx [B, N, 3] of frame [B, 1, H, W, 3]; their t is not looked at."""
        if not self.config.causal:
            raise ValueError("this variant refines over whole clips; frame by frame needs a causal one")
        size = frame.shape[2:4]
        xy = queries_tyx[..., :0:-1]

        def sample(grid: Array) -> Array:
            return sample_frame(grid[:, 0], rescale(xy, size, grid.shape[2:4]))

        queries = tuple(Query(sample(g.high), sample(g.low)) for g in self.feature_grids(frame))
        rows = queries_tyx.shape[0] * queries_tyx.shape[1]
        iterations = (len(queries) - 1) * self.config.iterations
        memory = tuple(self.empty_memory(rows) for _ in range(iterations))
        start, pictures = rescale(xy, size, self.config.resolution), self._pictures(frame)
        if pictures is None:
            return TapirState(queries, memory, start)
        texture = self._texture(pictures, jnp.zeros_like(start[..., 0]), start)
        return TapirState(queries, memory, start, pictures[:, 0], texture)

    def empty_memory(self, rows: int) -> MixerState:
        """What an iteration remembers of points that were just added: nothing."""
        c = self.config
        narrow = jnp.zeros((c.mixer_blocks, rows, 2, c.mixer_width))
        return MixerState(narrow, jnp.zeros((c.mixer_blocks, rows, 2, 4 * c.mixer_width)))

    @eqx.filter_jit
    def step(self, frame: Array, state: TapirState) -> tuple[dict[str, Array], TapirState]:
        """The next frame [B, 1, H, W, 3]: the dict of `clip` for T = 1, of the last iteration, and the new state."""
        grids = self.feature_grids(frame)
        previous = state.previous[:, None] if self.config.motion_prior else None
        estimates, memory, _ = self.trajectories(grids, state.queries, causal=state.causal, previous=previous)
        found, pictures = estimates[-1], self._pictures(frame)
        now = None if pictures is None else pictures[:, 0]
        if now is not None:
            found = self._fuse_flow((state.frame, now), (state.previous, state.texture), found)
        state = TapirState(state.queries, tuple(memory), found.xy[:, 0], now, state.texture)
        return self._public(found, frame.shape[2:4]), state

    # Between frames.

    def _pictures(self, video: Array) -> Array | None:
        """Video [B, T, H, W, 3] at the size that positions follow it at; None where they do not."""
        return _resize(video, self.config.working_size(video.shape[2:4])) if self.config.fusion else None

    def _texture(self, pictures: Array, frame: Array, xy: Array) -> Array:
        """What `pictures` [B, T, h, w, 3] are like around points xy [B, N, 2] of frames [B, N], [B, N]."""

        def call(*arguments: Array) -> np.ndarray:
            return texture_of(self.config, *map(np.asarray, arguments))

        shape = jax.ShapeDtypeStruct(frame.shape, jnp.float32)
        return jax.pure_callback(call, shape, pictures, frame.round().astype(int), xy)

    def _fuse_flow(
        self,
        frames: tuple[Array, Array],
        points: tuple[Array, Array],
        found: Estimate,
        begins: Array | None = None,
    ) -> Estimate:
        """An estimate of one frame, with positions that follow the picture, and with what is expected of these.

        frames: [B, h, w, 3] the frame before, and this one. points: [B, N, 2] where they were in that frame, and [B, N]
        their texture. begins: [B, N] points that were in no frame before.
        """
        begins = jnp.zeros(points[1].shape, bool) if begins is None else begins
        arrays = (*frames, *points, *(field[:, 0] for field in found), begins)
        shapes = tuple(jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in points)

        def call(*arguments: Array) -> tuple[np.ndarray, np.ndarray]:
            *frames, previous, texture, xy, occlusion, expected_dist, begins = map(np.asarray, arguments)
            logits = {"occlusion": occlusion, "expected_dist": expected_dist}
            return fuse_estimate(self.config, frames, previous, texture, xy, logits, begins)

        xy, expected_dist = jax.pure_callback(call, shapes, *arrays)
        return found._replace(xy=xy[:, None], expected_dist=expected_dist[:, None])

    def _public(self, estimate: Estimate, size: tuple[int, int]) -> dict[str, Array]:
        return {
            "tracks": rescale(estimate.xy, self.config.resolution, size).swapaxes(1, 2),
            "occlusion": estimate.occlusion.swapaxes(1, 2),
            "expected_dist": estimate.expected_dist.swapaxes(1, 2),
        }


def both_ways(
    model: Tapir, pictures: Array | None, inputs: tuple[Sequence[Grids], Sequence[Query]], start: Array
) -> Estimate:
    """Frame by frame from the points start [B, N, 3] (t, y, x), forwards and backwards.

    pictures: [B, T, h, w, 3] the frames themselves, where positions follow the picture.
    inputs: grids of all frames and queries, at every resolution.
    """
    frames = inputs[0][0].low.shape[1]
    forwards = _roll_out(model, pictures, inputs, start, reverse=False)
    backwards = _roll_out(model, pictures, inputs, start, reverse=True)
    later = jnp.arange(frames)[:, None] >= start[:, None, :, 0].round()
    return Estimate(
        jnp.where(later[..., None], forwards.xy, backwards.xy),
        jnp.where(later, forwards.occlusion, backwards.occlusion),
        jnp.where(later, forwards.expected_dist, backwards.expected_dist),
    )


def _roll_out(
    model: Tapir,
    pictures: Array | None,
    inputs: tuple[Sequence[Grids], Sequence[Query]],
    start: Array,
    reverse: bool,
) -> Estimate:
    """The last iteration's estimates of all frames, visited in order; a point begins anew at its own frame."""
    (grids, queries), (batch, points) = inputs, start.shape[:2]
    start_xy = start[..., :0:-1]
    texture = None if pictures is None else model._texture(pictures, start[..., 0], start_xy)

    def visit(past: tuple, now: tuple) -> tuple[tuple, Estimate]:
        (previous, memory, last), (t, features, frame_now) = past, now
        begins = start[..., 0].round() == t
        previous = jnp.where(begins[..., None], start_xy, previous)
        fresh = begins.reshape(-1, 1, 1)
        memory = [MixerState(*(jnp.where(fresh, 0, array) for array in state)) for state in memory]
        frame = [Grids(*(x[:, None] for x in pair), g.size) for pair, g in zip(features, grids, strict=True)]
        estimates, memory, _ = model.trajectories(frame, queries, None, memory, previous[:, None])
        final = estimates[-1]
        if frame_now is not None:
            final = model._fuse_flow((last, frame_now), (previous, texture), final, begins)
        return (final.xy[:, 0], memory, frame_now), Estimate(*(field[:, 0] for field in final))

    memory = [model.empty_memory(batch * points)] * (len(grids) - 1) * model.config.iterations
    features = [(g.high.swapaxes(0, 1), g.low.swapaxes(0, 1)) for g in grids]
    frames = jnp.arange(grids[0].low.shape[1])
    by_time = None if pictures is None else pictures.swapaxes(0, 1)
    first = None if by_time is None else by_time[-1 if reverse else 0]
    _, found = jax.lax.scan(visit, (start_xy, memory, first), (frames, features, by_time), reverse=reverse)
    return Estimate(*(field.swapaxes(0, 1) for field in found))


def _log_distance(xy: Array, height: int, width: int) -> Array:
    """Minus the log of a heavy-tailed prior around xy [M, 2] in cells, [M, h, w]: near is likely, far not excluded."""
    x = jnp.arange(width) + 0.5 - xy[:, :1]
    y = jnp.arange(height) + 0.5 - xy[:, 1:]
    return jnp.log(1 + x[:, None, :] ** 2 + y[:, :, None] ** 2)


def halve(grid: Array) -> Array:
    """[..., h, w, C] averaged over 2x2 cells; an odd last row or column is dropped."""
    height, width = (s // 2 * 2 for s in grid.shape[-3:-1])
    rows = grid[..., 0:height:2, :width, :] + grid[..., 1:height:2, :width, :]
    return (rows[..., 0::2, :] + rows[..., 1::2, :]) / 4


def _resize(video: Array, size: tuple[int, int]) -> Array:
    """Video [B, T, H, W, 3] at another size; shrinking averages."""
    return jax.image.resize(video, (*video.shape[:2], *size, video.shape[-1]), "bilinear")
