"""TAP-Net as stages.

encode  frames -> a grid for each       query   grids, points -> features       track   grids, features -> xy, logit

Frames see their neighbours in `encode` alone, so that it works with a margin, and once for all points.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from export.stages import Cut, Stage, Style
from tapsdk.artifact.manifest import FRAMES, FrameSpec, PointSpec, StageSpec, TensorSpec, Whole
from tapsdk.geometry import Size
from training.models.layers.modules_torch import BatchNorm
from training.models.layers.sampling_torch import rescale, tent
from training.models.tapnet.torch import Tapnet

N = "N"
CHUNK = 32
"""Frames that get their grids, and tracks, at once. The first layers take 4 MB for each frame that is looked at."""
FIXED_CHUNK = 16
"""The same where so many are worked on in any case, however few there are."""
EXACT = ("model.head",)
"""Positions are read off its heatmap."""


class Encode(nn.Module):
    def __init__(self, model: Tapnet) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, *present: Tensor) -> Tensor:
        """present: which frames are some, where not all need be."""
        return self.model.encode(frame[None], *(mask[None] for mask in present))[0]


class Describe(nn.Module):
    def __init__(self, space: Size) -> None:
        super().__init__()
        self.space = space

    def forward(self, grid: Tensor, xy: Tensor, delay: Tensor) -> Tensor:
        """`Tapnet.describe` by products alone, which every format knows."""
        frames, height, width, channels = grid.shape
        x, y = rescale(xy, self.space, (height, width)).unbind(-1)
        columns = tent(x.clamp(0.5, width - 0.5), width)
        rows = tent(y.clamp(0.5, height - 0.5), height)
        cells = (rows[:, :, None] * columns[:, None, :]).flatten(1)
        weights = tent(delay + 0.5, frames)[:, :, None] * cells[:, None, :]
        return weights.flatten(1) @ grid.reshape(frames * height * width, channels)


class Track(nn.Module):
    def __init__(self, model: Tapnet, space: Size) -> None:
        super().__init__()
        self.model, self.space = model, space

    def forward(self, grid: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        xy, occlusion = self.model.locate(grid, features[None])
        return rescale(xy, grid.shape[1:3], self.space).transpose(0, 1), occlusion.transpose(0, 1)


class Scale(nn.Module):
    """Batch normalisation, once it is trained, of what no convolution gives alone."""

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__()
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.register_buffer("scale", scale.detach()[:, None, None])
        self.register_buffer("bias", (norm.bias - norm.running_mean * scale).detach()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.bias


def fold_norms(model: Tapnet) -> Tapnet:
    """The same model without batch normalisation: it goes into the convolution before it, where there is one."""
    model = copy.deepcopy(model).eval()
    for block in (block for blocks in model.encoder.units for block in blocks):
        norm = block.norm_1
        fused = fuse_conv_bn_weights(
            block.conv_0.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        block.conv_0.weight, block.conv_0.bias = fused
        block.norm_0, block.norm_1 = Scale(block.norm_0), nn.Identity()
    return model


def cut(model: Tapnet, style: Style) -> Cut:
    """The stages of TAP-Net, on frames of one size."""
    config = model.config
    size = style.frame_size or config.resolution
    model = fold_norms(model)
    cells = tuple(-(-side // config.stride) for side in size)
    program = Whole(FIXED_CHUNK if style.padded else CHUNK, margin=config.reach)
    seen: int | str = program.frames + 2 * program.margin if style.padded else FRAMES
    length: int | str = program.frames if style.padded else FRAMES
    frame = TensorSpec("frame", (seen, *size, 3), "frame")
    present = (TensorSpec("present", (seen,), "present"),) if style.padded else ()
    encoded, grid = (TensorSpec("grid", (n, *cells, config.channels[-1]), "feature") for n in (seen, length))
    points = (TensorSpec("xy", (N, 2), "points"), TensorSpec("delay", (N,), "delay"))
    features = TensorSpec("features", (N, config.channels[-1]), "query")
    found = (TensorSpec("xy", (N, length, 2), "xy"), TensorSpec("occlusion", (N, length), "logit"))
    stages = (
        Stage("encode", Encode(model), StageSpec((frame, *present), (encoded,))),
        Stage("query", Describe(size), StageSpec((grid, *points), (features,))),
        Stage("track", Track(model, size), StageSpec((grid, features), found), exact=EXACT),
    )
    return Cut(
        stages,
        FrameSpec(size),
        PointSpec(size, query_frame="exact", independent=True),
        program,
    )
