"""What a model knows points by, apart from any video: to find them again in another video or picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapsdk.backends import Array
from tapsdk.errors import ArtifactError
from tapsdk.geometry import Size
from tapsdk.runtime.point_state import TEXTURE
from tapsdk.system.files import AtomicFile
from tapsdk.system.npz import headed, read_headed, write_npz
from tapsdk.system.places import local_copy
from tapsdk.system.reading import MOST_DATA_BYTES, reading

FORMAT = "tapsdk.features"
VERSION = 1
NO_FEATURES = "is not a file of point features"


@dataclass(frozen=True, eq=False)
class PointFeatures:
    """What a model knows N points by: what `Tracker.features` reads off a picture, and `Tracker.add` looks for.

        features = tracker.features(demonstration[0], [[120, 80], [60, 40]])
        features.save("cup.npz")
        ids = tracker.add(features=tapsdk.PointFeatures.load("cup.npz"))

    They are of use to the model alone that they come from, on whatever backend: `model` is its name, `weights_sha256`
    tells its weights. A slice, a mask or a list of rows picks some of the points.
    """

    model: str
    weights_sha256: str
    space: Size
    """(height, width) of the space in which the model sees points."""
    arrays: Mapping[str, Array]
    """[N, ...] by name, of floats."""

    def __post_init__(self) -> None:
        """Raises ValueError for arrays that are not of the same points, or hold what is no number."""
        if not self.arrays or len({len(array) for array in self.arrays.values()}) > 1:
            raise ValueError("its arrays are not of the same number of points")
        for name, array in self.arrays.items():
            # Texture may be infinite.
            bad = np.isnan(array) if name == TEXTURE else ~np.isfinite(array)
            if bad.any():
                raise ValueError(f"its {name} has {int(bad.sum())} values that are no numbers")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __repr__(self) -> str:
        return f"PointFeatures: {len(self)} points of {self.model}"

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.generic]) -> PointFeatures:
        """Those of some points alone."""
        which = rows if isinstance(rows, slice) else np.asarray(rows)
        index = np.arange(len(self))[which if isinstance(which, slice) or which.size else slice(0)]
        return replace(self, arrays={name: array[index] for name, array in self.arrays.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes them to a .npz file, 20 kB a point with the bundled model, whole or not at all. Raises SaveError."""
        header = {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "space": self.space,
        }
        with AtomicFile(path) as file:
            write_npz(file, headed(header, self.arrays))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> PointFeatures:
        """What `save` wrote. Raises ArtifactError for a file that is missing, damaged or of another kind."""
        with local_copy(path, ArtifactError, MOST_DATA_BYTES) as copy, reading(path, NO_FEATURES, ArtifactError):
            return _read(copy)


def _read(path: Path) -> PointFeatures:
    header, arrays = read_headed(path)
    if (header["format"], header["version"]) != (FORMAT, VERSION):
        raise ValueError(f"it is not of version {VERSION}")
    model, weights, space = header["model"], header["weights_sha256"], tuple(header["space"])
    if not isinstance(model, str) or not isinstance(weights, str):
        raise ValueError("the names of its model and weights are no texts")
    if len(space) != 2 or not all(type(side) is int and side > 0 for side in space):
        raise ValueError(f"a space of {space!r} is none")
    if any(array.dtype.kind != "f" or not array.ndim for array in arrays.values()):
        raise ValueError("its arrays are not rows of floats")
    return PointFeatures(model, weights, (space[0], space[1]), arrays)
