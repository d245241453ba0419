"""Numbers of any precision as float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.checkpoints.errors import CheckpointError

BFLOAT16 = np.dtype("V2")
"""How numpy sees bfloat16, which it does not know: two bytes."""


def as_float32(array: NDArray, name: str) -> NDArray[np.float32]:
    """The array in float32. Raises CheckpointError, with its name, unless it holds real numbers."""
    if array.dtype.newbyteorder("=") == BFLOAT16:
        return bfloat16_to_float32(array.view(np.uint16))
    if array.dtype.kind not in "fiub":
        raise CheckpointError(f"parameter {name} holds {array.dtype}, not real numbers")
    return np.asarray(array, np.float32)


def bfloat16_to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
