"""TAPNext in JAX: one module for every variant of `training.models.tapnext.config.TapnextConfig`.

Reads side by side with `tapnext/torch.py`: in a frame, each patch of the image is a token and so is each point; where
a query lies is told once, in the token of its frame. A block looks along time by a recurrence, every token on its own,
then across the tokens of a frame by attention. Heads read position and visibility off a point's tokens. `Tapnext.clip`
tracks through a whole clip, `init` and `step` frame by frame, with the same result; what they share, `advance`, is
compiled once for each shape of its arguments.

Shapes: B batch, T frames, N points, P patches, M = P + N tokens, C channels. Tokens run [B, T, M, C]. Positions
live in a square space of `config.bins` pixels a side, whatever the frames' size; the public methods scale them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from training.models.layers.modules_jax import Conv, LayerNorm, Linear, RMSNorm, from_weights, key_stream
from training.models.layers.sampling_jax import first_peak, tent
from training.models.tapnext.config import TapnextConfig
from training.models.tapnext.position_tables import cubic_matrix, sincos_table

LRU_SHARPNESS = 8.0
"""The recurrence gate reaches from no decay to the learned decay to this power."""

UNSEEN = -1e4
"""Added to a score of the attention, it leaves no weight; half precision can hold it."""


class Memory(NamedTuple):
    """What a block remembers of every token: hidden [B, M, C], window [B, taps - 1, M, C] (its last inputs)."""

    hidden: Array
    window: Array


class TapnextState(NamedTuple):
    """Everything `step` needs of the past. A token whose rows are zero starts afresh at the next frame."""

    queries: Array
    """[B, N, 3] (t, y, x) in the model's space; t counts from the next frame, which is 0."""
    seen: Array
    """[B, M] 0 before the token's first frame, then 1."""
    hidden: Array
    """[depth, B, M, C]"""
    window: Array
    """[depth, B, taps - 1, M, C]"""


def scan(decay: Array, x: Array, before: Array) -> Array:
    """h[t] = decay[t] h[t - 1] + x[t] along axis 1 of [B, T, ...], from h[-1] = before [B, ...].

    In log2(T) passes, each of which doubles how far back a frame has looked; none for a single frame.
    """
    reach = 1
    while reach < x.shape[1]:
        x = jnp.concatenate([x[:, :reach], x[:, reach:] + decay[:, reach:] * x[:, :-reach]], 1)
        decay = jnp.concatenate([decay[:, :reach], decay[:, reach:] * decay[:, :-reach]], 1)
        reach *= 2
    return x + decay * before[:, None]


class BlockDiagonal(eqx.Module):
    """A linear layer for each group of channels."""

    weight: Array
    bias: Array

    def __init__(self, width: int, groups: int, keys: Iterator[Array]) -> None:
        group = width // groups
        self.weight = jax.random.normal(next(keys), (groups, group, group)) * group**-0.5
        self.bias = jnp.zeros((groups, group))

    def __call__(self, x: Array) -> Array:
        grouped = x.reshape(*x.shape[:-1], *self.bias.shape)
        return (jnp.einsum("...gi,gij->...gj", grouped, self.weight) + self.bias).reshape(x.shape)


class GatedRecurrence(eqx.Module):
    """The real-gated linear recurrent unit of Griffin (arXiv:2402.19427)."""

    decay: Array
    decay_gate: BlockDiagonal
    input_gate: BlockDiagonal

    def __init__(self, width: int, groups: int, keys: Iterator[Array]) -> None:
        slowest, fastest = 0.999, 0.9
        decay = jax.random.uniform(next(keys), (width,), minval=fastest, maxval=slowest)
        self.decay = jnp.log(decay ** (-1 / LRU_SHARPNESS) - 1)
        self.decay_gate = BlockDiagonal(width, groups, keys)
        self.input_gate = BlockDiagonal(width, groups, keys)

    def __call__(self, x: Array, hidden: Array, first: Array) -> Array:
        """x [B, T, M, C] to hidden states of that shape; first [B, T, M, 1] marks where a token begins."""
        gate = jax.nn.sigmoid(self.decay_gate(x).astype(jnp.float32))
        log_decay = -LRU_SHARPNESS * gate * jax.nn.softplus(self.decay.astype(jnp.float32))
        # Keeps the hidden state's variance at that of the input; a token's first frame has no past to add to.
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_decay), 1e-30))
        scale = jnp.where(first, 1.0, scale)
        gate = jax.nn.sigmoid(self.input_gate(x).astype(jnp.float32))
        return scan(jnp.exp(log_decay), x.astype(jnp.float32) * gate * scale, hidden)


class Recurrence(eqx.Module):
    """Along time, every token on its own: a short convolution, then a gated recurrence."""

    norm: RMSNorm
    gate: Linear
    inputs: Linear
    conv_weight: Array
    conv_bias: Array
    lru: GatedRecurrence
    out: Linear

    def __init__(self, config: TapnextConfig, keys: Iterator[Array]) -> None:
        width = config.width
        self.norm = RMSNorm(width, eps=1e-6)
        self.gate = Linear(width, width, keys)
        self.inputs = Linear(width, width, keys)
        self.conv_weight = jax.random.normal(next(keys), (config.taps, width)) * config.taps**-0.5
        self.conv_bias = jnp.zeros(width)
        self.lru = GatedRecurrence(width, config.heads, keys)
        self.out = Linear(width, width, keys)

    def __call__(self, x: Array, memory: Memory, first: Array) -> tuple[Array, Memory]:
        frames = x.shape[1]
        x = self.norm(x)
        window = jnp.concatenate([memory.window, self.inputs(x)], 1)
        y = sum(window[:, k : k + frames] * tap for k, tap in enumerate(self.conv_weight)) + self.conv_bias
        hidden = self.lru(y, memory.hidden, first)
        y = hidden.astype(x.dtype) * jax.nn.gelu(self.gate(x), approximate=True)
        return self.out(y), Memory(hidden[:, -1], window[:, frames:])


class GatedMlp(eqx.Module):
    norm: RMSNorm
    up: Linear
    down: Linear

    def __init__(self, config: TapnextConfig, keys: Iterator[Array]) -> None:
        self.norm = RMSNorm(config.width, eps=1e-6)
        self.up = Linear(config.width, 2 * config.mlp_width, keys)
        self.down = Linear(config.mlp_width, config.width, keys)

    def __call__(self, x: Array) -> Array:
        gate, x = jnp.split(self.up(self.norm(x)), 2, -1)
        return self.down(jax.nn.gelu(gate, approximate=True) * x)


class Attention(eqx.Module):
    """Across the tokens of a frame."""

    norm: LayerNorm
    query: Linear
    key: Linear
    value: Linear
    out: Linear
    heads: int = eqx.field(static=True)

    def __init__(self, config: TapnextConfig, keys: Iterator[Array]) -> None:
        self.heads = config.heads
        self.norm = LayerNorm(config.width, eps=1e-6)
        self.query = Linear(config.width, config.width, keys)
        self.key = Linear(config.width, config.width, keys)
        self.value = Linear(config.width, config.width, keys)
        self.out = Linear(config.width, config.width, keys)

    def __call__(self, x: Array, bias: Array | None = None) -> Array:
        """x: [B, T, M, C]; bias: [B T, 1, 1, M], added to the scores that each token gets from all others."""
        batch, frames, tokens, width = x.shape
        x = self.norm(x)
        query, key, value = (
            project(x).reshape(batch * frames, tokens, self.heads, -1) for project in (self.query, self.key, self.value)
        )
        y = jax.nn.dot_product_attention(query, key, value, bias)
        return self.out(y.reshape(batch, frames, tokens, width))


class Mlp(eqx.Module):
    norm: LayerNorm
    up: Linear
    down: Linear
    exact_gelu: bool = eqx.field(static=True)

    def __init__(self, config: TapnextConfig, keys: Iterator[Array]) -> None:
        self.norm = LayerNorm(config.width, eps=1e-6)
        self.up = Linear(config.width, config.mlp_width, keys)
        self.down = Linear(config.mlp_width, config.width, keys)
        self.exact_gelu = config.exact_gelu

    def __call__(self, x: Array) -> Array:
        return self.down(jax.nn.gelu(self.up(self.norm(x)), approximate=not self.exact_gelu))


class Block(eqx.Module):
    """TRecViT (arXiv:2412.14294): along time, then across the frame."""

    recurrence: Recurrence
    gated_mlp: GatedMlp
    attention: Attention
    mlp: Mlp

    def __init__(self, config: TapnextConfig, keys: Iterator[Array]) -> None:
        self.recurrence = Recurrence(config, keys)
        self.gated_mlp = GatedMlp(config, keys)
        self.attention = Attention(config, keys)
        self.mlp = Mlp(config, keys)

    def __call__(self, x: Array, memory: Memory, first: Array, bias: Array | None) -> tuple[Array, Memory]:
        y, memory = self.recurrence(x, memory, first)
        x = x + y
        x = x + self.gated_mlp(x)
        x = x + self.attention(x, bias)
        return x + self.mlp(x), memory


class Head(eqx.Module):
    hidden_0: Linear
    norm_0: LayerNorm
    hidden_1: Linear
    norm_1: LayerNorm
    out: Linear
    exact_gelu: bool = eqx.field(static=True)

    def __init__(self, config: TapnextConfig, outputs: int, keys: Iterator[Array]) -> None:
        self.hidden_0 = Linear(config.width, config.head_width, keys)
        self.norm_0 = LayerNorm(config.head_width, eps=config.final_norm_eps)
        self.hidden_1 = Linear(config.head_width, config.head_width, keys)
        self.norm_1 = LayerNorm(config.head_width, eps=config.final_norm_eps)
        self.out = Linear(config.head_width, outputs, keys)
        self.exact_gelu = config.exact_gelu

    def __call__(self, x: Array) -> Array:
        x = jax.nn.gelu(self.norm_0(self.hidden_0(x)), approximate=not self.exact_gelu)
        return self.out(jax.nn.gelu(self.norm_1(self.hidden_1(x)), approximate=not self.exact_gelu))


def soft_argmax(logits: Array, temperature: float, radius: int) -> Array:
    """Mean bin centre [...] of logits [..., bins], over the bins around the likeliest one."""
    bins = jnp.arange(logits.shape[-1], dtype=logits.dtype)
    near = jnp.abs(bins - first_peak(logits)) <= radius
    weights = jax.nn.softmax(logits * temperature) * near
    return (weights * (bins + 0.5)).sum(-1) / weights.sum(-1)


class Tapnext(eqx.Module):
    """See the module's docstring. Frames may have any size that divides into patches."""

    patches: Conv
    patch_positions: Array
    query_token: Array
    unknown_token: Array
    mask_token: Array
    blocks: list[Block]
    norm: LayerNorm
    coordinate_head: Head
    visible_head: Head
    config: TapnextConfig = eqx.field(static=True)

    def __init__(self, config: TapnextConfig, key: Array) -> None:
        keys = key_stream(key)
        self.config = config
        rows, columns = config.grid
        deviation = config.width**-0.5
        self.patches = Conv(3, config.width, config.patch, keys, stride=config.patch)
        self.patch_positions = jax.random.normal(next(keys), (rows * columns, config.width)) * deviation
        self.query_token = jax.random.normal(next(keys), (config.width,)) * deviation
        self.unknown_token = jax.random.normal(next(keys), (config.width,)) * deviation
        self.mask_token = jax.random.normal(next(keys), (config.width,)) * deviation
        self.blocks = [Block(config, keys) for _ in range(config.depth)]
        self.norm = LayerNorm(config.width, eps=config.final_norm_eps)
        self.coordinate_head = Head(config, 2 * config.bins, keys)
        self.visible_head = Head(config, 1, keys)

    @classmethod
    def from_weights(cls, config: TapnextConfig, weights: Mapping[str, ArrayLike]) -> Tapnext:
        """The model with weights by the names of the torch state_dict. Raises ValueError if they do not fit."""
        return from_weights(eqx.filter_eval_shape(cls, config, jax.random.key(0)), weights)

    # The parts.

    def patch_tokens(self, video: Array) -> Array:
        """Frames [B, T, H, W, 3] in [-1, 1] to a token for each patch [B, T, P, C]."""
        batch, frames = video.shape[:2]
        tokens = self.patches(video.reshape(-1, *video.shape[2:]))
        positions = self.positions_on(tokens.shape[1:3])
        return tokens.reshape(batch, frames, *positions.shape) + positions

    def positions_on(self, grid: tuple[int, int]) -> Array:
        """The position table [P, C] for a grid of (rows, columns) patches."""
        if grid == self.config.grid:
            return self.patch_positions
        table = self.patch_positions.reshape(*self.config.grid, -1)
        rows, columns = (cubic_matrix(size, to) for size, to in zip(self.config.grid, grid, strict=True))
        return jnp.einsum("yi,xj,ijc->yxc", rows, columns, table).reshape(-1, table.shape[-1])

    def point_tokens(self, queries: Array, frames: int) -> Array:
        """Tokens [B, T, N, C]: unknown before a query's frame, its position in that frame, then masked."""
        centre = queries[..., 1:].clip(0.5, self.config.bins - 0.5)
        sincos = sincos_table(self.config.bins, self.config.width // 2)
        y, x = (tent(centre[..., i], self.config.bins) @ sincos for i in range(2))
        located = self.query_token + jnp.concatenate([x, y], -1)
        frame = jnp.arange(frames)[:, None, None]
        t = queries[:, None, :, :1].round()
        return jnp.where(t > frame, self.unknown_token, jnp.where(t == frame, located[:, None], self.mask_token))

    def attention_bias(self, active: Array, patches: int, frames: int) -> Array:
        """active [B, N] as in `advance` to the bias [B T, 1, 1, M] of every attention."""
        bias = jnp.pad((1 - active) * UNSEEN, ((0, 0), (patches, 0)))
        return jnp.repeat(bias, frames, 0)[:, None, None]

    def heads(self, points: Array) -> tuple[Array, Array, Array]:
        """Tokens [B, T, N, C] to xy [B, T, N, 2], logits of its bins [..., 2, bins], visible logits [B, T, N]."""
        logits = self.coordinate_head(points).astype(jnp.float32).reshape(*points.shape[:-1], 2, self.config.bins)
        xy = soft_argmax(logits, self.config.softmax_temperature, self.config.softargmax_radius)
        return xy, logits, self.visible_head(points)[..., 0].astype(jnp.float32)

    # Any number of frames.

    @eqx.filter_jit
    def advance(
        self, video: Array, state: TapnextState, active: Array | None = None
    ) -> tuple[dict[str, Array], TapnextState]:
        """The next frames [B, T, H, W, 3]: the dict of `clip` and the new state.

        active: [B, N] 1 for points and 0 for rows that only fill up, which no other token sees; None: all are points.
        """
        frames = video.shape[1]
        patches = self.patch_tokens(video)
        bias = None if active is None else self.attention_bias(active, patches.shape[2], frames)
        memories = []
        for tokens, memory in self.passes(patches, state, bias):
            memories.append(memory)
            last = tokens
        hidden, window = (jnp.stack(field) for field in zip(*memories, strict=True))
        queries = state.queries - jnp.array([frames, 0, 0])
        state = TapnextState(queries, jnp.ones_like(state.seen), hidden, window)
        return self.outputs(last[:, :, patches.shape[2] :], video.shape[2:4]), state

    def passes(self, patches: Array, state: TapnextState, bias: Array | None = None) -> Iterator[tuple[Array, Memory]]:
        """Patch tokens [B, T, P, C], and those of the points behind them, through the blocks.

        Yields, for each block, the tokens after it [B, T, P + N, C], and what it remembers.
        """
        frames = patches.shape[1]
        x = jnp.concatenate([patches, self.point_tokens(state.queries, frames)], 2)
        first = (state.seen[:, None] == 0) & (jnp.arange(frames)[:, None] == 0)
        for block, *memory in zip(self.blocks, state.hidden, state.window, strict=True):
            x, remembered = block(x, Memory(*memory), first[..., None], bias)
            yield x, remembered

    def outputs(self, points: Array, size: tuple[int, int]) -> dict[str, Array]:
        """The dict of `clip`, read off tokens [B, T, N, C] of points in frames of `size` (height, width)."""
        xy, logits, visible = self.heads(self.norm(points))
        tracks = xy * jnp.array([size[1], size[0]]) / self.config.bins
        outputs = {"tracks": tracks, "visible_logits": visible, "coordinate_logits": logits}
        return {name: array.swapaxes(1, 2) for name, array in outputs.items()}

    # For training.

    def predictions(self, video: Array, queries_tyx: Array, hidden_from: Array) -> list[dict[str, Array]]:
        """The dict of `clip` after each block, by the same heads; the last is what `clip` gives.

        Args:
            video, queries_tyx: as in `clip`; all frames go through at once.
            hidden_from: [B] a frame, from which on the picture is hidden: patches become the token of masked points,
                each at its place. The number of frames hides nothing.
        """
        state, patches = self.init(video[:, :1], queries_tyx), self.patch_tokens(video)
        hidden = jnp.arange(video.shape[1]) >= hidden_from[:, None]
        rows, columns = (side // self.config.patch for side in video.shape[2:4])
        patches = jnp.where(hidden[..., None, None], self.mask_token + self.positions_on((rows, columns)), patches)
        passes = self.passes(patches, state)
        return [self.outputs(tokens[:, :, patches.shape[2] :], video.shape[2:4]) for tokens, _ in passes]

    # Whole clips.

    def clip(self, video: Array, queries_tyx: Array, chunk: int = 8) -> dict[str, Array]:
        """Tracks query points through a clip. Points see one another: more of them change the others a little.

        Args:
            video: [B, T, H, W, 3] float in [-1, 1]; H and W multiples of the patch size.
            queries_tyx: [B, N, 3] (frame, y, x) in pixels of the video. Before its frame a track means nothing.
            chunk: frames handled at once. The recurrence goes on from one chunk to the next, so this changes
                memory and nothing else.
        Returns:
            tracks [B, N, T, 2] (x, y) in pixels of the video, visible_logits [B, N, T], and the logits that
            tracks are read off: coordinate_logits [B, N, T, 2, bins], x then y.
        """
        state = self.init(video[:, :1], queries_tyx)
        parts = []
        for start in range(0, video.shape[1], chunk):
            part, state = self.advance(video[:, start : start + chunk], state)
            parts.append(part)
        return {name: jnp.concatenate([part[name] for part in parts], 2) for name in parts[0]}

    # Frame by frame.

    def init(self, frame: Array, queries_tyx: Array) -> TapnextState:
        """State for points queries_tyx [B, N, 3], t counted from frame [B, 1, H, W, 3], which `step` gets first."""
        c = self.config
        batch, _, height, width, _ = frame.shape
        if height % c.patch or width % c.patch:
            raise ValueError(
                f"frames of {height}x{width} pixels do not divide into patches of {c.patch}x{c.patch}; "
                f"resize them (this variant was trained on {c.resolution[0]}x{c.resolution[1]})"
            )
        tokens = height // c.patch * (width // c.patch) + queries_tyx.shape[1]
        queries = queries_tyx * jnp.array([1, c.bins / height, c.bins / width])
        return TapnextState(
            queries,
            jnp.zeros((batch, tokens)),
            jnp.zeros((c.depth, batch, tokens, c.width)),
            jnp.zeros((c.depth, batch, c.taps - 1, tokens, c.width)),
        )

    def step(
        self, frame: Array, state: TapnextState, active: Array | None = None
    ) -> tuple[dict[str, Array], TapnextState]:
        """The next frame [B, 1, H, W, 3]: the dict of `clip` for T = 1, and the new state; `active` as in `advance`."""
        return self.advance(frame, state, active)
