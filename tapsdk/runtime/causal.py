"""A causal model, frame by frame. Two ways to run it, which differ in speed alone; the tracks agree to 0.01 px:

fused   one compiled stage, `step`, from frame to estimates
native  compiled stages with tapkernels between them: encode, locate, then per iteration lookup (kernel) and mixer
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import NEXT, Causal, FlowFusion, Manifest
from tapsdk.backends import Array, Backend, Tensor
from tapsdk.errors import BackendError
from tapsdk.runtime.flow import Followed, follow, fuse, sighting, texture_around
from tapsdk.runtime.point_state import PointState, StateStore, pad
from tapsdk.runtime.stages import Estimates, Lookup, OpenStages


class CausalPlan(ABC):
    """What both plans share: the state of points that join, and what becomes of estimates.

    A plan holds no state of its own: whoever tracks keeps a `PointState`, and any number of them use one plan. A frame
    is encoded for points that join only when there are any.
    """

    name: str
    stages: tuple[str, ...]
    """Those of each frame."""
    store: StateStore
    """Makes and edits what points own from frame to frame."""

    @classmethod
    def fits(cls, manifest: Manifest, format: str) -> bool:
        """Whether an artifact's files of a format can be run so."""
        return isinstance(manifest.program, Causal)

    def __init__(self, artifact: Artifact, backend: Backend, points: int = 1) -> None:
        """points: how many there will be, about."""
        stages = OpenStages(artifact, backend)
        self._manifest = artifact.manifest
        self._backend, self._open, self._stage = backend, stages.open, artifact.stage
        step, query = artifact.stage("step"), artifact.stage("query")
        self._grids = [t.name for t in query.with_role("feature")]
        specs = step.with_role("query", "previous", "active", "state")
        self.store = StateStore(specs, backend, stages.buckets)
        self._memory = [t.name for t in step.with_role("state")]
        self._previous = [t.name for t in step.with_role("previous")]
        self._active = [t.name for t in step.with_role("active")]
        stages.open_all(("query", *(["encode"] if self._grids else []), *self.stages), points)

    def begin(self, frame: Array, xy: Array, delay: Array | None = None) -> PointState:
        """State of points [N] that join at frame [1, H, W, 3]; they are queried at xy [N, 2], `delay` frames later."""
        count, capacity = len(xy), self.store.capacity(len(xy))
        delay = np.zeros(count, np.float32) if delay is None else delay
        given = {"points": pad(xy, 0, capacity), "delay": pad(delay, 0, capacity)}
        stage = self._stage("query")
        inputs = {t.name: given[t.role] for t in stage.with_role("points", "delay")}
        if self._grids:
            grids = self._open("encode", capacity).run({"frame": frame}, keep=self._grids)
            inputs |= {name: grids[name] for name in self._grids}
        described = self._open("query", capacity).run(inputs, keep=[t.name for t in stage.outputs])
        memory = self.store.zeros([name for name in self._memory if name not in described], count)
        active = self._backend.keep(pad(np.ones(count, np.float32), 0, capacity))
        tensors = {**memory, **dict.fromkeys(self._active, active), **self._at(xy), **described}
        fusion = self._manifest.flow
        texture = texture_around(fusion, frame[0], xy, self._manifest.points.space) if fusion else None
        return PointState(count, tensors, texture=texture)

    def step(self, frame: Array, state: PointState) -> tuple[Estimates, PointState]:
        """Estimates for frame [1, H, W, 3], and the state for the next one. At least one point."""
        found, memory = self._estimate(frame, state)
        fusion = self._manifest.flow
        if fusion:
            xy, confidence = self._fused_with_flow(fusion, frame, state, found)
            found = replace(found, xy=xy, confidence=confidence)
        tensors = {**state.tensors, **self._at(found.xy), **memory}
        return found, PointState(state.count, tensors, frame if fusion else None, state.count, state.texture)

    @abstractmethod
    def _estimate(self, frame: Array, state: PointState) -> tuple[Estimates, dict[str, Tensor]]:
        """The model's estimates, and what it remembers for the next frame."""

    def _fused_with_flow(
        self, fusion: FlowFusion, frame: Array, state: PointState, found: Estimates
    ) -> tuple[Array, Array]:
        """Positions [N, 2] that follow the picture since the frame before, and the confidence [N] in them."""
        (name,) = self._previous
        xy = np.array(self._backend.fetch(state.tensors[name])[: state.count])
        missed, old = np.zeros(state.count, np.float32), slice(state.followed)
        if state.frame is not None:
            xy[old], missed[old] = follow(fusion, state.frame[0], frame[0], xy[old], self._manifest.points.space)
        texture = np.full(state.count, np.inf, np.float32) if state.texture is None else state.texture
        seen = sighting(found.xy, found.logits, self._manifest.visibility, fusion)
        return fuse(fusion, Followed(xy, missed, texture), seen)

    def _at(self, xy: Array) -> dict[str, Tensor]:
        """What the model wants to know of where the points are, for the next frame."""
        padded = pad(xy, 0, self.store.capacity(len(xy)))
        return {name: self._backend.keep(padded) for name in self._previous}


class FusedPlan(CausalPlan):
    name = "fused"
    stages = ("step",)

    def _estimate(self, frame: Array, state: PointState) -> tuple[Estimates, dict[str, Tensor]]:
        session = self._open("step", self.store.capacity(state.count))
        out = session.run({"frame": frame, **state.tensors}, [NEXT + name for name in self._memory])
        memory = {name: out.pop(NEXT + name) for name in self._memory}
        found = {name: value[: state.count] for name, value in out.items()}
        return Estimates(found.pop("xy"), found), memory


class NativePlan(CausalPlan):
    name = "native"
    stages = ("encode", "locate", "mixer")

    @classmethod
    def fits(cls, manifest: Manifest, format: str) -> bool:
        program = manifest.program
        return isinstance(program, Causal) and program.native is not None and format not in manifest.points.buckets

    def __init__(self, artifact: Artifact, backend: Backend, points: int = 1) -> None:
        program, space = artifact.manifest.program, artifact.manifest.points.space
        if not isinstance(program, Causal) or program.native is None:
            raise BackendError(f"{artifact.directory} was exported without a plan for native kernels")
        super().__init__(artifact, backend, points)
        if self.store.buckets:
            raise BackendError(f"{artifact.directory} takes fixed numbers of points; native kernels want any number")
        self._iterations, self._space = program.native.iterations, space
        self._lookup = Lookup(program.native.levels, program.native.radius, space)
        self._encoder, self._locate, self._mixer = (self._open(name, 0) for name in ("encode", "locate", "mixer"))
        self._mixer_memory = [t.name for t in artifact.stage("mixer").with_role("state")]
        self._logits = [t.name for t in artifact.stage("mixer").with_role("logit")]
        (self._features,) = (t.name for t in artifact.stage("query").outputs)

    def _estimate(self, frame: Array, state: PointState) -> tuple[Estimates, dict[str, Tensor]]:
        grids = self._encoder.run({"frame": frame})
        height, width = frame.shape[1:3]
        to_space = np.array([self._space[1] / width, self._space[0] / height], np.float32)
        features = self._backend.fetch(state.tensors[self._features])
        known = {**state.tensors, **grids, self._features: features}
        found = self._locate.run({t.name: known[t.name] for t in self._stage("locate").inputs})
        xy = found["xy"]
        mixed = {self._features: features, **{name: found[name] for name in self._logits}}
        memory: dict[str, Tensor] = {}
        for i in range(self._iterations):
            patches = self._lookup.patches(grids, xy, mixed[self._features])
            before = {name: state.tensors[f"{name}_{i}"] for name in self._mixer_memory}
            out = self._mixer.run({**mixed, **before, "patches": patches}, [NEXT + n for n in self._mixer_memory])
            memory |= {f"{name}_{i}": out[NEXT + name] for name in self._mixer_memory}
            xy = xy + out["offset"] * to_space
            mixed = {name: out[NEXT + name] for name in mixed}
        return Estimates(xy, {name: mixed[name] for name in self._logits}), memory
