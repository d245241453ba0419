"""Per-point tensors of a tracker: what a model knows of each point, added, removed and saved by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapsdk.backends import Array, Backend, Tensor
from tapsdk.manifest import TensorSpec


@dataclass(frozen=True)
class Rows:
    """Named tensors with one row per point along each tensor's own points axis; they stay on the backend's side."""

    count: int
    tensors: Mapping[str, Tensor]


def zero_rows(specs: Sequence[TensorSpec], count: int, backend: Backend) -> dict[str, Tensor]:
    """State of points that were just added."""
    return {s.name: backend.keep(np.zeros(s.shape_for(count), s.dtype)) for s in specs}


def concatenate(rows: Sequence[Rows], specs: Sequence[TensorSpec], backend: Backend) -> Rows:
    """All points of several `Rows`, in order."""
    parts = [r for r in rows if r.count]
    if len(parts) == 1:
        return parts[0]
    tensors = {
        s.name: backend.keep(np.concatenate([backend.fetch(r.tensors[s.name]) for r in parts], s.points_axis))
        for s in specs
        if parts
    }
    return Rows(sum(r.count for r in parts), tensors)


def select(rows: Rows, index: Array, specs: Sequence[TensorSpec], backend: Backend) -> Rows:
    """The points at `index` alone."""
    tensors = {
        s.name: backend.keep(np.take(backend.fetch(rows.tensors[s.name]), index, s.points_axis))
        for s in specs
        if rows.count
    }
    return Rows(len(index), tensors)


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
