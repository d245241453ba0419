"""What a model remembers from frame to frame: of each point, added, removed and saved by row, and of the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapsdk.artifact.manifest import TensorSpec
from tapsdk.backends import Array, Backend, Tensor
from tapsdk.errors import BackendError


@dataclass(frozen=True)
class Rows:
    """Named tensors, on the backend's side, with one row per point along each tensor's own points axis.

    Where a format takes only certain numbers of points, rows of zeros after those of the `count` points fill them up.
    A tensor without a points axis belongs to the video: it comes with the first points and stays with the last.
    frame: [1, H, W, 3] the frame that the first `seen` rows have come through, where positions follow the picture.
    """

    count: int
    tensors: Mapping[str, Tensor]
    frame: Array | None = None
    seen: int = 0


NOBODY = Rows(0, {})
FRAME = "frame"
"""Name of `Rows.frame` among saved arrays."""


def pad(array: Array, axis: int, capacity: int) -> Array:
    """The array with zeros after its end, so that the axis has `capacity` entries."""
    missing = [(0, 0)] * array.ndim
    missing[axis] = (0, capacity - array.shape[axis])
    return np.pad(array, missing) if missing[axis][1] else array


@dataclass(frozen=True)
class RowStore:
    """Makes and edits the rows of a model.

    specs: the tensors that rows consist of. buckets: the numbers of rows that tensors may have, growing; none: any.
    """

    specs: Sequence[TensorSpec]
    backend: Backend
    buckets: Sequence[int] = ()

    def capacity(self, count: int) -> int:
        """Rows that tensors have for `count` points. Raises BackendError for more points than the largest bucket."""
        fitting = [size for size in self.buckets if size >= count]
        if self.buckets and not fitting:
            raise BackendError(
                f"{count} points are too many: this artifact takes {self.buckets[-1]} at most. Export it for more "
                f"(python -m export ... --points {count}), or track in several runs"
            )
        return fitting[0] if fitting else count

    def zeros(self, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """State before the first frame, for `count` points."""
        wanted = [s for s in self.specs if s.name in names]
        capacity = self.capacity(count)
        return {s.name: self.backend.keep(np.zeros(s.shape_for(capacity), s.dtype)) for s in wanted}

    def concatenate(self, rows: Sequence[Rows]) -> Rows:
        """All points of several `Rows`, in order."""
        parts = [r for r in rows if r.count]
        if len(parts) == 1:
            return parts[0]
        count = sum(r.count for r in parts)

        def joined(spec: TensorSpec) -> Tensor:
            if spec.points_axis is None:
                return parts[0].tensors[spec.name]
            return self._keep(spec, np.concatenate([self._fetch(spec, r) for r in parts], spec.points_axis))

        first = parts[0] if parts else NOBODY
        return Rows(count, {s.name: joined(s) for s in self.specs if parts}, first.frame, first.seen)

    def select(self, rows: Rows, index: Array) -> Rows:
        """The points at `index` alone."""

        def selected(spec: TensorSpec) -> Tensor:
            if spec.points_axis is None:
                return rows.tensors[spec.name]
            return self._keep(spec, np.take(self._fetch(spec, rows), index, spec.points_axis))

        seen = int((index < rows.seen).sum())
        return Rows(len(index), {s.name: selected(s) for s in self.specs if rows.count}, rows.frame, seen)

    def to_arrays(self, rows: Rows) -> dict[str, Array]:
        """Copies for saving, without the rows that only fill up; none without points."""
        frame = {} if rows.frame is None or not rows.count else {FRAME: rows.frame}
        return {s.name: self._fetch(s, rows) for s in self.specs if rows.count} | frame

    def from_arrays(self, arrays: Mapping[str, Array], count: int) -> Rows:
        """What `to_arrays` gave. Raises ValueError for other tensors than `count` points of this model have."""
        arrays = dict(arrays)
        frame = arrays.pop(FRAME, None)
        if frame is not None and (frame.ndim != 4 or frame.shape[::3] != (1, 3) or frame.dtype != np.float32):
            raise ValueError(f"it holds a frame {frame.dtype} {list(frame.shape)}, not float32 [1, H, W, 3]")
        specs = {s.name: s for s in self.specs if count}
        wanted = {name: (s.shape_for(count), s.dtype) for name, s in specs.items()}
        found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        if found != wanted:
            raise ValueError(f"it holds {found or 'no tensors'}, but {count} points have {wanted or 'none'}")
        tensors = {name: self._keep(specs[name], array) for name, array in arrays.items()}
        return Rows(count, tensors, frame, count)

    def _fetch(self, spec: TensorSpec, rows: Rows) -> Array:
        array = self.backend.fetch(rows.tensors[spec.name])
        axis = spec.points_axis
        return array if axis is None else np.take(array, np.arange(rows.count), axis)

    def _keep(self, spec: TensorSpec, array: Array) -> Tensor:
        axis = spec.points_axis
        return self.backend.keep(array if axis is None else pad(array, axis, self.capacity(array.shape[axis])))
