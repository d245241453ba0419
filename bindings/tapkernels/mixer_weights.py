"""The weights of TAPIR's mixer as `tapkernels.mixer` takes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapkernels import panels
from tapkernels._ext import ArgumentError

WIDER = 4
"""Times as many channels lie between the two layers of a block."""
TAPS = 3
"""Frames that a convolution sees."""


@dataclass(frozen=True, eq=False)
class MixerWeights:
    """A mixer's weights in one array, made once when a model opens, and what sizes they are of.

    Example:
        weights = MixerWeights.pack(module.state_dict())
        out, narrow, wide = tapkernels.mixer(x, narrow, wide, weights)
    """

    packed: NDArray[np.float32]
    """[W] all parameters in the order of `parameter_shapes`, each in panels (`tapkernels.panels`)."""
    inputs: int
    """Numbers that the mixer is told of a point."""
    width: int
    blocks: int
    outputs: int
    """Numbers that it gives for a point."""

    @classmethod
    def pack(cls, arrays: Mapping[str, Any], prefix: str = "") -> MixerWeights:
        """Pack arrays that are named and shaped as in the module ``Mixer`` of ``training.models.tapir.torch``.

        Args:
            arrays: embed.weight [C, F], embed.bias [C], blocks.0.norm_time.weight [C] and so on: the parameters that
                `parameter_shapes` lists, as anything that numpy turns into an array; made float32.
            prefix: what their names begin with; names that begin otherwise are not looked at.

        Raises:
            ArgumentError: a parameter is missing, unknown, or not of the shape that the others ask for.
        """
        given = {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
        for name in ("embed.weight", "out.weight"):
            if np.ndim(given.get(name, 0)) != 2:
                raise ArgumentError(f"MixerWeights.pack: {prefix}{name} must be a matrix, {_found(given, name)}")
        (width, inputs), outputs = np.shape(given["embed.weight"]), len(given["out.weight"])
        blocks = len({name.split(".")[1] for name in given if name.startswith("blocks.")})
        shapes = parameter_shapes(inputs, width, blocks, outputs)
        for name in [*shapes, *given]:
            if name not in shapes:
                raise ArgumentError(f"MixerWeights.pack: {prefix}{name} is no parameter of a mixer of {blocks} blocks")
            if name not in given or np.shape(given[name]) != shapes[name]:
                wanted = f"{prefix}{name} must be {list(shapes[name])}, {_found(given, name)}"
                raise ArgumentError(f"MixerWeights.pack: {wanted}")
        sizes = inputs, width, blocks, outputs
        packed = panels.aligned_empty(max(part.stop for _, _, _, part in parameter_panels(*sizes)))
        for name, shape, _, part in parameter_panels(*sizes):
            packed[part] = panels.pack(np.asarray(given[name], np.float32).reshape(shape[0], -1)).ravel()
        return cls(packed, *sizes)

    def unpack(self) -> dict[str, NDArray[np.float32]]:
        """The arrays that were packed, by name."""
        return {
            name: panels.unpack(self.packed[part].reshape(panel_shape), shape[0]).reshape(shape)
            for name, shape, panel_shape, part in parameter_panels(self.inputs, self.width, self.blocks, self.outputs)
        }


def parameter_shapes(inputs: int, width: int, blocks: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of a mixer, in the order in which they are packed."""
    wide = WIDER * width
    block = {
        "norm_time.weight": (width,),
        "time.up_weight": (wide, TAPS),
        "time.up_bias": (wide,),
        "time.out_weight": (wide, TAPS),
        "time.out_bias": (wide,),
        "norm_channels.weight": (width,),
        "channels_up.weight": (wide, width),
        "channels_up.bias": (wide,),
        "channels_down.weight": (width, wide),
        "channels_down.bias": (width,),
    }
    return {
        "embed.weight": (width, inputs),
        "embed.bias": (width,),
        **{f"blocks.{i}.{name}": shape for i in range(blocks) for name, shape in block.items()},
        "norm.weight": (width,),
        "out.weight": (outputs, width),
        "out.bias": (outputs,),
    }


def parameter_panels(
    inputs: int, width: int, blocks: int, outputs: int
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, int, int], slice]]:
    """Of every parameter the name, the shape, the shape of its panels, and which part of the packed array they are."""
    end = 0
    for name, shape in parameter_shapes(inputs, width, blocks, outputs).items():
        panel_shape = panels.panel_shape(shape[0], shape[1] if len(shape) > 1 else 1)
        begin, end = end, end + math.prod(panel_shape)
        yield name, shape, panel_shape, slice(begin, end)


def _found(given: Mapping[str, Any], name: str) -> str:
    return f"got {list(np.shape(given[name]))}" if name in given else "and is not there"
