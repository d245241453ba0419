"""Convolutions of 3x3 as products of transformed tiles: Winograd's F(4x4, 3x3) (Lavin & Gray 2015, arXiv:1509.09308).

A tile of 4x4 results takes 36 products a channel in place of 144. Neither ONNX Runtime nor OpenVINO computes so by
itself; with layers that are wide enough for the products to outweigh the transforms, the one then takes half the time,
the other two thirds. The rounding of float32 shows more than otherwise, in the fifth digit.

Weights stay 3x3 in the file. Nothing else goes into their transform, so engines make it once, as they load the graph,
and hold them four times as large from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

TILE = 4
"""Results of a tile along a side."""
TAPS = TILE + 2
"""Inputs that these depend on."""
NARROWEST = 128
"""Channels in and out that make it worth while: at 64 the transforms eat what the products save."""

INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)
"""Transforms along one side, for the interpolation points 0, 1, -1, 2, -2 and infinity."""


def use_winograd(model: onnx.ModelProto) -> None:
    """Rewrites every convolution of the graph that gains by it."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    single = {value.name for value in (*graph.input, *graph.value_info) if _is_single(value)}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "Conv" and node.input[0] in single else None
        if weight is None or not _gains(node, weight):
            nodes.append(node)
            continue
        part = _Part(node.name, constants)
        part.convolve(node, numpy_helper.to_array(weight))
        nodes += part.nodes
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants.values())
    used = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    for tensor in weights.values():
        if tensor.name not in used:
            graph.initializer.remove(tensor)


def _is_single(value: onnx.ValueInfoProto) -> bool:
    """Is it a batch of one?"""
    dims = value.type.tensor_type.shape.dim
    return bool(dims) and dims[0].dim_value == 1


def _gains(node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    """Is it a 3x3 convolution of stride 1, padded by zeros to the size of its input, of many channels?"""
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    usual = {"strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "group": 1, "auto_pad": b"NOTSET"}
    found = {name: given.get(name, value) for name, value in usual.items()}
    plain = found == {**usual, "pads": [1, 1, 1, 1]}
    return plain and list(weight.dims[2:]) == [3, 3] and min(weight.dims[:2]) >= NARROWEST


@dataclass
class _Part:
    """Nodes that take the place of the one of this name. constants: of the whole graph, by name."""

    name: str
    constants: dict[str, onnx.TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def convolve(self, node: onnx.NodeProto, weight: NDArray[np.float32]) -> None:
        outputs, inputs = weight.shape[:2]
        x = self.add("Transpose", [node.input[0]], perm=[0, 2, 3, 1])
        size = self.add("Shape", [x], start=1, end=3)
        tiles = self.add("Div", [self.add("Add", [size, self.vector(TILE - 1)]), self.vector(TILE)])
        covered = self.add("Mul", [tiles, self.vector(TILE)])
        x = self.reshape(self.padded(x, size, covered), -1, inputs)
        x = self.along_both("input", INPUT, self.add("Gather", [x, self.windows(covered)], axis=0))
        x = self.products(self.reshape(x, -1, inputs), self.transformed_weight(node.input[1], weight))
        x = self.reshape(self.along_both("output", OUTPUT, x), TILE, TILE, tiles, outputs)
        x = self.reshape(self.add("Transpose", [x], perm=[2, 0, 3, 1, 4]), 1, covered, outputs)
        # The last tiles may reach beyond the picture.
        x = self.add("Slice", [x, self.vector(0, 0), size, self.vector(1, 2)])
        if len(node.input) > 2:
            x = self.add("Add", [x, node.input[2]])
        self.add("Transpose", [x], node.output, perm=[0, 3, 1, 2])

    def padded(self, x: str, size: str, covered: str) -> str:
        """[1, H, W, C] with the zeros around it that tiles of so many results, (rows, columns), want."""
        after = self.add("Sub", [self.add("Add", [covered, self.vector(1)]), size])
        return self.add("Pad", [x, self.add("Concat", [self.vector(0, 1, 1, 0, 0), after, self.vector(0)], axis=0)])

    def windows(self, covered: str) -> str:
        """Which pixels of the padded picture each tile depends on, [TAPS^2, tiles]."""
        sides = f"{self.name}.rows", f"{self.name}.columns"
        self.add("Split", [covered], sides, axis=0, num_outputs=2)
        first, step = (self.constant(f"number_{n}", np.array(n)) for n in (0, TILE))
        down, across = (self.add("Range", [first, self.add("Squeeze", [side]), step]) for side in sides)
        width = self.add("Add", [sides[1], self.vector(TAPS - TILE)])
        starts = self.add("Add", [self.add("Mul", [self.reshape(down, -1, 1), width]), across])
        tap_down, tap_across = np.divmod(np.arange(TAPS * TAPS)[:, None], TAPS)
        taps = self.add("Mul", [self.constant("taps_down", tap_down), width])
        taps = self.add("Add", [taps, self.constant("taps_across", tap_across)])
        return self.add("Add", [taps, self.reshape(starts, 1, -1)])

    def products(self, x: str, weight: str) -> str:
        """[TAPS^2 M, inputs] times [TAPS^2 inputs, outputs], block by block."""
        count = TAPS * TAPS
        # One product each, not a batch of them: engines arrange a constant matrix once, but no stack of matrices.
        parts = [[f"{self.name}.{side}_{i}" for i in range(count)] for side in ("tiles", "weight", "product")]
        for source, outputs in zip((x, weight), parts, strict=False):
            self.add("Split", [source], outputs, axis=0, num_outputs=count)
        for tile, matrix, product in zip(*parts, strict=True):
            self.add("MatMul", [tile, matrix], [product])
        return self.add("Concat", parts[-1], axis=0)

    def transformed_weight(self, name: str, weight: NDArray[np.float32]) -> str:
        """Weights [outputs, inputs, 3, 3] as [TAPS^2 inputs, outputs]."""
        taps_first = self.constant(f"{name}.taps_first", weight.transpose(2, 3, 1, 0))
        return self.reshape(self.along_both("kernel", KERNEL, taps_first), -1, len(weight))

    def along_both(self, name: str, transform: NDArray[np.float32], x: str) -> str:
        """What is [Q, Q, M] in this order, transformed [P, Q] along both sides to [P, P, M]."""
        matrix, (rows, columns) = self.constant(f"winograd.{name}", transform), transform.shape
        x = self.add("MatMul", [matrix, self.reshape(x, columns, -1)])
        return self.add("MatMul", [matrix, self.reshape(x, rows, columns, -1)])

    def reshape(self, x: str, *shape: int | str) -> str:
        """shape: numbers, or names of vectors; -1 takes what is left."""
        if all(isinstance(part, int) for part in shape):
            return self.add("Reshape", [x, self.vector(*shape)])
        parts = [self.vector(part) if isinstance(part, int) else part for part in shape]
        return self.add("Reshape", [x, self.add("Concat", parts, axis=0)])

    def vector(self, *numbers: int) -> str:
        return self.constant(f"vector_{'_'.join(map(str, numbers))}", np.array(numbers, np.int64))

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, operator: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: object) -> str:
        """Returns the first output."""
        name = f"{self.name}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, outputs or [name], name, **attributes))
        return str(self.nodes[-1].output[0])
