"""TAPNext in torch: one module for every variant of `training.models.tapnext.config.TapnextConfig`.

Read from the top: in every frame, each patch of the image is a token and so is each point; where a query lies
is told once, in the token of its frame. A block looks along time by a recurrence, every token on its own, then
across the tokens of a frame by attention. Heads read position and visibility off a point's tokens.
`Tapnext.clip` tracks through a whole clip, `init` and `step` frame by frame, with the same result.

Shapes: B batch, T frames, N points, P patches, M = P + N tokens, C channels. Tokens run [B, T, M, C]. Positions
live in a square space of `config.bins` pixels a side, whatever the frames' size; the public methods scale them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.layers.sampling_torch import first_peak, tent
from training.models.tapnext.config import TapnextConfig
from training.models.tapnext.position_tables import cubic_matrix, sincos_table

LRU_SHARPNESS = 8.0
"""The recurrence gate reaches from no decay to the learned decay to this power."""

UNSEEN = -1e4
"""Added to a score of the attention, it leaves no weight; half precision can hold it."""


class Memory(NamedTuple):
    """What a block remembers of every token: hidden [B, M, C], window [B, taps - 1, M, C] (its last inputs)."""

    hidden: Tensor
    window: Tensor


class TapnextState(NamedTuple):
    """Everything `step` needs of the past. A token whose rows are zero starts afresh at the next frame."""

    queries: Tensor
    """[B, N, 3] (t, y, x) in the model's space; t counts from the next frame, which is 0."""
    seen: Tensor
    """[B, M] 0 before the token's first frame, then 1."""
    hidden: Tensor
    """[depth, B, M, C]"""
    window: Tensor
    """[depth, B, taps - 1, M, C]"""


def scan(decay: Tensor, x: Tensor, before: Tensor) -> Tensor:
    """h[t] = decay[t] h[t - 1] + x[t] along axis 1 of [B, T, ...], from h[-1] = before [B, ...].

    In log2(T) passes, each of which doubles how far back a frame has looked; none for a single frame.
    """
    reach = 1
    while reach < x.shape[1]:
        x = torch.cat([x[:, :reach], x[:, reach:] + decay[:, reach:] * x[:, :-reach]], 1)
        decay = torch.cat([decay[:, :reach], decay[:, reach:] * decay[:, :-reach]], 1)
        reach *= 2
    return x + decay * before[:, None]


class BlockDiagonal(nn.Module):
    """A linear layer for each group of channels."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        group = width // groups
        self.weight = nn.Parameter(torch.randn(groups, group, group) * group**-0.5)
        self.bias = nn.Parameter(torch.zeros(groups, group))

    def forward(self, x: Tensor) -> Tensor:
        # Few axes: Core ML knows no tensors of more than five.
        rows = x.flatten(0, -2).unflatten(-1, self.bias.shape)
        return (torch.einsum("rgi,gij->rgj", rows, self.weight) + self.bias).reshape(x.shape)


class GatedRecurrence(nn.Module):
    """The real-gated linear recurrent unit of Griffin (arXiv:2402.19427)."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        slowest, fastest = 0.999, 0.9
        decay = torch.rand(width) * (slowest - fastest) + fastest
        self.decay = nn.Parameter((decay ** (-1 / LRU_SHARPNESS) - 1).log())
        self.decay_gate = BlockDiagonal(width, groups)
        self.input_gate = BlockDiagonal(width, groups)

    def forward(self, x: Tensor, hidden: Tensor, first: Tensor) -> Tensor:
        """x [B, T, M, C] to hidden states of that shape; first [B, T, M, 1] marks where a token begins."""
        gate = self.decay_gate(x).float().sigmoid()
        log_decay = -LRU_SHARPNESS * gate * F.softplus(self.decay.float())
        # Keeps the hidden state's variance at that of the input; a token's first frame has no past to add to.
        scale = torch.expm1(2 * log_decay).neg().clamp(min=1e-30).sqrt()
        scale = torch.where(first, 1.0, scale)
        return scan(log_decay.exp(), x.float() * self.input_gate(x).float().sigmoid() * scale, hidden)


class Recurrence(nn.Module):
    """Along time, every token on its own: a short convolution, then a gated recurrence."""

    def __init__(self, config: TapnextConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.gate = nn.Linear(width, width)
        self.inputs = nn.Linear(width, width)
        self.conv_weight = nn.Parameter(torch.randn(config.taps, width) * config.taps**-0.5)
        self.conv_bias = nn.Parameter(torch.zeros(width))
        self.lru = GatedRecurrence(width, config.heads)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Memory, first: Tensor) -> tuple[Tensor, Memory]:
        frames = x.shape[1]
        x = self.norm(x)
        window = torch.cat([memory.window, self.inputs(x)], 1)
        y = sum(window[:, k : k + frames] * tap for k, tap in enumerate(self.conv_weight)) + self.conv_bias
        hidden = self.lru(y, memory.hidden, first)
        y = hidden.to(x.dtype) * F.gelu(self.gate(x), approximate="tanh")
        return self.out(y), Memory(hidden[:, -1], window[:, frames:])


class GatedMlp(nn.Module):
    def __init__(self, config: TapnextConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        self.up = nn.Linear(config.width, 2 * config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        gate, x = self.up(self.norm(x)).chunk(2, -1)
        return self.down(F.gelu(gate, approximate="tanh") * x)


class Attention(nn.Module):
    """Across the tokens of a frame."""

    def __init__(self, config: TapnextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: [B, T, M, C]; bias: [B T, 1, 1, M], added to the scores that each token gets from all others."""
        lead = x.shape[:2]
        # Four axes are what exporters know attention with.
        x = self.norm(x).flatten(0, 1)
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            for project in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(query, key, value, bias)
        return self.out(y.transpose(-2, -3).flatten(-2)).unflatten(0, lead)


class Mlp(nn.Module):
    def __init__(self, config: TapnextConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)
        self.gelu = nn.GELU(approximate="none" if config.exact_gelu else "tanh")

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.gelu(self.up(self.norm(x))))


class Block(nn.Module):
    """TRecViT (arXiv:2412.14294): along time, then across the frame."""

    def __init__(self, config: TapnextConfig) -> None:
        super().__init__()
        self.recurrence = Recurrence(config)
        self.gated_mlp = GatedMlp(config)
        self.attention = Attention(config)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, memory: Memory, first: Tensor, bias: Tensor | None) -> tuple[Tensor, Memory]:
        y, memory = self.recurrence(x, memory, first)
        x = x + y
        x = x + self.gated_mlp(x)
        x = x + self.attention(x, bias)
        return x + self.mlp(x), memory


class Head(nn.Module):
    def __init__(self, config: TapnextConfig, outputs: int) -> None:
        super().__init__()
        self.hidden_0 = nn.Linear(config.width, config.head_width)
        self.norm_0 = nn.LayerNorm(config.head_width, eps=config.final_norm_eps)
        self.hidden_1 = nn.Linear(config.head_width, config.head_width)
        self.norm_1 = nn.LayerNorm(config.head_width, eps=config.final_norm_eps)
        self.out = nn.Linear(config.head_width, outputs)
        self.gelu = nn.GELU(approximate="none" if config.exact_gelu else "tanh")

    def forward(self, x: Tensor) -> Tensor:
        x = self.gelu(self.norm_0(self.hidden_0(x)))
        return self.out(self.gelu(self.norm_1(self.hidden_1(x))))


def soft_argmax(logits: Tensor, temperature: float, radius: int) -> Tensor:
    """Mean bin centre [...] of logits [..., bins], over the bins around the likeliest one."""
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    near = (bins - first_peak(logits)).abs() <= radius
    weights = (logits * temperature).softmax(-1) * near
    return (weights * (bins + 0.5)).sum(-1) / weights.sum(-1)


class Tapnext(nn.Module):
    """See the module's docstring. Frames may have any size that divides into patches."""

    def __init__(self, config: TapnextConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        deviation = config.width**-0.5
        self.patches = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.patch_positions = nn.Parameter(torch.randn(rows * columns, config.width) * deviation)
        self.query_token = nn.Parameter(torch.randn(config.width) * deviation)
        self.unknown_token = nn.Parameter(torch.randn(config.width) * deviation)
        self.mask_token = nn.Parameter(torch.randn(config.width) * deviation)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.final_norm_eps)
        self.coordinate_head = Head(config, 2 * config.bins)
        self.visible_head = Head(config, 1)
        table = torch.from_numpy(sincos_table(config.bins, config.width // 2))
        self.register_buffer("sincos", table, persistent=False)

    # The parts.

    def patch_tokens(self, video: Tensor) -> Tensor:
        """Frames [B, T, H, W, 3] in [-1, 1] to a token for each patch [B, T, P, C]."""
        tokens = self.patches(video.flatten(0, 1).permute(0, 3, 1, 2))
        positions = self.positions_on(tokens.shape[-2:])
        return (tokens.flatten(2).transpose(1, 2) + positions).unflatten(0, video.shape[:2])

    def positions_on(self, grid: tuple[int, int]) -> Tensor:
        """The position table [P, C] for a grid of (rows, columns) patches."""
        if tuple(grid) == self.config.grid:
            return self.patch_positions
        table = self.patch_positions.unflatten(0, self.config.grid)
        rows, columns = (
            table.new_tensor(cubic_matrix(size, to)) for size, to in zip(self.config.grid, grid, strict=True)
        )
        return torch.einsum("yi,xj,ijc->yxc", rows, columns, table).flatten(0, 1)

    def point_tokens(self, queries: Tensor, frames: int) -> Tensor:
        """Tokens [B, T, N, C]: unknown before a query's frame, its position in that frame, then masked."""
        centre = queries[..., 1:].clamp(0.5, self.config.bins - 0.5)
        y, x = (tent(p, self.config.bins) @ self.sincos for p in centre.unbind(-1))
        located = self.query_token + torch.cat([x, y], -1)
        frame = torch.arange(frames, device=queries.device)[:, None, None]
        t = queries[:, None, :, :1].round()
        return torch.where(t > frame, self.unknown_token, torch.where(t == frame, located[:, None], self.mask_token))

    def attention_bias(self, active: Tensor, patches: int, frames: int) -> Tensor:
        """active [B, N] as in `advance` to the bias [B T, 1, 1, M] of every attention."""
        bias = F.pad((1 - active) * UNSEEN, (patches, 0))
        return bias[:, None].expand(-1, frames, -1).flatten(0, 1)[:, None, None]

    def heads(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, T, N, C] to xy [B, T, N, 2], logits of its bins [..., 2, bins], visible logits [B, T, N]."""
        logits = self.coordinate_head(points).float().unflatten(-1, (2, self.config.bins))
        xy = soft_argmax(logits, self.config.softmax_temperature, self.config.softargmax_radius)
        return xy, logits, self.visible_head(points)[..., 0].float()

    # Any number of frames.

    def advance(
        self, video: Tensor, state: TapnextState, active: Tensor | None = None
    ) -> tuple[dict[str, Tensor], TapnextState]:
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
        hidden, window = (torch.stack(field) for field in zip(*memories, strict=True))
        queries = state.queries - state.queries.new_tensor([frames, 0, 0])
        state = TapnextState(queries, torch.ones_like(state.seen), hidden, window)
        return self.outputs(last[:, :, patches.shape[2] :], video.shape[2:4]), state

    def passes(
        self, patches: Tensor, state: TapnextState, bias: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Memory]]:
        """Patch tokens [B, T, P, C], and those of the points behind them, through the blocks.

        Yields, for each block, the tokens after it [B, T, P + N, C], and what it remembers.
        """
        frames = patches.shape[1]
        x = torch.cat([patches, self.point_tokens(state.queries, frames)], 2)
        first = (state.seen[:, None] == 0) & (torch.arange(frames, device=x.device)[:, None] == 0)
        for block, *memory in zip(self.blocks, state.hidden, state.window, strict=True):
            x, remembered = block(x, Memory(*memory), first[..., None], bias)
            yield x, remembered

    def outputs(self, points: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """The dict of `clip`, read off tokens [B, T, N, C] of points in frames of `size` (height, width)."""
        xy, logits, visible = self.heads(self.norm(points))
        tracks = xy * xy.new_tensor([size[1], size[0]]) / self.config.bins
        outputs = {"tracks": tracks, "visible_logits": visible, "coordinate_logits": logits}
        return {name: tensor.transpose(1, 2) for name, tensor in outputs.items()}

    # For training.

    def predictions(self, video: Tensor, queries_tyx: Tensor, hidden_from: Tensor) -> list[dict[str, Tensor]]:
        """The dict of `clip` after each block, by the same heads; the last is what `clip` gives.

        Args:
            video, queries_tyx: as in `clip`; all frames go through at once.
            hidden_from: [B] a frame, from which on the picture is hidden: patches become the token of masked points,
                each at its place. The number of frames hides nothing.
        """
        state, patches = self.init(video[:, :1], queries_tyx), self.patch_tokens(video)
        hidden = torch.arange(video.shape[1], device=video.device) >= hidden_from[:, None]
        blank = self.mask_token + self.positions_on(tuple(side // self.config.patch for side in video.shape[2:4]))
        patches = torch.where(hidden[..., None, None], blank, patches)
        passes = self.passes(patches, state)
        return [self.outputs(tokens[:, :, patches.shape[2] :], video.shape[2:4]) for tokens, _ in passes]

    # Whole clips.

    def clip(self, video: Tensor, queries_tyx: Tensor, chunk: int = 8) -> dict[str, Tensor]:
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
        for some in video.split(chunk, 1):
            part, state = self.advance(some, state)
            parts.append(part)
        return {name: torch.cat([part[name] for part in parts], 2) for name in parts[0]}

    # Frame by frame.

    def init(self, frame: Tensor, queries_tyx: Tensor) -> TapnextState:
        """State for points queries_tyx [B, N, 3], t counted from frame [B, 1, H, W, 3], which `step` gets first."""
        c = self.config
        batch, _, height, width, _ = frame.shape
        if height % c.patch or width % c.patch:
            raise ValueError(
                f"frames of {height}x{width} pixels do not divide into patches of {c.patch}x{c.patch}; "
                f"resize them (this variant was trained on {c.resolution[0]}x{c.resolution[1]})"
            )
        tokens = height // c.patch * (width // c.patch) + queries_tyx.shape[1]
        queries = queries_tyx * queries_tyx.new_tensor([1, c.bins / height, c.bins / width])
        zeros = self.patch_positions.new_zeros
        return TapnextState(
            queries,
            zeros(batch, tokens),
            zeros(c.depth, batch, tokens, c.width, dtype=torch.float32),
            zeros(c.depth, batch, c.taps - 1, tokens, c.width),
        )

    def step(
        self, frame: Tensor, state: TapnextState, active: Tensor | None = None
    ) -> tuple[dict[str, Tensor], TapnextState]:
        """The next frame [B, 1, H, W, 3]: the dict of `clip` for T = 1, and the new state; `active` as in `advance`."""
        return self.advance(frame, state, active)
