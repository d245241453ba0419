"""TRAJAN in torch: point tracks in, a few latents that stand for their motion, point tracks out.

Read from the top: attention along the frames of each track makes a token of it; latents gather what they need from
the tokens of all tracks, whatever their number. On the way back, a query (a point in a frame) joins the latents, and
its whole track is read off it. `Trajan.encode` and `decode` are the two halves, `reconstruct` both.

These take tensors, on any device, or numpy arrays.

Shapes: B videos, S tracks that are encoded, T frames, Q queries, L latents, C channels of whatever it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from training.models.trajan.config import Sizes, TrajanConfig
from training.models.trajan.constants import LEVELS, PHASE, UNSEEN, dither_noise, scales
from training.models.trajan.shapes import check_queries, check_tracks

EPS = 1e-6


class Attention(nn.Module):
    """Of tokens [B, M, C] to others [B, K, D], with queries and keys of a fixed length."""

    def __init__(self, config: TrajanConfig, width: int, context_width: int) -> None:
        super().__init__()
        self.heads, inner = config.heads, config.heads * config.head_width
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(context_width, inner, bias=False)
        self.value = nn.Linear(context_width, inner, bias=False)
        self.query_norm = nn.RMSNorm(config.head_width, eps=EPS)
        self.key_norm = nn.RMSNorm(config.head_width, eps=EPS)
        self.out = nn.Linear(inner, width)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """bias: [B, 1, 1, K], added to the scores of the tokens of the context."""
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1))
            for project, tokens in ((self.query, x), (self.key, context), (self.value, context))
        )
        # Under autocast projections are of half precision, which the norms' weights are not.
        query = self.query_norm(query.to(self.query_norm.weight.dtype))
        key = self.key_norm(key.to(self.key_norm.weight.dtype))
        heads = (tokens.transpose(1, 2) for tokens in (query, key, value))
        return self.out(F.scaled_dot_product_attention(*heads, bias).transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    """Attention among the tokens and, at the same time, to others; then an MLP."""

    def __init__(self, config: TrajanConfig, sizes: Sizes, context_width: int | None) -> None:
        super().__init__()
        width, _, mlp_width = sizes
        self.norm = nn.LayerNorm(width, eps=EPS, bias=False)
        self.attention = Attention(config, width, width)
        self.cross = None if context_width is None else Attention(config, width, context_width)
        self.mlp_norm = nn.LayerNorm(width, eps=EPS, bias=False)
        self.up = nn.Linear(width, mlp_width)
        self.down = nn.Linear(mlp_width, width)

    def forward(self, x: Tensor, context: Tensor | None, bias: Tensor | None, tokens: int | None) -> Tensor:
        """As `Transformer`."""
        z = self.norm(x)
        x = x[:, :tokens] + self.attention(z[:, :tokens], z, bias)
        if self.cross is not None:
            x = x + self.cross(z[:, :tokens], context)
        return x + self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))


class Transformer(nn.Module):
    def __init__(self, config: TrajanConfig, sizes: Sizes, context_width: int | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, sizes, context_width) for _ in range(sizes[1]))
        self.norm = nn.LayerNorm(sizes[0], eps=EPS, bias=False)

    def forward(
        self, x: Tensor, context: Tensor | None = None, bias: Tensor | None = None, tokens: int | None = None
    ) -> Tensor:
        """Tokens [B, M, C] to as many.

        context: [B, K, D], of which all layers learn. bias: [B, 1, 1, M], added to the scores that tokens get.
        tokens: only so many, the first, are wanted: the last layer leaves out the others.
        """
        for i, layer in enumerate(self.layers, 1):
            x = layer(x, context, bias, tokens if i == len(self.layers) else None)
        return self.norm(x)


def embed(values: Tensor, frequencies: int) -> Tensor:
    """Sines and cosines of numbers [..., C], those of the first before those of the next: [..., 2 C frequencies].

    In float32 whatever the numbers and the surroundings are: embedding twice, as queries are, makes 1e-7 of a position
    0.1 of the highest frequency, so that with other rounding it is another number, not a better one.
    """
    values = values.float()
    angles = values[..., None] * values.new_tensor(scales(frequencies))
    return torch.cat([angles, angles + values.new_tensor(PHASE)], -1).sin().flatten(-2)


class Trajan(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: TrajanConfig) -> None:
        super().__init__()
        self.config = config
        track_width, latent_width = config.track_transformer[0], config.latent_transformer[0]
        width, query_width = config.decompress_transformer[0], config.readout_transformer[0]
        waves = 2 * config.frequencies
        self.track_projection = nn.Linear(3 * waves, track_width)
        self.track_transformer = Transformer(config, config.track_transformer)
        self.first_latents = nn.Parameter(torch.randn(config.latents, latent_width) * latent_width**-0.5)
        self.latent_transformer = Transformer(config, config.latent_transformer, track_width)
        self.compressor = nn.Linear(latent_width, config.channels)
        self.decompressor = nn.Linear(config.channels, width)
        self.decompress_transformer = Transformer(config, config.decompress_transformer)
        self.query_projection = nn.Linear((2 * waves + 1) * waves, query_width)
        self.readout_transformer = Transformer(config, config.readout_transformer)
        self.head = nn.Linear(query_width, 4 * config.frames)

    def encode(self, tracks: ArrayLike, visible: ArrayLike, frames: ArrayLike, chunk: int = 256) -> Tensor:
        """The latents that stand for the motion of a set of tracks: [B, latents, channels].

        Args:
            tracks: [B, S, T, 2] float (x, y), each divided by the side of the frame, so 0 to 1 inside. T may be less
                than the model's number of frames, as if padded. What hidden positions are does not matter.
            visible: [B, S, T] bool, or 0 and 1. A track that is never visible still counts, as one of nothing.
            frames: [B] int, how many frames the video has; of later ones attention sees nothing.
            chunk: tracks worked on at once; this changes memory and nothing else.
        Raises TracksError for other shapes.
        """
        tracks, visible, frames = map(self._tensor, (tracks, visible, frames))
        check_tracks(self.config, tracks.shape, visible.shape, frames.shape)
        parts = zip(tracks.split(chunk, 1), visible.bool().split(chunk, 1), strict=True)
        tokens = torch.cat([self.track_tokens(*part, frames) for part in parts], 1)
        first = self.first_latents.expand(len(tracks), -1, -1)
        return self.compressor(self.latent_transformer(first, tokens))

    def track_tokens(self, tracks: Tensor, visible: Tensor, frames: Tensor) -> Tensor:
        """A token for each track [B, S, C]: the mean over the frames in which it is visible."""
        at = torch.arange(tracks.shape[2], device=tracks.device)
        # Hidden positions have no say but, being NaN, would spoil what they are multiplied by zero with.
        tracks = torch.where(visible[..., None] | tracks.isfinite(), tracks, 0.0)
        time = (at / self.config.frames).expand(tracks.shape[:3])
        tokens = self._projected(self.track_projection, torch.cat([tracks, time[..., None]], -1)).flatten(0, 1)
        attended = visible & (at < frames[:, None])[:, None]
        bias = torch.where(attended, 0.0, UNSEEN).to(tokens.dtype).flatten(0, 1)[:, None, None]
        tokens = self.track_transformer(tokens, bias=bias).unflatten(0, tracks.shape[:2])
        total = torch.where(visible[..., None], tokens, 0.0).sum(2)
        return total / visible.sum(2).clamp(min=1)[..., None]

    def decode(
        self, latents: ArrayLike, queries_txy: ArrayLike, dither: bool = True, chunk: int = 32
    ) -> dict[str, Tensor]:
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
        latents, queries_txy = self._tensor(latents), self._tensor(queries_txy)
        check_queries(self.config, latents.shape, queries_txy.shape)
        decompressed = self.decompress(latents, dither)
        parts = [self.read_out(decompressed, some) for some in queries_txy.split(chunk, 1)]
        outputs = torch.cat(parts, 1).float()
        x, y, visible, certain = outputs.unbind(2)
        return {"tracks": torch.stack([x, y], -1), "visible_logits": visible, "certain_logits": certain}

    def decompress(self, latents: Tensor, dither: bool = True) -> Tensor:
        """Latents [B, L, channels] as tokens [B, L, C] to read tracks off."""
        latents = latents.float().clamp(-1, 1)
        if dither:
            steps = (latents * LEVELS).round() / LEVELS + latents.new_tensor(dither_noise(*latents.shape[1:]))
            # Gradients pass straight through.
            latents = latents + (steps - latents).detach()
        return self.decompress_transformer(self.decompressor(latents.to(self.decompressor.weight.dtype)))

    def read_out(self, latents: Tensor, queries_txy: Tensor) -> Tensor:
        """x, y, visible and certain logits [B, Q, 4, T] of queries among tokens [B, L, C]."""
        t, xy = queries_txy[..., :1].round(), queries_txy[..., 1:]
        # Nought for every frame that there is: the published model learned with this and without the time itself.
        age = (t / self.config.frames).floor()
        query = torch.cat([embed(xy, self.config.frequencies), age], -1)
        token = self._projected(self.query_projection, query)
        shape = (*token.shape[:2], *latents.shape[1:])
        beside = torch.cat([latents[:, None].expand(shape), self._windows(latents, t.long())], -1)
        tokens = torch.cat([token[:, :, None], beside], 2).flatten(0, 1)
        outputs = self.head(self.readout_transformer(tokens, tokens=1)[:, 0])
        return outputs.unflatten(0, shape[:2]).unflatten(-1, (4, self.config.frames))

    def _windows(self, latents: Tensor, t: Tensor) -> Tensor:
        """The channels [B, Q, L, window] of tokens [B, L, C] that frames [B, Q, 1] choose; zeros beyond the last."""
        channels = latents.shape[-1]
        index = self.config.window_step * t + torch.arange(self.config.window, device=t.device)
        chosen = index.clamp(0, channels - 1)[:, :, None].expand(-1, -1, latents.shape[1], -1)
        window = latents[:, None].expand(-1, t.shape[1], -1, -1).gather(-1, chosen)
        return window * (index < channels)[:, :, None]

    def _tensor(self, array: ArrayLike) -> Tensor:
        return torch.as_tensor(array, device=self.first_latents.device)

    def _projected(self, projection: nn.Linear, values: Tensor) -> Tensor:
        return projection(embed(values, self.config.frequencies).to(projection.weight.dtype))

    def reconstruct(
        self, tracks: ArrayLike, visible: ArrayLike, frames: ArrayLike, queries_txy: ArrayLike, dither: bool = True
    ) -> dict[str, Tensor]:
        """The tracks of query points [B, Q, 3], as `decode`, from other tracks of their video, as `encode`."""
        return self.decode(self.encode(tracks, visible, frames), queries_txy, dither)
