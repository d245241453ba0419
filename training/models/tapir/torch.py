"""TAPIR in torch: one module for every variant of `training.models.tapir.config.TapirConfig`.

Read from the top: the encoder turns frames into two feature grids; a query point's descriptor is read off them; the
cost-volume head finds the descriptor in every frame on its own; the mixer refines that guess from patches of scores
around it, iteration by iteration, along time. `Tapir.clip` does this for a clip, `init` and `step` frame by frame.

Shapes: B batch, T frames, N points, h x w grid cells. Inside, tensors of points run [B, T, N, ...] with xy in pixels of
`config.resolution`; the public methods return [B, N, T, ...] with xy in pixels of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.layers.efficientnet_torch import EfficientNetLite
from training.models.layers.modules_torch import CostVolumeLayers, same_pad
from training.models.layers.sampling_torch import (
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

CORRELATE: dict[str, Callable[[Tensor, Tensor, Tensor, int], Tensor]] = {
    "dense": correlate_dense,
    "gather": correlate_gather,
}


class Grids(NamedTuple):
    """Unit-length features of frames at one resolution: high [B, T, H, W, C'], low [B, T, h, w, C]."""

    high: Tensor
    low: Tensor
    size: tuple[int, int]
    """(height, width) of the frames that were encoded."""


class Query(NamedTuple):
    """Descriptors of the points at one resolution: high [B, N, C'], low [B, N, C]."""

    high: Tensor
    low: Tensor


class Estimate(NamedTuple):
    """One guess for every point and frame: xy [B, T, N, 2], logits [B, T, N]."""

    xy: Tensor
    occlusion: Tensor
    expected_dist: Tensor


class MixerState(NamedTuple):
    """What one refinement iteration remembers of the two frames before."""

    narrow: Tensor
    """[blocks, rows, 2, width]"""
    wide: Tensor
    """[blocks, rows, 2, 4 width]"""


class TapirState(NamedTuple):
    """Everything `step` needs of the past."""

    queries: tuple[Query, ...]
    causal: tuple[MixerState, ...]
    previous: Tensor
    """[B, N, 2] where the points were, in pixels of `config.resolution`."""
    frame: Tensor | None = None
    """[B, h, w, 3] the frame that they were in, where positions follow the picture."""
    texture: Tensor | None = None
    """[B, N] what it is like around the points where they were asked for, there, too."""


class ResidualBlock(nn.Module):
    """Pre-activation residual block with instance normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool) -> None:
        super().__init__()
        self.stride = stride
        self.norm_0 = nn.InstanceNorm2d(inputs, affine=True)
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.norm_1 = nn.InstanceNorm2d(outputs, affine=True)
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm_0(x))
        shortcut = x if self.projection is None else self.projection(y)
        y = self.conv_0(same_pad(y, 3, self.stride))
        return self.conv_1(F.relu(self.norm_1(y))) + shortcut


class ResNet(nn.Module):
    """Frames [F, 3, H, W] to features of group 1 (high resolution) and group 3 (low resolution)."""

    def __init__(self, config: TapirConfig) -> None:
        super().__init__()
        widths = (config.channels[0], *config.channels)
        self.stem = nn.Conv2d(3, widths[0], 7, 2, bias=False)
        self.groups = nn.ModuleList(
            nn.Sequential(
                ResidualBlock(widths[g], widths[g + 1], config.strides[g], project=True),
                *(ResidualBlock(widths[g + 1], widths[g + 1], 1, project=False) for _ in range(config.blocks[g] - 1)),
            )
            for g in range(4)
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(same_pad(frames, 7, 2))
        high = self.groups[1](self.groups[0](x))
        return high, self.groups[3](self.groups[2](high))


class ExtraConv(nn.Module):
    """BootsTAPIR's residual block on the low-resolution grid; the residual starts from the normalised features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv_0 = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.conv_1 = nn.Conv2d(4 * width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.conv_1(F.gelu(self.conv_0(x), approximate="tanh"))


class CostVolumeHead(CostVolumeLayers):
    """From scores of every cell to a heatmap and two logits, per point and frame."""

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [M, 1, h, w] to heatmap logits [M, h, w] and (occlusion, expected_dist) logits [M, 2]."""
        x = F.relu(self.shared(scores))
        pooled = F.relu(self.occlusion_conv(F.pad(x, (0, 2, 0, 2)))).mean((-1, -2), keepdim=True).flatten(1)
        logits = self.occlusion_out(F.relu(self.occlusion_hidden(pooled)))
        return self.heatmap(x)[:, 0], logits


class TemporalConv(nn.Module):
    """Two depthwise convolutions over three frames, through four times the width and back by summing fours.

    Written as three weighted sums instead of Conv1d: runtimes are slow at grouped convolutions of a few frames, and
    one frame with its two predecessors is then the same code as a clip.
    """

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.up_weight = nn.Parameter(torch.empty(4 * width, 3))
        self.up_bias = nn.Parameter(torch.zeros(4 * width))
        self.out_weight = nn.Parameter(torch.empty(4 * width, 3))
        self.out_bias = nn.Parameter(torch.zeros(4 * width))
        nn.init.normal_(self.up_weight, std=3**-0.5)
        nn.init.normal_(self.out_weight, std=12**-0.5)

    def _with_neighbours(self, x: Tensor, past: Tensor | None) -> Tensor:
        if past is not None:
            return torch.cat([past, x], 1)
        return F.pad(x, (0, 0, 2, 0) if self.causal else (0, 0, 1, 1))

    def forward(self, x: Tensor, narrow: Tensor | None, wide: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x: [R, T, width]; narrow [R, 2, width] and wide [R, 2, 4 width]: the two frames before, if there were any."""
        rows, frames, width = x.shape
        window = self._with_neighbours(x, narrow)
        # In here the fours are outermost: runtimes are slow at products of many rows of four.
        up, up_bias, out, out_bias = (
            _turned(each, width, 4)
            for each in (self.up_weight.transpose(0, 1), self.up_bias, self.out_weight.transpose(0, 1), self.out_bias)
        )
        y = sum(window[:, k : k + frames, None] * up[k].reshape(4, width) for k in range(3)).flatten(-2)
        y = F.gelu(y + up_bias, approximate="tanh")
        wide_window = self._with_neighbours(y, None if wide is None else _turned(wide, width, 4))
        y = sum(wide_window[:, k : k + frames] * out[k] for k in range(3)) + out_bias
        return y.reshape(rows, frames, 4, width).sum(-2), window[:, -2:], _turned(wide_window[:, -2:], 4, width)


def _turned(x: Tensor, outer: int, inner: int) -> Tensor:
    """Channels [..., outer * inner] in the order [..., inner * outer]."""
    return x.unflatten(-1, (outer, inner)).transpose(-1, -2).flatten(-2)


class MixerBlock(nn.Module):
    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.norm_time = nn.LayerNorm(width, bias=False)
        self.time = TemporalConv(width, causal)
        self.norm_channels = nn.LayerNorm(width, bias=False)
        self.channels_up = nn.Linear(width, 4 * width)
        self.channels_down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, narrow: Tensor | None, wide: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        y, narrow, wide = self.time(self.norm_time(x), narrow, wide)
        x = x + y
        y = self.channels_up(self.norm_channels(x))
        return x + self.channels_down(F.gelu(y, approximate="tanh")), narrow, wide


class Mixer(nn.Module):
    """The refinement network: MLP-Mixer of PIPs with depthwise convolutions along time."""

    def __init__(self, config: TapirConfig) -> None:
        super().__init__()
        outputs = 4 + config.feature_width
        patch = (2 * PATCH_RADIUS + 1) ** 2
        self.embed = nn.Linear(outputs + config.levels * patch, config.mixer_width)
        self.blocks = nn.ModuleList(MixerBlock(config.mixer_width, config.causal) for _ in range(config.mixer_blocks))
        self.norm = nn.LayerNorm(config.mixer_width, bias=False)
        self.out = nn.Linear(config.mixer_width, outputs)

    def forward(self, x: Tensor, state: MixerState | None = None) -> tuple[Tensor, MixerState]:
        """x: [R, T, inputs] -> [R, T, 4 + feature width] and what to remember of the last two frames."""
        x = self.embed(x)
        narrows, wides = [], []
        for i, block in enumerate(self.blocks):
            narrow, wide = (None, None) if state is None else (state.narrow[i], state.wide[i])
            x, narrow, wide = block(x, narrow, wide)
            narrows.append(narrow)
            wides.append(wide)
        return self.out(self.norm(x)), MixerState(torch.stack(narrows), torch.stack(wides))


class Tapir(nn.Module):
    """See the module's docstring. `correlate` picks how patches are looked up: "dense" or "gather", equal in result."""

    def __init__(self, config: TapirConfig, correlate: str = "gather") -> None:
        super().__init__()
        self.config = config
        self.correlate = CORRELATE[correlate]
        lite = config.encoder == "efficientnet-lite"
        self.resnet = None if lite else ResNet(config)
        self.lite = EfficientNetLite(config.high_width, config.low_width) if lite else None
        self.extra_convs = nn.Sequential(*(ExtraConv(config.low_width) for _ in range(config.extra_convs)))
        self.head = CostVolumeHead(config.head, logits=2)
        self.mixer = Mixer(config)

    # The four parts, which are also the stages that get exported.

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames [F, H, W, 3] in [-1, 1] to unit features high [F, H/4, W/4, C'] and low [F, H/8, W/8, C]."""
        encoder = self.resnet if self.lite is None else self.lite
        high, low = encoder(frames.permute(0, 3, 1, 2))
        low = self.extra_convs(low)
        return unit(high.permute(0, 2, 3, 1)), unit(low.permute(0, 2, 3, 1))

    def locate(
        self, low: Tensor, query: Tensor, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Finds every query in its frame by the cost volume.

        Args:
            low: [F, h, w, C] grids. query: [F, N, C] descriptors.
            previous: [F, N, 2] in grid cells, where the points were in the frame before, for `config.motion_prior`.
        Returns:
            xy [F, N, 2] in grid cells, occlusion [F, N], expected_dist [F, N], heatmap logits [F, N, h, w].
        """
        frames, height, width, channels = low.shape
        scores = query @ low.reshape(frames, height * width, channels).transpose(1, 2)
        heatmap, logits = self.head(scores.reshape(-1, 1, height, width))
        heatmap = heatmap * self.config.softmax_temperature
        if previous is not None:
            heatmap = heatmap - self.config.motion_prior * _log_distance(previous.reshape(-1, 2), height, width)
        xy = soft_argmax(heatmap.flatten(-2).softmax(-1).reshape(heatmap.shape), SOFT_ARGMAX_RADIUS)
        logits = logits.reshape(frames, -1, 2)
        return (
            xy.reshape(frames, -1, 2),
            logits[..., 0],
            logits[..., 1],
            heatmap.reshape(frames, -1, height, width),
        )

    def lookup(self, grids: Grids, xy: Tensor, features: Tensor) -> Tensor:
        """Patches of scores [B, T, N, levels * 49] around xy [B, T, N, 2] for descriptors [B, T, N, C' + C]."""
        lead = xy.shape[:2]
        high, low, xy, features = (tensor.flatten(0, 1) for tensor in (grids.high, grids.low, xy, features))
        high_query, low_query = features.split([self.config.high_width, self.config.low_width], -1)
        pyramid = [(high, high_query), (low, low_query)]
        for _ in range(self.config.pyramid_level):
            pyramid.append((halve(pyramid[-1][0]), low_query))
        patches = [
            self.correlate(grid, query, rescale(xy, self.config.resolution, grid.shape[1:3]), PATCH_RADIUS)
            for grid, query in pyramid
        ]
        return torch.cat(patches, -1).unflatten(0, lead)

    def update(
        self, estimate: Estimate, features: Tensor, patches: Tensor, state: MixerState | None
    ) -> tuple[Estimate, Tensor, MixerState]:
        """One pass of the mixer. The xy of the result is an offset in pixels of the encoded frames.

        Returns:
            the estimate with updated logits and the offset in place of xy, updated features, and the mixer's memory.
        """
        batch, points = patches.shape[0], patches.shape[2]
        # The mixer was designed to see positions as well, and was trained with zeros in their place.
        nothing = torch.zeros_like(estimate.xy)
        logits = torch.stack([estimate.occlusion, estimate.expected_dist], -1)
        x = torch.cat([nothing, logits, features, patches], -1)
        x = x.transpose(1, 2).flatten(0, 1)
        y, state = self.mixer(x, state)
        y = y.unflatten(0, (batch, points)).transpose(1, 2)
        refined = Estimate(y[..., :2], estimate.occlusion + y[..., 2], estimate.expected_dist + y[..., 3])
        return refined, features + y[..., 4:], state

    # Whole clips.

    def feature_grids(self, video: Tensor, resolutions: Sequence[tuple[int, int]] | None = None) -> list[Grids]:
        """Grids of video [B, T, H, W, 3] at the size that `config` works at, and at each one of the refinement."""
        frame_size = tuple(video.shape[2:4])
        base = self.config.working_size(frame_size)
        if resolutions is None:
            resolutions = self.config.refinement_sizes(frame_size)
        by_size: dict[tuple[int, int], Grids] = {}
        for size in (base, *resolutions):
            if size[0] % 8 or size[1] % 8:
                raise ValueError(f"refinement resolutions must be multiples of 8, got {size}")
            if size not in by_size:
                high, low = self.encode(_resize(video, size).flatten(0, 1))
                lead = video.shape[:2]
                by_size[size] = Grids(high.unflatten(0, lead), low.unflatten(0, lead), size)
        return [by_size[size] for size in (base, *resolutions)]

    def clip_queries(self, grids: Sequence[Grids], queries_tyx: Tensor, size: tuple[int, int]) -> list[Query]:
        """Descriptors of queries [B, N, 3] (t, y, x; pixels of frames of `size`) at every resolution."""

        def sample(grid: Tensor) -> Tensor:
            scale = queries_tyx.new_tensor([1, grid.shape[2] / size[0], grid.shape[3] / size[1]])
            return sample_clip(grid, queries_tyx * scale)

        return [Query(sample(g.high), sample(g.low)) for g in grids]

    def trajectories(
        self,
        grids: Sequence[Grids],
        queries: Sequence[Query],
        known: Tensor | None = None,
        causal: Sequence[MixerState] | None = None,
        previous: Tensor | None = None,
    ) -> tuple[list[Estimate], list[MixerState], Tensor]:
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
            features = torch.cat([query.high, query.low], -1)[:, None]
            features = features.expand(-1, grid.low.shape[1], -1, -1)
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
        self, grids: Grids, query: Query, known: Tensor | None, previous: Tensor | None
    ) -> tuple[Estimate, Tensor]:
        batch, frames = grids.low.shape[:2]
        low_query = query.low[:, None].expand(-1, frames, -1, -1)
        cells = grids.low.shape[2:4]
        if previous is not None:
            previous = rescale(previous, self.config.resolution, cells).flatten(0, 1)
        low, low_query = grids.low.flatten(0, 1), low_query.flatten(0, 1)
        xy, occlusion, expected_dist, heatmap = self.locate(low, low_query, previous)
        xy = rescale(xy, cells, self.config.resolution)
        lead = (batch, frames)
        xy = xy.unflatten(0, lead)
        if known is not None:
            frame = torch.arange(frames, device=xy.device)
            at_query = known[:, None, :, 0].round() == frame[None, :, None]
            xy = torch.where(at_query[..., None], known[:, None, :, 1:].flip(-1), xy)
        estimate = Estimate(xy, occlusion.unflatten(0, lead), expected_dist.unflatten(0, lead))
        return estimate, heatmap.unflatten(0, lead)

    def clip(
        self,
        video: Tensor,
        queries_tyx: Tensor,
        resolutions: Sequence[tuple[int, int]] | None = None,
        chunk: int = 64,
    ) -> dict[str, Tensor]:
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
        size = tuple(video.shape[2:4])
        grids = self.feature_grids(video, resolutions)
        scale = queries_tyx.new_tensor([1, *(b / s for b, s in zip(self.config.resolution, size, strict=True))])
        parts = []
        for some in queries_tyx.split(chunk, 1):
            queries = self.clip_queries(grids, some, size)
            if self.config.motion_prior:
                parts.append(both_ways(self, self._pictures(video), (grids, queries), some * scale))
                continue
            estimates, _, _ = self.trajectories(grids, queries, known=some * scale)
            final = estimates[self.config.iterations :: self.config.iterations]
            parts.append(Estimate(*(torch.stack(field).mean(0) for field in zip(*final, strict=True))))
        return self._public(Estimate(*(torch.cat(field, 2) for field in zip(*parts, strict=True))), size)

    # Frame by frame.

    def init(self, frame: Tensor, queries_tyx: Tensor) -> TapirState:
        """State that tracks the points queries_tyx [B, N, 3] of frame [B, 1, H, W, 3]; their t is not looked at."""
        if not self.config.causal:
            raise ValueError("this variant refines over whole clips; frame by frame needs a causal one")
        size = tuple(frame.shape[2:4])
        xy = queries_tyx[..., 1:].flip(-1)

        def sample(grid: Tensor) -> Tensor:
            return sample_frame(grid[:, 0], rescale(xy, size, grid.shape[2:4]))

        queries = tuple(Query(sample(g.high), sample(g.low)) for g in self.feature_grids(frame))
        rows = queries_tyx.shape[0] * queries_tyx.shape[1]
        iterations = (len(queries) - 1) * self.config.iterations
        memory = tuple(self.empty_memory(rows) for _ in range(iterations))
        start, pictures = rescale(xy, size, self.config.resolution), self._pictures(frame)
        if pictures is None:
            return TapirState(queries, memory, start)
        texture = self._texture(pictures, torch.zeros_like(start[..., 0]), start)
        return TapirState(queries, memory, start, pictures[:, 0], texture)

    def empty_memory(self, rows: int) -> MixerState:
        """What an iteration remembers of points that were just added: nothing."""
        c, like = self.config, self.mixer.embed.weight
        narrow = like.new_zeros(c.mixer_blocks, rows, 2, c.mixer_width)
        return MixerState(narrow, like.new_zeros(c.mixer_blocks, rows, 2, 4 * c.mixer_width))

    def step(self, frame: Tensor, state: TapirState) -> tuple[dict[str, Tensor], TapirState]:
        """The next frame [B, 1, H, W, 3]: the dict of `clip` for T = 1, of the last iteration, and the new state."""
        grids = self.feature_grids(frame)
        previous = state.previous[:, None] if self.config.motion_prior else None
        estimates, memory, _ = self.trajectories(grids, state.queries, causal=state.causal, previous=previous)
        found, pictures = estimates[-1], self._pictures(frame)
        now = None if pictures is None else pictures[:, 0]
        if now is not None:
            found = self._fuse_flow((state.frame, now), (state.previous, state.texture), found)
        state = TapirState(state.queries, tuple(memory), found.xy[:, 0], now, state.texture)
        return self._public(found, tuple(frame.shape[2:4])), state

    # Between frames.

    def _pictures(self, video: Tensor) -> Tensor | None:
        """Video [B, T, H, W, 3] at the size that positions follow it at; None where they do not."""
        return _resize(video, self.config.working_size(video.shape[2:4])) if self.config.fusion else None

    def _texture(self, pictures: Tensor, frame: Tensor, xy: Tensor) -> Tensor:
        """What `pictures` [B, T, h, w, 3] are like around points xy [B, N, 2] of frames [B, N], [B, N]."""
        arrays = (pictures, frame.round().long(), xy)
        found = texture_of(self.config, *(each.detach().cpu().numpy() for each in arrays))
        return torch.from_numpy(found).to(xy)

    def _fuse_flow(
        self,
        frames: tuple[Tensor, Tensor],
        points: tuple[Tensor, Tensor],
        found: Estimate,
        begins: Tensor | None = None,
    ) -> Estimate:
        """An estimate of one frame, with positions that follow the picture, and with what is expected of these.

        frames: [B, h, w, 3] the frame before, and this one. points: [B, N, 2] where they were in that frame, and [B, N]
        their texture. begins: [B, N] points that were in no frame before.
        """
        begins = torch.zeros(points[1].shape, dtype=torch.bool) if begins is None else begins
        tensors = (*frames, *points, *(field[:, 0] for field in found), begins)
        *frames, previous, texture, xy, occlusion, expected_dist, begins = (t.detach().cpu().numpy() for t in tensors)
        logits = {"occlusion": occlusion, "expected_dist": expected_dist}
        fused = fuse_estimate(self.config, frames, previous, texture, xy, logits, begins)
        xy, expected_dist = (torch.from_numpy(each).to(found.xy)[:, None] for each in fused)
        return found._replace(xy=xy, expected_dist=expected_dist)

    def _public(self, estimate: Estimate, size: tuple[int, int]) -> dict[str, Tensor]:
        return {
            "tracks": rescale(estimate.xy, self.config.resolution, size).transpose(1, 2),
            "occlusion": estimate.occlusion.transpose(1, 2),
            "expected_dist": estimate.expected_dist.transpose(1, 2),
        }


def both_ways(
    model: Tapir, pictures: Tensor | None, inputs: tuple[Sequence[Grids], Sequence[Query]], start: Tensor
) -> Estimate:
    """Frame by frame from the points start [B, N, 3] (t, y, x), forwards and backwards.

    pictures: [B, T, h, w, 3] the frames themselves, where positions follow the picture.
    inputs: grids of all frames and queries, at every resolution.
    """
    frames = inputs[0][0].low.shape[1]
    forwards = _roll_out(model, pictures, inputs, start, range(frames))
    backwards = _roll_out(model, pictures, inputs, start, range(frames - 1, -1, -1))
    later = torch.arange(frames, device=start.device)[:, None] >= start[:, None, :, 0].round()
    return Estimate(
        torch.where(later[..., None], forwards.xy, backwards.xy),
        torch.where(later, forwards.occlusion, backwards.occlusion),
        torch.where(later, forwards.expected_dist, backwards.expected_dist),
    )


def _roll_out(
    model: Tapir,
    pictures: Tensor | None,
    inputs: tuple[Sequence[Grids], Sequence[Query]],
    start: Tensor,
    order: Sequence[int],
) -> Estimate:
    """The last iteration's estimates of all frames, visited in `order`; a point begins anew at its own frame."""
    (grids, queries), (batch, points) = inputs, start.shape[:2]
    start_xy = start[..., 1:].flip(-1)
    previous, memory = start_xy, [model.empty_memory(batch * points)] * (len(grids) - 1) * model.config.iterations
    texture = None if pictures is None else model._texture(pictures, start[..., 0], start_xy)
    found: dict[int, Estimate] = {}
    last = order[0] if len(order) else 0
    for t in order:
        begins = start[..., 0].round() == t
        previous = torch.where(begins[..., None], start_xy, previous)
        fresh = begins.reshape(-1, 1, 1)
        memory = [MixerState(*(tensor.masked_fill(fresh, 0) for tensor in state)) for state in memory]
        frame = [Grids(g.high[:, t : t + 1], g.low[:, t : t + 1], g.size) for g in grids]
        estimates, memory, _ = model.trajectories(frame, queries, None, memory, previous[:, None])
        found[t] = estimates[-1]
        if pictures is not None:
            frames = pictures[:, last], pictures[:, t]
            found[t] = model._fuse_flow(frames, (previous, texture), found[t], begins)
        previous, last = found[t].xy[:, 0], t
    ordered = [found[t] for t in range(len(found))]
    return Estimate(*(torch.cat(field, 1) for field in zip(*ordered, strict=True)))


def _log_distance(xy: Tensor, height: int, width: int) -> Tensor:
    """Minus the log of a heavy-tailed prior [M, h, w] around xy [M, 2] in cells: near is likely, far is possible."""
    x = torch.arange(width, device=xy.device, dtype=xy.dtype) + 0.5 - xy[:, :1]
    y = torch.arange(height, device=xy.device, dtype=xy.dtype) + 0.5 - xy[:, 1:]
    return torch.log(1 + x[:, None, :] ** 2 + y[:, :, None] ** 2)


def halve(grid: Tensor) -> Tensor:
    """[..., h, w, C] averaged over 2x2 cells; an odd last row or column is dropped."""
    height, width = (s // 2 * 2 for s in grid.shape[-3:-1])
    rows = grid[..., 0:height:2, :width, :] + grid[..., 1:height:2, :width, :]
    return (rows[..., 0::2, :] + rows[..., 1::2, :]) / 4


def _resize(video: Tensor, size: tuple[int, int]) -> Tensor:
    """Video [B, T, H, W, 3] at another size; shrinking averages, as the reference in JAX does."""
    if tuple(video.shape[2:4]) == size:
        return video
    frames = video.flatten(0, 1).permute(0, 3, 1, 2)
    frames = F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True)
    return frames.permute(0, 2, 3, 1).unflatten(0, video.shape[:2])
