"""EfficientNet-Lite0 (arXiv:1905.11946) up to a sixteenth of the picture: one table, from which torch and JAX build.

The batch norms of the published network are folded into its convolutions (`training.checkpoints.efficientnet`): what is
left are convolutions, sums and ReLU6, the same in training and on every target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Inverted residual blocks one after the other; the stride is that of the first."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    repeats: int


STEM = 32
"""Channels of the first convolution, 3x3 of stride 2."""

GROUPS = (
    Group(expansion=1, kernel=3, stride=1, channels=16, repeats=1),
    Group(expansion=6, kernel=3, stride=2, channels=24, repeats=2),
    Group(expansion=6, kernel=5, stride=2, channels=40, repeats=2),
    Group(expansion=6, kernel=3, stride=2, channels=80, repeats=3),
    Group(expansion=6, kernel=5, stride=1, channels=112, repeats=3),
)

TAPS = (2, 4, 10)
"""Blocks whose outputs are features at 1/4, 1/8 and 1/16 of the picture."""

FINE = 16
"""Channels of a slim way of our own from the frame to the grid at 1/4, two 4x4 convolutions of stride 2: what was
trained to tell things apart has forgotten where exactly they end. Such a kernel lies evenly around the cell that it
makes."""

TOP_DOWN = ("low_side", "low_down", "low_out", "high_side", "high_down", "high_out")
"""Convolutions that make two grids of these features."""


@dataclass(frozen=True)
class Block:
    """Widen (unless `width` is that of the input), filter every channel on its own, project."""

    inputs: int
    width: int
    outputs: int
    kernel: int
    stride: int

    @property
    def widens(self) -> bool:
        return self.width != self.inputs

    @property
    def adds_input(self) -> bool:
        return self.stride == 1 and self.inputs == self.outputs

    @property
    def convs(self) -> tuple[str, ...]:
        return ("expand", "depthwise", "project") if self.widens else ("depthwise", "project")


def blocks() -> Iterator[Block]:
    """All blocks of GROUPS, in order."""
    inputs = STEM
    for group in GROUPS:
        for i in range(group.repeats):
            stride = group.stride if i == 0 else 1
            yield Block(inputs, inputs * group.expansion, group.channels, group.kernel, stride)
            inputs = group.channels


def tap_widths() -> tuple[int, ...]:
    """Channels of the features at TAPS."""
    outputs = [block.outputs for block in blocks()]
    return tuple(outputs[tap] for tap in TAPS)


def backbone_convs() -> Iterator[str]:
    """Names of the backbone's convolutions; each has a weight and a bias."""
    yield "stem"
    for i, block in enumerate(blocks()):
        yield from (f"blocks.{i}.{conv}" for conv in block.convs)


def encoder_parameters() -> Iterator[str]:
    """Names of all parameters of `EfficientNetLite`, in torch and in JAX."""
    convs = [*(f"backbone.{name}" for name in backbone_convs()), *(f"top_down.{name}" for name in TOP_DOWN)]
    convs += ["fine.first", "fine.second"]
    return (f"{conv}.{kind}" for conv in convs for kind in ("weight", "bias"))
