"""TAP-Net in JAX: one module for every variant of `training.models.tapnet.config.TapnetConfig`.

Reads side by side with `tapnet/torch.py`: the encoder turns frames into a grid of features each, in which frames see
their neighbours; a query point's features are read off the grid of its frame; the cost-volume head finds them in every
frame on its own. Nothing is refined. `Tapnet.clip` is compiled once for each shape of its arguments.

Shapes: B batch, T frames, N points, h x w grid cells. Inside, arrays of points run [B, T, N, ...]; the public method
returns [B, N, T, ...]. Positions are in pixels of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from tapsdk.geometry import Size
from training.models.layers.modules_jax import (
    BatchNorm,
    Conv,
    CostVolumeLayers,
    Moved,
    from_weights,
    key_stream,
    merge,
    same_pad,
    split,
)
from training.models.layers.sampling_jax import rescale, sample_clip, soft_argmax, unit
from training.models.tapnet.config import SHIFTED_SHARE, SOFT_ARGMAX_RADIUS, TapnetConfig


class Estimate(NamedTuple):
    """One guess for every point and frame: xy [B, T, N, 2], occlusion logits [B, T, N]."""

    xy: Array
    occlusion: Array


def shift(x: Array, frames: int) -> Array:
    """[B T, h, w, C] with a share of channels from the frame after, and one from the frame before, where there are any.

    The shares change places: what comes from the frame after are its last channels, and they become the first.
    """
    first = x.shape[-1] // SHIFTED_SHARE
    last = x.shape[-1] - first
    x = x.reshape(-1, frames, *x.shape[1:])
    still = ((0, 0),) * 3
    after = jnp.pad(x[:, 1:, ..., last:], ((0, 0), (0, 1), *still))
    before = jnp.pad(x[:, :-1, ..., :first], ((0, 0), (1, 0), *still))
    return merge(jnp.concatenate([after, x[..., first:last], before], -1))


class Block(eqx.Module):
    """Pre-activation residual block with batch normalisation; some look at the frames before and after."""

    norm_0: BatchNorm
    conv_0: Conv
    norm_1: BatchNorm
    conv_1: Conv
    projection: Conv | None
    shifted: bool = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, stride: int, keys: Iterator[Array], *, project: bool, shifted: bool
    ) -> None:
        self.shifted = shifted
        self.norm_0 = BatchNorm(inputs)
        self.conv_0 = Conv(inputs, outputs, 3, keys, stride=stride, bias=False)
        self.norm_1 = BatchNorm(outputs)
        self.conv_1 = Conv(outputs, outputs, 3, keys, padding=1, bias=False)
        self.projection = Conv(inputs, outputs, 1, keys, stride=stride, bias=False) if project else None

    def __call__(self, x: Array, frames: int, moved: Moved | None) -> Array:
        """x: [B T, h, w, C] of clips of so many frames."""
        y = jax.nn.relu(self.norm_0(x, moved))
        shortcut = x if self.projection is None else self.projection(y)
        y = shift(y, frames) if self.shifted else y
        y = self.conv_0(same_pad(y, 3, self.conv_0.stride))
        return self.conv_1(jax.nn.relu(self.norm_1(y, moved))) + shortcut


class Encoder(eqx.Module):
    """Frames [B T, H, W, 3] to features [B T, h, w, C]."""

    stem: Conv
    units: list[list[Block]]

    def __init__(self, config: TapnetConfig, keys: Iterator[Array]) -> None:
        self.stem = Conv(3, config.stem, 7, keys, stride=2, bias=False)
        self.units = []
        inputs = config.stem
        for outputs, stride, shifted in zip(config.channels, config.strides, config.shifted, strict=True):
            first = Block(inputs, outputs, stride, keys, project=True, shifted=shifted)
            others = (
                Block(outputs, outputs, 1, keys, project=False, shifted=shifted) for _ in range(config.blocks - 1)
            )
            self.units.append([first, *others])
            inputs = outputs

    def __call__(self, x: Array, frames: int, moved: Moved | None) -> Array:
        x = self.stem(same_pad(x, 7, 2))
        x = jax.lax.reduce_window(
            same_pad(x, 3, 2, -jnp.inf), -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID"
        )
        for blocks in self.units:
            for block in blocks:
                x = block(x, frames, moved)
        return x


class CostVolumeHead(CostVolumeLayers):
    """From scores of every cell to a heatmap and a logit, per point and frame."""

    def __call__(self, scores: Array) -> tuple[Array, Array]:
        """Scores [M, h, w, 1] to heatmap logits [M, h, w] and occlusion logits [M]."""
        x = jax.nn.relu(self.shared(scores))
        pooled = self.occlusion_conv(same_pad(x, 3, 2)).mean((1, 2))
        return self.heatmap(x)[..., 0], self.occlusion_out(jax.nn.relu(self.occlusion_hidden(pooled)))[..., 0]


class Tapnet(eqx.Module):
    """See the module's docstring. Frames may have any size."""

    encoder: Encoder
    head: CostVolumeHead
    config: TapnetConfig = eqx.field(static=True)

    def __init__(self, config: TapnetConfig, key: Array) -> None:
        keys = key_stream(key)
        self.config = config
        self.encoder = Encoder(config, keys)
        self.head = CostVolumeHead(config.head, 1, keys)

    @classmethod
    def from_weights(cls, config: TapnetConfig, weights: Mapping[str, ArrayLike]) -> Tapnet:
        """The model with weights by the names of the torch state_dict. Raises ValueError if they do not fit."""
        return from_weights(eqx.filter_eval_shape(cls, config, jax.random.key(0)), weights)

    def encode(self, video: Array, moved: Moved | None = None) -> Array:
        """Frames [B, T, H, W, 3] in [-1, 1] to unit features [B, T, h, w, C], a cell for `config.stride` pixels.

        moved: given in training, see `BatchNorm`.
        """
        return split(unit(self.encoder(merge(video), video.shape[1], moved)), video.shape[:2])

    def describe(self, grid: Array, queries_tyx: Array, size: Size) -> Array:
        """Features [B, N, C] of queries [B, N, 3] (t, y, x; pixels of frames of `size`) in grid [B, T, h, w, C]."""
        scale = jnp.array([1, grid.shape[2] / size[0], grid.shape[3] / size[1]])
        return sample_clip(grid, queries_tyx * scale)

    def locate(self, grid: Array, query: Array) -> tuple[Array, Array]:
        """Finds features [F, N, C] in grid [F, h, w, C] by the cost volume.

        Returns xy [F, N, 2] in grid cells and occlusion logits [F, N].
        """
        frames, height, width, channels = grid.shape
        points = query.shape[1]
        scores = query @ grid.reshape(frames, height * width, channels).swapaxes(1, 2)
        heatmap, occlusion = self.head(scores.reshape(frames * points, height, width, 1))
        share = jax.nn.softmax(heatmap * self.config.softmax_temperature, (-2, -1))
        return split(soft_argmax(share, SOFT_ARGMAX_RADIUS), (frames, points)), split(occlusion, (frames, points))

    def trajectories(self, grid: Array, queries_tyx: Array, size: Size) -> Estimate:
        """Queries [B, N, 3] in all frames of grid [B, T, h, w, C]; positions are in pixels of frames of `size`.

        In a query's own frame, to which a t between two is rounded, it is where it was asked for.
        """
        lead = grid.shape[:2]
        query = self.describe(grid, queries_tyx, size)
        query = jnp.broadcast_to(query[:, None], (*lead, *query.shape[1:]))
        xy, occlusion = self.locate(merge(grid), merge(query))
        xy = split(rescale(xy, grid.shape[2:4], size), lead)
        frame = jnp.arange(lead[1])[:, None]
        asked = queries_tyx[:, None, :, 0].round() == frame
        xy = jnp.where(asked[..., None], queries_tyx[:, None, :, :0:-1], xy)
        return Estimate(xy, split(occlusion, lead))

    @eqx.filter_jit
    def clip(self, video: Array, queries_tyx: Array, chunk: int = 64) -> dict[str, Array]:
        """Tracks query points through a clip.

        Args:
            video: [B, T, H, W, 3] float in [-1, 1].
            queries_tyx: [B, N, 3] (frame, y, x) in pixels of the video.
            chunk: queries handled at once. They do not see one another, so this changes memory and nothing else.
        Returns:
            tracks [B, N, T, 2] (x, y) in pixels of the video, the query itself in its own frame, and occlusion
            [B, N, T] logits.
        """
        grid, size = self.encode(video), video.shape[2:4]
        starts = range(0, max(queries_tyx.shape[1], 1), chunk)
        parts = [self.trajectories(grid, queries_tyx[:, i : i + chunk], size) for i in starts]
        xy, occlusion = (jnp.concatenate(field, 2).swapaxes(1, 2) for field in zip(*parts, strict=True))
        return {"tracks": xy, "occlusion": occlusion}
