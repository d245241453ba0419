"""What a model remembers from frame to frame: of each point, added, removed and saved by row, and of the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from tapsdk.artifact.manifest import TensorSpec
from tapsdk.backends import Array, Tensor
from tapsdk.errors import BackendError

Block = Mapping[str, Tensor]
"""Tensors of some points by name."""


@dataclass(frozen=True)
class PointState:
    """Blocks of named tensors, on the backend's side, with one row per point along each tensor's own points axis.

    All points are in one block, unless the plan takes them in blocks of a fixed size. Where a block takes only certain
    numbers of points, rows of zeros after those of the last of `count` points fill it up. A tensor without a points
    axis belongs to the video, and is the same in every block: it comes with the first points and stays with the last.
    Where positions follow the picture, there is more to remember:

    frame: [1, H, W, 3] the frame that the first `followed` rows have come through.
    texture: [count] float32 of the picture around each point where it was asked for (`tapsdk.runtime.flow`).
    lost: [count] whether nobody knows where a point is in that frame, so that no step leads on from there.
    passed: frames up to that one that the model did not look at.
    """

    count: int
    blocks: Sequence[Block]
    frame: Array | None = None
    followed: int = 0
    texture: Array | None = None
    lost: Array | None = None
    passed: int = 0


EMPTY = PointState(0, ())
FEWEST_ROWS = 16
"""Where they are rounded."""
FRAME, TEXTURE = "frame", "texture"
"""Names of what `PointState` holds beside its tensors, among saved arrays."""


def pad(array: Array, axis: int, capacity: int) -> Array:
    """The array with zeros after its end, so that the axis has `capacity` entries."""
    missing = [(0, 0)] * array.ndim
    missing[axis] = (0, capacity - array.shape[axis])
    return np.pad(array, missing) if missing[axis][1] else array


def split(array: Array, rows: int, axis: int = 0) -> list[Array]:
    """Parts of `rows` rows along an axis, in order; zeros after the end of the last one fill it up."""
    before, count = (slice(None),) * axis, array.shape[axis]
    parts = [(*before, slice(start, start + rows)) for start in range(0, count, max(1, rows))]
    return [pad(array[part], axis, rows) for part in parts]


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


class Memory(Protocol):
    """Where state is kept between frames: on a backend's side, or on ours."""

    def keep(self, array: Array) -> Tensor:
        """Moves an array there, which may go on using the same memory."""

    def fetch(self, tensor: Tensor) -> Array:
        """Copies what is kept there into an array."""


class OwnMemory:
    """Arrays that belong to the state alone, so that what computes the next one may write into them."""

    def keep(self, array: Array) -> Tensor:
        return np.array(array, order="C")

    fetch = keep


@dataclass(frozen=True)
class StateStore:
    """Makes and edits the state of a model's points.

    specs: the tensors that rows consist of. memory: where these are. buckets: the numbers of rows that tensors may
    have, growing; none: any. block: the number of rows that all tensors have, however many points there are; None: one
    block has them all. rounded: whether rows are powers of two, so that tensors have few shapes, where any would do.
    """

    specs: Sequence[TensorSpec]
    memory: Memory
    buckets: Sequence[int] = ()
    block: int | None = None
    rounded: bool = False

    @property
    def bytes_each(self) -> int:
        """Of a point's rows."""
        own = (s for s in self.specs if s.points_axis is not None)
        return sum(prod(s.shape_for(1)) * np.dtype(s.dtype).itemsize for s in own)

    def capacity(self, count: int) -> int:
        """Rows that a block has where there are `count` points. Raises BackendError for more points than the largest
        bucket."""
        if self.rounded and not (self.block or self.buckets):
            return max(FEWEST_ROWS, 1 << max(0, count - 1).bit_length())
        return self.block or capacity(count, self.buckets)

    def split(self, array: Array, axis: int = 0) -> list[Array]:
        """The rows of an array, block by block; zeros fill the last one up."""
        return split(array, self.capacity(array.shape[axis]), axis)

    def keep(self, arrays: Mapping[str, Array], count: int) -> list[dict[str, Tensor]]:
        """Blocks of tensors from arrays that have all `count` points' rows; names are those of `specs`."""
        specs = [s for s in self.specs if s.name in arrays]
        split = {s.name: self.split(arrays[s.name], s.points_axis) for s in specs if s.points_axis is not None}
        video = {s.name: self.memory.keep(arrays[s.name]) for s in specs if s.points_axis is None}
        blocks = -(-count // max(1, self.capacity(count)))
        own = ({name: self.memory.keep(parts[i]) for name, parts in split.items()} for i in range(blocks))
        return [{**video, **tensors} for tensors in own]

    def rows(self, name: str, state: PointState) -> Array:
        """A tensor as one array of all points."""
        (spec,) = (s for s in self.specs if s.name == name)
        axis, arrays = spec.points_axis, [self.memory.fetch(block[name]) for block in state.blocks]
        if axis is None:
            return arrays[0]
        return np.take(arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis), range(state.count), axis)

    def concatenate(self, states: Sequence[PointState]) -> PointState:
        """All points of several states, in order: those that have come through a frame, the same one, before others."""
        parts = [state for state in states if state.count]
        if len(parts) < 2:
            return parts[0] if parts else EMPTY
        count = sum(part.count for part in parts)

        def joined(spec: TensorSpec) -> Array:
            if spec.points_axis is None:
                return self.rows(spec.name, parts[0])
            return np.concatenate([self.rows(spec.name, part) for part in parts], spec.points_axis)

        blocks = self.keep({s.name: joined(s) for s in self.specs}, count)
        followed = sum(part.followed for part in parts)
        return PointState(count, blocks, parts[0].frame, followed, _joined_texture(parts))

    def select(self, state: PointState, index: Array) -> PointState:
        """The points at `index` alone."""

        def selected(spec: TensorSpec) -> Array:
            rows = self.rows(spec.name, state)
            return rows if spec.points_axis is None else np.take(rows, index, spec.points_axis)

        followed = int((index < state.followed).sum())
        texture = None if state.texture is None else state.texture[index]
        blocks = self.keep({s.name: selected(s) for s in self.specs}, len(index)) if len(index) else ()
        return PointState(len(index), blocks, state.frame, followed, texture)

    def to_arrays(self, state: PointState) -> dict[str, Array]:
        """Copies for saving, without the rows that only fill up; none without points."""
        if not state.count:
            return {}
        beside = {FRAME: state.frame, TEXTURE: state.texture}
        kept = {name: array for name, array in beside.items() if array is not None}
        return {s.name: self.rows(s.name, state) for s in self.specs} | kept

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
        wanted = {s.name: (s.shape_for(count), s.dtype) for s in self.specs if count}
        found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        if found != wanted:
            raise ValueError(f"it holds {found or 'no tensors'}, but {count} points have {wanted or 'none'}")
        return PointState(count, self.keep(arrays, count), frame, count, texture)
