"""What a model remembers from frame to frame: of each point, added, removed and saved by row, and of the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapsdk.artifact.manifest import TensorSpec
from tapsdk.backends import Array, Backend, Tensor
from tapsdk.errors import BackendError


@dataclass(frozen=True)
class PointState:
    """Named tensors, on the backend's side, with one row per point along each tensor's own points axis.

    Where a format takes only certain numbers of points, rows of zeros after those of the `count` points fill them up.
    A tensor without a points axis belongs to the video: it comes with the first points and stays with the last.
    Where positions follow the picture, there is more to remember:

    frame: [1, H, W, 3] the frame that the first `followed` rows have come through.
    texture: [count] float32 of the picture around each point where it was asked for (`tapsdk.runtime.flow`).
    """

    count: int
    tensors: Mapping[str, Tensor]
    frame: Array | None = None
    followed: int = 0
    texture: Array | None = None


EMPTY = PointState(0, {})
FRAME, TEXTURE = "frame", "texture"
"""Names of what `PointState` holds beside its tensors, among saved arrays."""


def pad(array: Array, axis: int, capacity: int) -> Array:
    """The array with zeros after its end, so that the axis has `capacity` entries."""
    missing = [(0, 0)] * array.ndim
    missing[axis] = (0, capacity - array.shape[axis])
    return np.pad(array, missing) if missing[axis][1] else array


def _joined_texture(parts: Sequence[PointState]) -> Array | None:
    """That of all points; infinite, which casts no doubt, for those of a state that was saved without it."""
    if all(part.texture is None for part in parts):
        return None
    unknown = (np.full(part.count, np.inf, np.float32) for part in parts)
    return np.concatenate([u if part.texture is None else part.texture for part, u in zip(parts, unknown, strict=True)])


def capacity(count: int, buckets: Sequence[int]) -> int:
    """Rows that tensors have for `count` points: of the numbers in `buckets`, which grow, the first that will do; any,
    if there are none. Raises BackendError for more points than the largest bucket."""
    fitting = [size for size in buckets if size >= count]
    if buckets and not fitting:
        raise BackendError(
            f"{count} points are too many: this artifact takes {buckets[-1]} at most. Export it for more "
            f"(tapsdk export ... --points {count}), or track in several runs"
        )
    return fitting[0] if fitting else count


@dataclass(frozen=True)
class StateStore:
    """Makes and edits the state of a model's points.

    specs: the tensors that rows consist of. buckets: the numbers of rows that tensors may have, growing; none: any.
    """

    specs: Sequence[TensorSpec]
    backend: Backend
    buckets: Sequence[int] = ()

    def capacity(self, count: int) -> int:
        """Rows that tensors have for `count` points. Raises BackendError for more points than the largest bucket."""
        return capacity(count, self.buckets)

    def zeros(self, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """State before the first frame, for `count` points."""
        wanted = [s for s in self.specs if s.name in names]
        capacity = self.capacity(count)
        return {s.name: self.backend.keep(np.zeros(s.shape_for(capacity), s.dtype)) for s in wanted}

    def concatenate(self, states: Sequence[PointState]) -> PointState:
        """All points of several states, in order."""
        parts = [state for state in states if state.count]
        if len(parts) == 1:
            return parts[0]
        count = sum(part.count for part in parts)

        def joined(spec: TensorSpec) -> Tensor:
            if spec.points_axis is None:
                return parts[0].tensors[spec.name]
            return self._keep(spec, np.concatenate([self._fetch(spec, part) for part in parts], spec.points_axis))

        first = parts[0] if parts else EMPTY
        tensors = {s.name: joined(s) for s in self.specs if parts}
        return PointState(count, tensors, first.frame, first.followed, _joined_texture(parts))

    def select(self, state: PointState, index: Array) -> PointState:
        """The points at `index` alone."""

        def selected(spec: TensorSpec) -> Tensor:
            if spec.points_axis is None:
                return state.tensors[spec.name]
            return self._keep(spec, np.take(self._fetch(spec, state), index, spec.points_axis))

        followed = int((index < state.followed).sum())
        texture = None if state.texture is None else state.texture[index]
        tensors = {s.name: selected(s) for s in self.specs if state.count}
        return PointState(len(index), tensors, state.frame, followed, texture)

    def to_arrays(self, state: PointState) -> dict[str, Array]:
        """Copies for saving, without the rows that only fill up; none without points."""
        if not state.count:
            return {}
        beside = {FRAME: state.frame, TEXTURE: state.texture}
        kept = {name: array for name, array in beside.items() if array is not None}
        return {s.name: self._fetch(s, state) for s in self.specs} | kept

    def from_arrays(self, arrays: Mapping[str, Array], count: int) -> PointState:
        """What `to_arrays` gave. Raises ValueError for other tensors than `count` points of this model have, and for
        what is no number."""
        arrays = dict(arrays)
        for name, array in arrays.items():
            # Texture may be infinite; what is NaN, once in, stays for ever.
            bad = np.isnan(array) if name == TEXTURE else ~np.isfinite(array)
            if bad.any():
                raise ValueError(f"its {name} has {int(bad.sum())} values that are no numbers")
        frame, texture = arrays.pop(FRAME, None), arrays.pop(TEXTURE, None)
        if texture is not None and (texture.shape != (count,) or texture.dtype != np.float32):
            raise ValueError(f"it holds a texture {texture.dtype} {list(texture.shape)}, not float32 [{count}]")
        if frame is not None and (frame.ndim != 4 or frame.shape[::3] != (1, 3) or frame.dtype != np.float32):
            raise ValueError(f"it holds a frame {frame.dtype} {list(frame.shape)}, not float32 [1, H, W, 3]")
        specs = {s.name: s for s in self.specs if count}
        wanted = {name: (s.shape_for(count), s.dtype) for name, s in specs.items()}
        found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        if found != wanted:
            raise ValueError(f"it holds {found or 'no tensors'}, but {count} points have {wanted or 'none'}")
        tensors = {name: self._keep(specs[name], array) for name, array in arrays.items()}
        return PointState(count, tensors, frame, count, texture)

    def _fetch(self, spec: TensorSpec, state: PointState) -> Array:
        array = self.backend.fetch(state.tensors[spec.name])
        axis = spec.points_axis
        return array if axis is None else np.take(array, np.arange(state.count), axis)

    def _keep(self, spec: TensorSpec, array: Array) -> Tensor:
        axis = spec.points_axis
        return self.backend.keep(array if axis is None else pad(array, axis, self.capacity(array.shape[axis])))
