"""`training.models.layers.efficientnet` in torch, and a top-down part that makes two grids. Images are [F, C, H, W]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.models.layers.efficientnet import FINE, STEM, TAPS, Block, blocks, tap_widths
from training.models.layers.modules_torch import double, same_pad


class InvertedResidual(nn.Module):
    """One block of the table."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        padding = 0 if block.stride > 1 else block.kernel // 2
        self.expand = nn.Conv2d(block.inputs, block.width, 1) if block.widens else None
        self.depthwise = nn.Conv2d(
            block.width, block.width, block.kernel, block.stride, padding=padding, groups=block.width
        )
        self.project = nn.Conv2d(block.width, block.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        if self.block.stride > 1:
            y = same_pad(y, self.block.kernel, self.block.stride)
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.block.adds_input else y


class Backbone(nn.Module):
    """Frames [F, 3, H, W] in [-1, 1] to features at 1/4, 1/8 and 1/16; the last of a size that is rounded up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 3, 2)
        self.blocks = nn.ModuleList(InvertedResidual(block) for block in blocks())

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(same_pad(frames, 3, 2)))
        features = []
        for i, block in enumerate(self.blocks):
            height, width = x.shape[-2:]
            if block.block.stride > 1 and (height % 2 or width % 2):
                x = F.pad(x, (0, width % 2, 0, height % 2))
            x = block(x)
            if i in TAPS:
                features.append(x)
        return features


class TopDown(nn.Module):
    """Features at 1/4, 1/8 and 1/16 to grids at 1/4 and 1/8 that know of the coarser ones."""

    def __init__(self, high: int, low: int) -> None:
        super().__init__()
        quarter, eighth, sixteenth = tap_widths()
        self.low_side = nn.Conv2d(eighth, low, 1)
        self.low_down = nn.Conv2d(sixteenth, low, 1)
        self.low_out = nn.Conv2d(low, low, 3, padding=1)
        self.high_side = nn.Conv2d(quarter, high, 1)
        self.high_down = nn.Conv2d(low, high, 1)
        self.high_out = nn.Conv2d(high, high, 3, padding=1)

    def forward(self, quarter: Tensor, eighth: Tensor, sixteenth: Tensor) -> tuple[Tensor, Tensor]:
        above = double(self.low_down(sixteenth))
        height, width = eighth.shape[-2:]
        if height % 2 or width % 2:
            above = above[..., :height, :width]
        low = self.low_out(F.relu(self.low_side(eighth) + above))
        high = self.high_out(F.relu(self.high_side(quarter) + double(self.high_down(low))))
        return high, low


class Fine(nn.Module):
    """Frames [F, 3, H, W] to what is added to the grid at 1/4."""

    def __init__(self, high: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, FINE, 4, 2, padding=1)
        self.second = nn.Conv2d(FINE, high, 4, 2, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        return self.second(F.relu(self.first(frames)))


class EfficientNetLite(nn.Module):
    """Frames [F, 3, H, W] in [-1, 1], sides multiples of 8, to grids [F, high, H/4, W/4] and [F, low, H/8, W/8]."""

    def __init__(self, high: int, low: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.top_down = TopDown(high, low)
        self.fine = Fine(high)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        high, low = self.top_down(*self.backbone(frames))
        return high + self.fine(frames), low
