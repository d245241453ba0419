"""Files of camera poses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tapsdk.errors import DepthError
from tapsdk.space.camera import Floats
from tapsdk.system.npz import read_npy, read_npz
from tapsdk.system.places import local_copy
from tapsdk.system.reading import MOST_DATA_BYTES, reading

SUFFIXES = (".npy", ".npz", ".txt", ".csv")
_NAME = "camera_to_world"


def read_poses(path: str | os.PathLike[str]) -> Floats:
    """camera_to_world [T, 4, 4] or [4, 4] of a file; `parse_poses` says whether these are poses. Raises DepthError.

    .npy: one array of this shape. .npz: one array, or one called camera_to_world. .txt, .csv: a line for each frame,
    with 12 or 16 numbers, a matrix of 3 or 4 rows (KITTI), or 8, time x y z qx qy qz qw (TUM), whose time is not looked
    at; lines that begin with # are passed over.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise DepthError(f"{path} cannot be read as poses: the suffix must be one of {', '.join(SUFFIXES)}")
    with reading(path, "holds no poses", DepthError), local_copy(path, DepthError, MOST_DATA_BYTES) as copy:
        if suffix in (".txt", ".csv"):
            return _of_lines(copy.read_text(encoding="utf-8-sig").splitlines())
        with open(copy, "rb") as file:
            return np.asarray(read_npy(file) if suffix == ".npy" else _only(read_npz(file)), np.float64)


def _only(arrays: dict[str, Any]) -> Any:
    if _NAME not in arrays and len(arrays) != 1:
        raise ValueError(f"it holds the arrays {', '.join(arrays) or 'none'}, and none is called {_NAME}")
    return arrays.get(_NAME, next(iter(arrays.values())))


def _of_lines(lines: list[str]) -> Floats:
    rows = [line.replace(",", " ").split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    table = np.array([[float(cell) for cell in row] for row in rows])
    if not len(rows) or table.shape[1] not in (8, 12, 16):
        raise ValueError("a line must have 12 or 16 numbers, a matrix, or 8, time x y z qx qy qz qw")
    if table.shape[1] == 16:
        return table.reshape(-1, 4, 4)
    poses = np.tile(np.eye(4), (len(table), 1, 1))
    if table.shape[1] == 12:
        poses[:, :3] = table.reshape(-1, 3, 4)
    else:
        poses[:, :3, 3], poses[:, :3, :3] = table[:, 1:4], _rotations(table[:, 4:])
    return poses


def _rotations(quaternions: Floats) -> Floats:
    """[T, 3, 3] of quaternions [T, 4] (x, y, z, w)."""
    length = np.linalg.norm(quaternions, axis=1, keepdims=True)
    if (abs(length - 1) > 1e-2).any():
        raise ValueError("quaternions (qx, qy, qz, qw) must have length 1")
    x, y, z, w = (quaternions / length).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
