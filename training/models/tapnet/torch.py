"""TAP-Net in torch: one module for every variant of `training.models.tapnet.config.TapnetConfig`.

Read from the top: the encoder turns frames into a grid of features each, in which frames see their neighbours; a query
point's features are read off the grid of its frame; the cost-volume head finds them in every frame on its own. Nothing
is refined.

Shapes: B batch, T frames, N points, h x w grid cells. Inside, tensors of points run [B, T, N, ...]; the public method
returns [B, N, T, ...]. Positions are in pixels of the video.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapsdk.geometry import Size
from training.models.layers.modules_torch import BatchNorm, CostVolumeLayers, same_pad
from training.models.layers.sampling_torch import rescale, sample_clip, soft_argmax, unit
from training.models.tapnet.config import SHIFTED_SHARE, SOFT_ARGMAX_RADIUS, TapnetConfig


class Estimate(NamedTuple):
    """One guess for every point and frame: xy [B, T, N, 2], occlusion logits [B, T, N]."""

    xy: Tensor
    occlusion: Tensor


def shift(x: Tensor, frames: int) -> Tensor:
    """[B T, C, h, w] with a share of channels from the frame after, and one from the frame before, where there are any.

    The shares change places: what comes from the frame after are its last channels, and they become the first.
    """
    first = x.shape[1] // SHIFTED_SHARE
    last = x.shape[1] - first
    x = x.unflatten(0, (-1, frames))
    after = F.pad(x[:, :, last:], (0, 0) * 3 + (0, 1))[:, 1:]
    before = F.pad(x[:, :, :first], (0, 0) * 3 + (1, 0))[:, :-1]
    return torch.cat([after, x[:, :, first:last], before], 2).flatten(0, 1)


class Block(nn.Module):
    """Pre-activation residual block with batch normalisation; some look at the frames before and after."""

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool, shifted: bool) -> None:
        super().__init__()
        self.stride, self.shifted = stride, shifted
        self.norm_0 = BatchNorm(inputs)
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.norm_1 = BatchNorm(outputs)
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if project else None

    def forward(self, x: Tensor, frames: int, present: Tensor | None) -> Tensor:
        """x: [B T, C, h, w] of clips of so many frames. present: as in `Tapnet.encode`, [B T, 1, 1, 1]."""
        y = F.relu(self.norm_0(x))
        shortcut = x if self.projection is None else self.projection(y)
        if self.shifted:
            y = shift(y if present is None else y * present, frames)
        y = self.conv_0(same_pad(y, 3, self.stride))
        return self.conv_1(F.relu(self.norm_1(y))) + shortcut


class Encoder(nn.Module):
    """Frames [B T, 3, H, W] to features [B T, C, h, w]."""

    def __init__(self, config: TapnetConfig) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, config.stem, 7, 2, bias=False)
        self.units = nn.ModuleList()
        inputs = config.stem
        for outputs, stride, shifted in zip(config.channels, config.strides, config.shifted, strict=True):
            first = Block(inputs, outputs, stride, project=True, shifted=shifted)
            others = (Block(outputs, outputs, 1, project=False, shifted=shifted) for _ in range(config.blocks - 1))
            self.units.append(nn.ModuleList([first, *others]))
            inputs = outputs

    def forward(self, x: Tensor, frames: int, present: Tensor | None) -> Tensor:
        x = self.stem(same_pad(x, 7, 2))
        x = F.max_pool2d(same_pad(x, 3, 2, -torch.inf), 3, 2)
        for blocks in self.units:
            for block in blocks:
                x = block(x, frames, present)
        return x


class CostVolumeHead(CostVolumeLayers):
    """From scores of every cell to a heatmap and a logit, per point and frame."""

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [M, 1, h, w] to heatmap logits [M, h, w] and occlusion logits [M]."""
        x = F.relu(self.shared(scores))
        pooled = self.occlusion_conv(same_pad(x, 3, 2)).mean((-1, -2))
        return self.heatmap(x)[:, 0], self.occlusion_out(F.relu(self.occlusion_hidden(pooled)))[:, 0]


class Tapnet(nn.Module):
    """See the module's docstring. Frames may have any size."""

    def __init__(self, config: TapnetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = CostVolumeHead(config.head, logits=1)

    def encode(self, video: Tensor, present: Tensor | None = None) -> Tensor:
        """Frames [B, T, H, W, 3] in [-1, 1] to unit features [B, T, h, w, C], a cell for `config.stride` pixels.

        present: [B, T] 1 for frames and 0 for what only fills up, as after a video's end; None: all are frames.
        """
        mask = None if present is None else present.flatten()[:, None, None, None]
        features = self.encoder(video.flatten(0, 1).permute(0, 3, 1, 2), video.shape[1], mask)
        return unit(features.permute(0, 2, 3, 1)).unflatten(0, video.shape[:2])

    def describe(self, grid: Tensor, queries_tyx: Tensor, size: Size) -> Tensor:
        """Features [B, N, C] of queries [B, N, 3] (t, y, x; pixels of frames of `size`) in grid [B, T, h, w, C]."""
        scale = queries_tyx.new_tensor([1, grid.shape[2] / size[0], grid.shape[3] / size[1]])
        return sample_clip(grid, queries_tyx * scale)

    def locate(self, grid: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Finds features [F, N, C], or [1, N, C] for all frames, in grid [F, h, w, C] by the cost volume.

        Returns xy [F, N, 2] in grid cells and occlusion logits [F, N].
        """
        (frames, height, width, _), points = grid.shape, query.shape[1]
        scores = query @ grid.flatten(1, 2).transpose(1, 2)
        heatmap, occlusion = self.head(scores.reshape(-1, 1, height, width))
        share = (heatmap * self.config.softmax_temperature).flatten(-2).softmax(-1).reshape(heatmap.shape)
        xy = soft_argmax(share, SOFT_ARGMAX_RADIUS)
        return xy.reshape(frames, points, 2), occlusion.reshape(frames, points)

    def trajectories(self, grid: Tensor, queries_tyx: Tensor, size: Size) -> Estimate:
        """Queries [B, N, 3] in all frames of grid [B, T, h, w, C]; positions are in pixels of frames of `size`.

        In a query's own frame, to which a t between two is rounded, it is where it was asked for.
        """
        lead = grid.shape[:2]
        query = self.describe(grid, queries_tyx, size)[:, None].expand(-1, lead[1], -1, -1)
        xy, occlusion = self.locate(grid.flatten(0, 1), query.flatten(0, 1))
        xy = rescale(xy, grid.shape[2:4], size).unflatten(0, lead)
        frame = torch.arange(lead[1], device=xy.device)[:, None]
        asked = queries_tyx[:, None, :, 0].round() == frame
        xy = torch.where(asked[..., None], queries_tyx[:, None, :, 1:].flip(-1), xy)
        return Estimate(xy, occlusion.unflatten(0, lead))

    def clip(self, video: Tensor, queries_tyx: Tensor, chunk: int = 64) -> dict[str, Tensor]:
        """Tracks query points through a clip.

        Args:
            video: [B, T, H, W, 3] float in [-1, 1].
            queries_tyx: [B, N, 3] (frame, y, x) in pixels of the video.
            chunk: queries handled at once. They do not see one another, so this changes memory and nothing else.
        Returns:
            tracks [B, N, T, 2] (x, y) in pixels of the video, the query itself in its own frame, and occlusion
            [B, N, T] logits.
        """
        grid, size = self.encode(video), tuple(video.shape[2:4])
        parts = [self.trajectories(grid, some, size) for some in queries_tyx.split(chunk, 1)]
        xy, occlusion = (torch.cat(field, 2).transpose(1, 2) for field in zip(*parts, strict=True))
        return {"tracks": xy, "occlusion": occlusion}
