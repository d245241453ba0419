"""A causal model, frame by frame. Two ways to run it, which differ in speed alone; the tracks agree to 0.01 px:

fused   one compiled stage, `step`, from frame to estimates
native  compiled stages with kernels (`tapsdk.runtime.native`); on the processor alone, where kernels are
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import NEXT, Causal, FlowFusion, Manifest
from tapsdk.backends import Array, Backend, Tensor
from tapsdk.runtime.flow import Followed, follow, fuse, sighting, texture_around
from tapsdk.runtime.point_state import EMPTY, TEXTURE, Block, Memory, PointState, StateStore, split
from tapsdk.runtime.stages import Estimates, OpenStages

FAR, FAR_IN_HALVES = 1e7, 2048.0
"""Pixels of the points' space: a position there says nothing of where a point is. From so far away all of a frame is
equally near, so that a motion prior prefers nothing. The second is for models in half precision, which holds the square
of no more."""
NEVER = 1 << 22
"""Frames until the query of a row that nobody has asked for yet; float32 still counts them one by one."""


class CausalPlan(ABC):
    """What both plans share: the state of points that join, and what becomes of estimates.

    A plan holds no state of its own: whoever tracks keeps a `PointState`, and any number of them use one plan. A frame
    is encoded for points that join only when there are any.
    """

    name: str
    stages: tuple[str, ...]
    """Those of each frame."""
    block: int | None = None
    """Rows that stages get at once, with zeros for points that there are not; None: all points together."""
    joining: int | None = None
    """The same, of points that join."""
    store: StateStore
    """Makes and edits what points own from frame to frame."""
    reuses = False
    """Whether `step` writes into the memory of a state that is spent."""

    @classmethod
    def fits(cls, manifest: Manifest, format: str) -> bool:
        """Whether an artifact's files of a format can be run so."""
        return isinstance(manifest.program, Causal)

    def __init__(self, artifact: Artifact, backend: Backend, points: int = 1, memory: Memory | None = None) -> None:
        """points: how many there will be, about. memory: where state is kept; None: on the backend's side."""
        stages = OpenStages(artifact, backend)
        self._manifest = artifact.manifest
        self._backend, self._open, self._stage = backend, stages.open, artifact.stage
        step, query = artifact.stage("step"), artifact.stage("query")
        self._grids = [t.name for t in query.with_role("feature")]
        specs = step.with_role("query", "previous", "active", "state")
        rounded = backend.place.few_shapes and artifact.manifest.points.independent
        self.store = StateStore(specs, memory or backend, stages.buckets, self.block, rounded)
        self._memory = [t.name for t in step.with_role("state")]
        self._described = [t.name for t in query.outputs]
        self._previous = [t.name for t in step.with_role("previous")]
        self._active = [t.name for t in step.with_role("active")]
        self._far = FAR if self._manifest.precision == "fp32" else FAR_IN_HALVES
        stages.open_all(("query", *(["encode"] if self._grids else []), *self.stages), points)

    @property
    def knows_by_looks(self) -> bool:
        """Whether the model knows points by what a picture shows of them; others know them by where they were."""
        return bool(self._stage("query").with_role("feature", "frame"))

    def looks(self, frame: Array | Tensor, xy: Array) -> dict[str, Array]:
        """What points at xy [N, 2] of frame [1, H, W, 3] are known by from then on, by name, with points first.

        What the model remembers after that frame is part of it, in half precision: one that remembers nothing takes the
        next frame for the one that it was asked in, and is sure of whatever it finds there.
        """
        if not len(xy):
            return {name: np.zeros(shape, np.float32) for name, shape in self.shapes_of_looks(0).items()}
        begun = self.begin(frame, xy)
        after = self.step(frame, begun)[1]
        names = {**dict.fromkeys(self._described, begun), **dict.fromkeys(self._memory, after)}
        looks = {name: np.moveaxis(self.store.rows(name, state), self._axis(name), 0) for name, state in names.items()}
        looks |= {name: looks[name].astype(np.float16) for name in self._memory}
        return looks if begun.texture is None else {**looks, TEXTURE: begun.texture}

    def shapes_of_looks(self, count: int) -> dict[str, tuple[int, ...]]:
        """Of what `looks` gives for so many points, by name."""
        named = {spec.name: spec.shape_for(count) for spec in self.store.specs}
        axes = {name: self._axis(name) for name in (*self._described, *self._memory)}
        shapes = {name: (count, *np.delete(named[name], axis).tolist()) for name, axis in axes.items()}
        return {**shapes, TEXTURE: (count,)} if self._manifest.flow else shapes

    def _axis(self, name: str) -> int:
        """Of the points, in a tensor that has one."""
        return next(s.points_axis for s in self.store.specs if s.name == name) or 0

    def begin(
        self, frame: Array | Tensor, xy: Array, delay: Array | None = None, known: Mapping[str, Array] | None = None
    ) -> PointState:
        """State of points [N] that join at frame [1, H, W, 3]; they are queried at xy [N, 2], `delay` frames later.

        A frame may be an array or a tensor of the backend's. known: rows of what `looks` gave, of those points whose xy
        is NaN: they may be anywhere.
        """
        count, fusion = len(xy), self._manifest.flow
        delay = np.zeros(count, np.float32) if delay is None else delay
        anywhere = np.isnan(xy[:, 0])
        at = np.where(anywhere[:, None], 0, xy)
        arrays = self._describe(frame, at, delay)
        memory = {t.name: t for t in self.store.specs if t.name in self._memory and t.name not in arrays}
        arrays |= {name: np.zeros(t.shape_for(count), t.dtype) for name, t in memory.items()}
        if fusion:
            arrays[TEXTURE] = texture_around(fusion, self.seen(frame)[0], at, self._manifest.points.space)
        for name, rows in (known or {}).items():
            arrays[name] = arrays[name].copy()
            np.moveaxis(arrays[name], 0 if name == TEXTURE else self._axis(name), 0)[anywhere] = rows
        texture = arrays.pop(TEXTURE, None)
        arrays |= dict.fromkeys(self._active, np.ones(count, np.float32))
        arrays |= self._at(np.where(anywhere[:, None], np.float32(self._far), xy))
        return PointState(count, self.store.keep(arrays, count), texture=texture)

    def fill(self, state: PointState, first: int, frame: Array | Tensor, xy: Array) -> PointState:
        """The state with points queried at xy [M, 2] of frame [1, H, W, 3], in rows from `first` on, which stood
        for points to come."""
        told = {**self._describe(frame, xy, np.zeros(len(xy), np.float32)), **self._at(xy)}
        rows = {spec.name: self.store.rows(spec.name, state) for spec in self.store.specs}
        for spec in self.store.specs:
            if spec.name in told and spec.points_axis is not None:
                np.moveaxis(rows[spec.name], spec.points_axis, 0)[first : first + len(xy)] = told[spec.name]
        return replace(state, blocks=self.store.keep(rows, state.count))

    def _describe(self, frame: Array | Tensor, xy: Array, delay: Array) -> dict[str, Array]:
        """What the model knows points [N, 2] by, all of them in each array."""
        count, stage = len(xy), self._stage("query")
        rows = self.joining or self.store.capacity(count)
        parts = {"points": split(xy, rows), "delay": split(delay, rows)}
        inputs = [(t.name, parts[t.role]) for t in stage.with_role("points", "delay")]
        grids = self._open("encode", rows).run({"frame": frame}, keep=self._grids) if self._grids else {}
        session, seen = self._open("query", rows), {name: grids[name] for name in self._grids}
        found = [session.run({**seen, **{name: part[i] for name, part in inputs}}) for i in range(len(parts["points"]))]
        axes = {t.name: t.points_axis for t in stage.outputs}
        return {
            name: found[0][name]
            if axis is None
            else np.concatenate([each[name] for each in found], axis).take(range(count), axis)
            for name, axis in axes.items()
        }

    def step(self, frame: Array | Tensor, state: PointState, spent: PointState = EMPTY) -> tuple[Estimates, PointState]:
        """Estimates for frame [1, H, W, 3], and the state for the next one. At least one point.

        spent: a state that nobody will ask for any more, such as the one before; its memory may be used again.
        """
        found, memory = self._estimate(frame, state, spent)
        fusion, before = self._manifest.flow, self._last_positions(state)
        anywhere = self._anywhere(before)
        if fusion:
            frame = self.seen(frame)
            xy, certainty = self._fused_with_flow(fusion, frame, state, before, found)
            found = replace(found, xy=xy, certainty=certainty)
        unseen = self._unseen(found, anywhere) if anywhere.any() else np.zeros(state.count, np.bool_)
        place = np.where(unseen[:, None], np.float32(self._far), found.xy)
        previous = self.store.keep(self._at(place), state.count)
        blocks = [{**b, **p, **m} for b, p, m in zip(state.blocks, previous, memory, strict=True)]
        after = PointState(state.count, blocks, frame if fusion else None, state.count, state.texture)
        return found, self._unchanged(after, state, unseen)

    def moved(self, state: PointState, frame: Array, xy: Array) -> PointState:
        """The state with its points at xy [N, 2] of frame [1, H, W, 3], which the model does not look at."""
        if not self._previous:
            return state
        places = np.where(self._anywhere(self._last_positions(state))[:, None], np.float32(self._far), xy)
        previous = self.store.keep(self._at(places), state.count)
        blocks = [{**b, **p} for b, p in zip(state.blocks, previous, strict=True)]
        fusion = self._manifest.flow
        return replace(state, blocks=blocks, frame=frame if fusion else None, followed=state.count)

    def _unchanged(self, after: PointState, before: PointState, which: Array) -> PointState:
        """What is remembered of points [N] as it was before: a frame without them is nothing that they came through."""
        if not which.any():
            return after
        arrays = {spec.name: self.store.rows(spec.name, after) for spec in self.store.specs}
        for name in self._memory:
            now, then = (np.moveaxis(a, self._axis(name), 0) for a in (arrays[name], self.store.rows(name, before)))
            now[which] = then[which]
        return replace(after, blocks=self.store.keep(arrays, after.count))

    def _unseen(self, found: Estimates, anywhere: Array) -> Array:
        """[N] points that may be anywhere, [N] `anywhere`, and were not seen in this frame either."""
        rule = self._manifest.visibility
        return np.asarray(anywhere & ~(found.certainty_by(rule) > rule.threshold))

    def _last_positions(self, state: PointState) -> Array:
        """[N, 2] in the points' space, [0, 2] for models that are not told of them."""
        return self.store.rows(self._previous[0], state) if self._previous else np.zeros((0, 2), np.float32)

    def _anywhere(self, xy: Array) -> Array:
        """[N] whether such a position says nothing."""
        return np.asarray(xy[:, 0] >= self._far / 2)

    def seen(self, frame: Array | Tensor) -> Array:
        """A frame as an array."""
        return frame if isinstance(frame, np.ndarray) else self._backend.fetch(frame)

    @abstractmethod
    def _estimate(self, frame: Array | Tensor, state: PointState, spent: PointState) -> tuple[Estimates, list[Block]]:
        """The model's estimates, and what it remembers for the next frame, block by block."""

    def _fused_with_flow(
        self, fusion: FlowFusion, frame: Array, state: PointState, before: Array, found: Estimates
    ) -> tuple[Array, Array]:
        """Positions [N, 2] that follow the picture since the frame before, where they were at `before` [N, 2], and the
        certainty [N] of them."""
        xy, missed, old = before.copy(), np.zeros(state.count, np.float32), slice(state.followed)
        if state.frame is not None:
            frames, space = (state.frame[0], frame[0]), self._manifest.points.space
            xy[old], missed[old] = follow(fusion, *frames, xy[old], space, self._backend.threads)
        if state.lost is not None:
            missed[state.lost] = np.inf
            fusion = replace(fusion, pull=1 - (1 - fusion.pull) ** (1 + state.passed))
        anywhere = self._anywhere(before)
        xy[anywhere], missed[anywhere] = self._far, np.inf
        texture = np.full(state.count, np.inf, np.float32) if state.texture is None else state.texture
        seen = sighting(found.xy, found.logits, self._manifest.visibility, fusion)
        return fuse(fusion, Followed(xy, missed, texture), seen)

    def _at(self, xy: Array) -> dict[str, Array]:
        """What the model wants to know of where the points are, for the next frame."""
        return dict.fromkeys(self._previous, xy)


class FusedPlan(CausalPlan):
    name = "fused"
    stages = ("step",)

    def _estimate(self, frame: Array | Tensor, state: PointState, spent: PointState) -> tuple[Estimates, list[Block]]:
        session = self._open("step", self.store.capacity(state.count))
        (block,) = state.blocks
        out = session.run({"frame": frame, **block}, [NEXT + name for name in self._memory])
        memory = {name: out.pop(NEXT + name) for name in self._memory}
        found = {name: value[: state.count] for name, value in out.items()}
        return Estimates(found.pop("xy"), found), [memory]
