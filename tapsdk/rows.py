"""What a model remembers from frame to frame: of each point, added, removed and saved by row, and of the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapsdk.backends import Array, Backend, Tensor
from tapsdk.manifest import TensorSpec


@dataclass(frozen=True)
class Rows:
    """Named tensors, on the backend's side, with one row per point along each tensor's own points axis.

    A tensor without that axis belongs to the video: it comes with the first points and stays with the last.
    """

    count: int
    tensors: Mapping[str, Tensor]


def zero_rows(specs: Sequence[TensorSpec], count: int, backend: Backend) -> dict[str, Tensor]:
    """State before the first frame, for `count` points."""
    return {s.name: backend.keep(np.zeros(s.shape_for(count), s.dtype)) for s in specs}


def concatenate(rows: Sequence[Rows], specs: Sequence[TensorSpec], backend: Backend) -> Rows:
    """All points of several `Rows`, in order."""
    parts = [r for r in rows if r.count]
    if len(parts) == 1:
        return parts[0]

    def joined(spec: TensorSpec) -> Tensor:
        if spec.points_axis is None:
            return parts[0].tensors[spec.name]
        arrays = [backend.fetch(r.tensors[spec.name]) for r in parts]
        return backend.keep(np.concatenate(arrays, spec.points_axis))

    return Rows(sum(r.count for r in parts), {s.name: joined(s) for s in specs if parts})


def select(rows: Rows, index: Array, specs: Sequence[TensorSpec], backend: Backend) -> Rows:
    """The points at `index` alone."""

    def selected(spec: TensorSpec) -> Tensor:
        if spec.points_axis is None:
            return rows.tensors[spec.name]
        return backend.keep(np.take(backend.fetch(rows.tensors[spec.name]), index, spec.points_axis))

    return Rows(len(index), {s.name: selected(s) for s in specs if rows.count})


def to_arrays(rows: Rows, backend: Backend) -> dict[str, Array]:
    """Copies for saving; none without points."""
    return {name: backend.fetch(tensor) for name, tensor in rows.tensors.items()} if rows.count else {}


def from_arrays(arrays: Mapping[str, Array], count: int, specs: Sequence[TensorSpec], backend: Backend) -> Rows:
    """What `to_arrays` gave. Raises ValueError for other tensors than these specs have for `count` points."""
    wanted = {s.name: (s.shape_for(count), s.dtype) for s in specs if count}
    found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    if found != wanted:
        raise ValueError(f"it holds {found or 'no tensors'}, but {count} points have {wanted or 'none'}")
    return Rows(count, {name: backend.keep(array) for name, array in arrays.items()})
