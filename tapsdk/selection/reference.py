"""What a model in PyTorch says of a short video made by formula: each artifact brings it, to compare engines with.

So anyone can see on their own machine, without PyTorch, by how many pixels an engine is off.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact import Artifact
from tapsdk.errors import ArtifactError
from tapsdk.geometry import Size
from tapsdk.selection.accuracy import Rollout

NAME = "reference.npz"
FORMAT = "npz"
FRAMES = 8
POINTS = 16

LARGEST = 16 << 20
"""Bytes of a reference, unpacked."""
MAX_SIDE = 4096
"""Pixels of its frames."""

CELL = 8
"""Side of a patch of the pattern in pixels."""
DRIFT = (1, 2)
"""(y, x) pixels by which the pattern's cut-out moves per frame."""


@dataclass(frozen=True)
class Reference(Rollout):
    """Tracks of the points of `moving_pattern` on its frames. size: (height, width) of the frames."""

    size: Size

    def pattern(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The frames and the points that the tracks are of."""
        return moving_pattern(self.size, self.xy.shape[1], self.xy.shape[0])


def moving_pattern(size: Size, frames: int, points: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A drifting texture [T, H, W, 3] uint8, and points [N, 2] on its first frame."""
    height, width = size
    # Of numpy's generators, the one whose numbers stay the same in every version.
    rng = np.random.RandomState(0)
    down, right = (step * frames // CELL + 1 for step in DRIFT)
    coarse = rng.uniform(0, 256, (3, height // CELL + 1 + down, width // CELL + 1 + right))
    texture = np.kron(coarse, np.ones((CELL, CELL))).astype(np.uint8).transpose(1, 2, 0)
    cuts = [(DRIFT[0] * t, DRIFT[1] * t) for t in range(frames)]
    video = np.stack([texture[y : y + height, x : x + width] for y, x in cuts])
    xy = rng.uniform(0.1, 0.9, (points, 2)) * (width, height)
    return video, xy.astype(np.float32)


def write_reference(reference: Reference, file: BinaryIO) -> None:
    np.savez_compressed(file, xy=reference.xy, visible=reference.visible, size=np.array(reference.size))


def read_reference(artifact: Artifact) -> Reference | None:
    """The reference of an artifact; None for one that was exported without. Raises ArtifactError for a damaged one."""
    spec = artifact.manifest.reference
    if spec is None:
        return None
    content = artifact.checked(spec)
    try:
        return _parse(content.data)
    except (OSError, KeyError, ValueError, ArithmeticError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{content.path} is not a reference: {error}") from error


def _parse(data: bytes) -> Reference:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > LARGEST:
        raise ValueError(f"it holds {unpacked} bytes; at most {LARGEST} are allowed")
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        xy, visible = np.asarray(stored["xy"], np.float32), np.asarray(stored["visible"], np.bool_)
        height, width = (int(side) for side in stored["size"])
    if xy.ndim != 3 or xy.shape[2] != 2 or visible.shape != xy.shape[:2]:
        raise ValueError(f"xy {list(xy.shape)} and visible {list(visible.shape)} do not fit together")
    if not (xy.size and np.isfinite(xy).all() and 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"it has no tracks, or some that are no numbers, or frames of {height} x {width}")
    return Reference(xy, visible, (height, width))
