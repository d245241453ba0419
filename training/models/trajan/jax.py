"""TRAJAN in JAX: point tracks in, a few latents that stand for their motion, point tracks out.

Reads side by side with `trajan/torch.py`: attention along the frames of each track makes a token of it; latents gather
what they need from the tokens of all tracks, whatever their number. On the way back, a query (a point in a frame)
joins the latents, and its whole track is read off it. `Trajan.encode` and `decode` are the two halves, `reconstruct`
both; their parts are compiled once for each shape of their arguments.

Shapes: B videos, S tracks that are encoded, T frames, Q queries, L latents, C channels of whatever it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from training.models.layers.modules_jax import LayerNorm, Linear, RMSNorm, from_weights, key_stream
from training.models.trajan.config import Sizes, TrajanConfig
from training.models.trajan.constants import LEVELS, PHASE, UNSEEN, dither_noise, scales
from training.models.trajan.shapes import check_queries, check_tracks

EPS = 1e-6


class Attention(eqx.Module):
    """Of tokens [B, M, C] to others [B, K, D], with queries and keys of a fixed length."""

    query: Linear
    key: Linear
    value: Linear
    query_norm: RMSNorm
    key_norm: RMSNorm
    out: Linear
    heads: int = eqx.field(static=True)

    def __init__(self, config: TrajanConfig, width: int, context_width: int, keys: Iterator[Array]) -> None:
        self.heads, inner = config.heads, config.heads * config.head_width
        self.query = Linear(width, inner, keys, bias=False)
        self.key = Linear(context_width, inner, keys, bias=False)
        self.value = Linear(context_width, inner, keys, bias=False)
        self.query_norm = RMSNorm(config.head_width, eps=EPS)
        self.key_norm = RMSNorm(config.head_width, eps=EPS)
        self.out = Linear(inner, width, keys)

    def __call__(self, x: Array, context: Array, bias: Array | None = None) -> Array:
        """bias: [B, 1, 1, K], added to the scores of the tokens of the context."""
        query, key, value = (
            project(tokens).reshape(*tokens.shape[:2], self.heads, -1)
            for project, tokens in ((self.query, x), (self.key, context), (self.value, context))
        )
        attended = jax.nn.dot_product_attention(self.query_norm(query), self.key_norm(key), value, bias)
        return self.out(attended.reshape(*x.shape[:2], -1))


class Layer(eqx.Module):
    """Attention among the tokens and, at the same time, to others; then an MLP."""

    norm: LayerNorm
    attention: Attention
    cross: Attention | None
    mlp_norm: LayerNorm
    up: Linear
    down: Linear

    def __init__(self, config: TrajanConfig, sizes: Sizes, context_width: int | None, keys: Iterator[Array]) -> None:
        width, _, mlp_width = sizes
        self.norm = LayerNorm(width, eps=EPS, bias=False)
        self.attention = Attention(config, width, width, keys)
        self.cross = None if context_width is None else Attention(config, width, context_width, keys)
        self.mlp_norm = LayerNorm(width, eps=EPS, bias=False)
        self.up = Linear(width, mlp_width, keys)
        self.down = Linear(mlp_width, width, keys)

    def __call__(self, x: Array, context: Array | None, bias: Array | None, tokens: int | None) -> Array:
        """As `Transformer`."""
        z = self.norm(x)
        x = x[:, :tokens] + self.attention(z[:, :tokens], z, bias)
        if self.cross is not None:
            x = x + self.cross(z[:, :tokens], context)
        return x + self.down(jax.nn.gelu(self.up(self.mlp_norm(x)), approximate=True))


class Transformer(eqx.Module):
    layers: list[Layer]
    norm: LayerNorm

    def __init__(
        self, config: TrajanConfig, sizes: Sizes, keys: Iterator[Array], context_width: int | None = None
    ) -> None:
        self.layers = [Layer(config, sizes, context_width, keys) for _ in range(sizes[1])]
        self.norm = LayerNorm(sizes[0], eps=EPS, bias=False)

    def __call__(
        self, x: Array, context: Array | None = None, bias: Array | None = None, tokens: int | None = None
    ) -> Array:
        """Tokens [B, M, C] to as many.

        context: [B, K, D], of which all layers learn. bias: [B, 1, 1, M], added to the scores that tokens get.
        tokens: only so many, the first, are wanted: the last layer leaves out the others.
        """
        for i, layer in enumerate(self.layers, 1):
            x = layer(x, context, bias, tokens if i == len(self.layers) else None)
        return self.norm(x)


def embed(values: Array, frequencies: int) -> Array:
    """Sines and cosines of numbers [..., C], those of the first before those of the next: [..., 2 C frequencies].

    In float32 whatever the numbers and the surroundings are: embedding twice, as queries are, makes 1e-7 of a position
    0.1 of the highest frequency, so that with other rounding it is another number, not a better one.
    """
    values = values.astype(jnp.float32)
    angles = values[..., None] * jnp.asarray(scales(frequencies))
    waves = jnp.sin(jnp.concatenate([angles, angles + PHASE], -1))
    return waves.reshape(*values.shape[:-1], -1)


class Trajan(eqx.Module):
    """See the module's docstring."""

    track_projection: Linear
    track_transformer: Transformer
    first_latents: Array
    latent_transformer: Transformer
    compressor: Linear
    decompressor: Linear
    decompress_transformer: Transformer
    query_projection: Linear
    readout_transformer: Transformer
    head: Linear
    config: TrajanConfig = eqx.field(static=True)

    def __init__(self, config: TrajanConfig, key: Array) -> None:
        keys = key_stream(key)
        self.config = config
        track_width, latent_width = config.track_transformer[0], config.latent_transformer[0]
        width, query_width = config.decompress_transformer[0], config.readout_transformer[0]
        waves = 2 * config.frequencies
        self.track_projection = Linear(3 * waves, track_width, keys)
        self.track_transformer = Transformer(config, config.track_transformer, keys)
        self.first_latents = jax.random.normal(next(keys), (config.latents, latent_width)) * latent_width**-0.5
        self.latent_transformer = Transformer(config, config.latent_transformer, keys, track_width)
        self.compressor = Linear(latent_width, config.channels, keys)
        self.decompressor = Linear(config.channels, width, keys)
        self.decompress_transformer = Transformer(config, config.decompress_transformer, keys)
        self.query_projection = Linear((2 * waves + 1) * waves, query_width, keys)
        self.readout_transformer = Transformer(config, config.readout_transformer, keys)
        self.head = Linear(query_width, 4 * config.frames, keys)

    @classmethod
    def from_weights(cls, config: TrajanConfig, weights: Mapping[str, ArrayLike]) -> Trajan:
        """The model with weights by the names of the torch state_dict. Raises ValueError if they do not fit."""
        return from_weights(eqx.filter_eval_shape(cls, config, jax.random.key(0)), weights)

    def encode(self, tracks: ArrayLike, visible: ArrayLike, frames: ArrayLike, chunk: int = 256) -> Array:
        """The latents that stand for the motion of a set of tracks: [B, latents, channels].

        Args:
            tracks: [B, S, T, 2] float (x, y), each divided by the side of the frame, so 0 to 1 inside. T may be less
                than the model's number of frames, as if padded. What hidden positions are does not matter.
            visible: [B, S, T] bool, or 0 and 1. A track that is never visible still counts, as one of nothing.
            frames: [B] int, how many frames the video has; of later ones attention sees nothing.
            chunk: tracks worked on at once; this changes memory and nothing else.
        Raises TracksError for other shapes.
        """
        tracks, visible, frames = jnp.asarray(tracks), jnp.asarray(visible), jnp.asarray(frames)
        check_tracks(self.config, tracks.shape, visible.shape, frames.shape)
        starts = range(0, tracks.shape[1], chunk)
        parts = ((tracks[:, at : at + chunk], visible[:, at : at + chunk] != 0) for at in starts)
        return self.gather(jnp.concatenate([self.track_tokens(*part, frames) for part in parts], 1))

    @eqx.filter_jit
    def track_tokens(self, tracks: Array, visible: Array, frames: Array) -> Array:
        """A token for each track [B, S, C]: the mean over the frames in which it is visible."""
        batch, points, length, _ = tracks.shape
        at = jnp.arange(length)
        # Hidden positions have no say but, being NaN, would spoil what they are multiplied by zero with.
        tracks = jnp.where(visible[..., None] | jnp.isfinite(tracks), tracks, 0.0).astype(jnp.float32)
        time = jnp.broadcast_to((at / self.config.frames).astype(jnp.float32), visible.shape)
        values = jnp.concatenate([tracks, time[..., None]], -1)
        tokens = self.track_projection(embed(values, self.config.frequencies))
        attended = visible & (at < frames[:, None])[:, None]
        bias = jnp.where(attended, 0.0, UNSEEN).astype(tokens.dtype).reshape(-1, 1, 1, length)
        tokens = self.track_transformer(tokens.reshape(batch * points, length, -1), bias=bias)
        total = jnp.where(visible[..., None], tokens.reshape(batch, points, length, -1), 0.0).sum(2)
        return total / jnp.maximum(visible.sum(2), 1)[..., None].astype(total.dtype)

    @eqx.filter_jit
    def gather(self, tokens: Array) -> Array:
        """Tokens of tracks [B, S, C] to the latents."""
        first = jnp.broadcast_to(self.first_latents, (len(tokens), *self.first_latents.shape))
        return self.compressor(self.latent_transformer(first, tokens))

    def decode(
        self, latents: ArrayLike, queries_txy: ArrayLike, dither: bool = True, chunk: int = 32
    ) -> dict[str, Array]:
        """The tracks of query points, from the latents of their video.

        Args:
            latents: [B, latents, channels].
            queries_txy: [B, Q, 3] (frame, x, y), x and y divided by the sides of the frame. Queries do not see one
                another.
            dither: round the latents, as the published model does, and add its fixed noise.
            chunk: queries worked on at once; this changes memory and nothing else.
        Returns:
            "tracks" [B, Q, config.frames, 2] (x, y) as the queries; "visible_logits" and "certain_logits"
            [B, Q, config.frames]: a point is visible where the product of both sigmoids is above 0.5.
        Raises TracksError for other shapes.
        """
        latents, queries = jnp.asarray(latents), jnp.asarray(queries_txy)
        check_queries(self.config, latents.shape, queries.shape)
        decompressed = self.decompress(latents, dither)
        starts = range(0, queries.shape[1], chunk)
        parts = [self.read_out(decompressed, queries[:, at : at + chunk]) for at in starts]
        none = jnp.zeros((len(latents), 0, 4, self.config.frames), jnp.float32)
        x, y, visible, certain = jnp.moveaxis(jnp.concatenate([none, *parts], 1), 2, 0)
        return {"tracks": jnp.stack([x, y], -1), "visible_logits": visible, "certain_logits": certain}

    @eqx.filter_jit
    def decompress(self, latents: Array, dither: bool = True) -> Array:
        """Latents [B, L, channels] as tokens [B, L, C] to read tracks off."""
        latents = latents.astype(jnp.float32).clip(-1, 1)
        if dither:
            steps = jnp.round(latents * LEVELS) / LEVELS + dither_noise(*latents.shape[1:])
            # Gradients pass straight through.
            latents = latents + jax.lax.stop_gradient(steps - latents)
        return self.decompress_transformer(self.decompressor(latents))

    @eqx.filter_jit
    def read_out(self, latents: Array, queries_txy: Array) -> Array:
        """x, y, visible and certain logits [B, Q, 4, T] of queries among tokens [B, L, C]."""
        t, xy = jnp.round(queries_txy[..., :1]), queries_txy[..., 1:]
        # Nought for every frame that there is: the published model learned with this and without the time itself.
        age = jnp.floor(t / self.config.frames).astype(jnp.float32)
        query = jnp.concatenate([embed(xy, self.config.frequencies), age], -1)
        token = self.query_projection(embed(query, self.config.frequencies))
        shape = (*token.shape[:2], *latents.shape[1:])
        beside = [jnp.broadcast_to(latents[:, None], shape), self._windows(latents, t.astype(jnp.int32))]
        tokens = jnp.concatenate([token[:, :, None], jnp.concatenate(beside, -1)], 2)
        tokens = tokens.reshape(-1, *tokens.shape[2:])
        outputs = self.head(self.readout_transformer(tokens, tokens=1)[:, 0])
        return outputs.reshape(*shape[:2], 4, self.config.frames)

    def _windows(self, latents: Array, t: Array) -> Array:
        """The channels [B, Q, L, window] of tokens [B, L, C] that frames [B, Q, 1] choose; zeros beyond the last."""
        channels = latents.shape[-1]
        index = self.config.window_step * t + jnp.arange(self.config.window)
        window = jax.vmap(lambda one, chosen: one[:, chosen])(latents, index.clip(0, channels - 1))
        return window.swapaxes(1, 2) * (index < channels)[:, :, None]

    def reconstruct(
        self, tracks: ArrayLike, visible: ArrayLike, frames: ArrayLike, queries_txy: ArrayLike, dither: bool = True
    ) -> dict[str, Array]:
        """The tracks of query points [B, Q, 3], as `decode`, from other tracks of their video, as `encode`."""
        return self.decode(self.encode(tracks, visible, frames), queries_txy, dither)
