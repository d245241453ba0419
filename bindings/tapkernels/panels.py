"""Matrices as the kernels multiply by them: in panels of columns, which one load after the other reads.

The layout is that of ``kernels/matmul.h`` and the same for every instruction set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Float32 = NDArray[np.float32]

PANEL = 16
"""Columns of a panel."""


def panel_shape(columns: int, depth: int) -> tuple[int, int, int]:
    """[panels, depth, PANEL] of a matrix of so many columns."""
    return -(-columns // PANEL), depth, PANEL


def pack(weight: _Float32) -> _Float32:
    """[columns, depth], as linear layers keep their weights, in panels; columns beyond the last one are zeros."""
    columns, depth = weight.shape
    panels, _, _ = panel_shape(columns, depth)
    padded = np.zeros((panels * PANEL, depth), np.float32)
    padded[:columns] = weight
    return np.ascontiguousarray(padded.reshape(panels, PANEL, depth).transpose(0, 2, 1))


def unpack(panels: _Float32, columns: int) -> _Float32:
    """The [columns, depth] that were packed."""
    depth = panels.shape[1]
    return np.ascontiguousarray(panels.transpose(0, 2, 1).reshape(-1, depth)[:columns])


def aligned_empty(count: int) -> _Float32:
    """[count] float32 that begin where a line of the processor's cache does, so that no load touches two."""
    line = 64 // np.dtype(np.float32).itemsize
    memory = np.empty(count + line, np.float32)
    first = -(memory.ctypes.data // memory.itemsize) % line
    return memory[first : first + count]
