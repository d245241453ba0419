"""A causal model, frame by frame. Two ways to run it, which differ in speed alone; the tracks agree to 0.01 px:

fused   one compiled stage, `step`, from frame to estimates
native  compiled stages with tapkernels between them, and in place of them where the manifest says so: encode, locate,
        then per iteration lookup (always a kernel) and mixer; on the processor alone, where kernels are
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import NEXT, Causal, FlowFusion, Manifest
from tapsdk.backends import Array, Backend, Session, Tensor
from tapsdk.errors import BackendError
from tapsdk.runtime.flow import Followed, follow, fuse, sighting, texture_around
from tapsdk.runtime.kernel_stages import open_kernels
from tapsdk.runtime.point_state import EMPTY, Block, Memory, OwnMemory, PointState, StateStore, split
from tapsdk.runtime.stages import Estimates, Lookup, OpenStages

BLOCK, JOINING = 64, 16
"""Points that a compiled stage of the native plan gets at once, always: for each frame, and when they join. An engine
chooses by the shapes of tensors how it adds numbers up, and shares the rows of some of them out among threads. So there
are fewer points to a stage than its matrices have columns, and a point's numbers do not depend on how many others there
are. Kernels need no such care."""


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
        self._previous = [t.name for t in step.with_role("previous")]
        self._active = [t.name for t in step.with_role("active")]
        stages.open_all(("query", *(["encode"] if self._grids else []), *self.stages), points)

    def begin(self, frame: Array | Tensor, xy: Array, delay: Array | None = None) -> PointState:
        """State of points [N] that join at frame [1, H, W, 3]; they are queried at xy [N, 2], `delay` frames later.

        A frame may be an array or a tensor of the backend's.
        """
        count = len(xy)
        delay = np.zeros(count, np.float32) if delay is None else delay
        described = self._describe(frame, xy, delay)
        memory = {t.name: t for t in self.store.specs if t.name in self._memory and t.name not in described}
        empty = {name: np.zeros(t.shape_for(count), t.dtype) for name, t in memory.items()}
        active = dict.fromkeys(self._active, np.ones(count, np.float32))
        blocks = self.store.keep({**empty, **active, **self._at(xy), **described}, count)
        fusion = self._manifest.flow
        texture = texture_around(fusion, self.seen(frame)[0], xy, self._manifest.points.space) if fusion else None
        return PointState(count, blocks, texture=texture)

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
        fusion = self._manifest.flow
        if fusion:
            frame = self.seen(frame)
            xy, confidence = self._fused_with_flow(fusion, frame, state, found)
            found = replace(found, xy=xy, confidence=confidence)
        previous = self.store.keep(self._at(found.xy), state.count)
        blocks = [{**b, **p, **m} for b, p, m in zip(state.blocks, previous, memory, strict=True)]
        return found, PointState(state.count, blocks, frame if fusion else None, state.count, state.texture)

    def seen(self, frame: Array | Tensor) -> Array:
        """A frame as an array."""
        return frame if isinstance(frame, np.ndarray) else self._backend.fetch(frame)

    @abstractmethod
    def _estimate(self, frame: Array | Tensor, state: PointState, spent: PointState) -> tuple[Estimates, list[Block]]:
        """The model's estimates, and what it remembers for the next frame, block by block."""

    def _fused_with_flow(
        self, fusion: FlowFusion, frame: Array, state: PointState, found: Estimates
    ) -> tuple[Array, Array]:
        """Positions [N, 2] that follow the picture since the frame before, and the confidence [N] in them."""
        (name,) = self._previous
        xy = self.store.rows(name, state)
        missed, old = np.zeros(state.count, np.float32), slice(state.followed)
        if state.frame is not None:
            frames, space = (state.frame[0], frame[0]), self._manifest.points.space
            xy[old], missed[old] = follow(fusion, *frames, xy[old], space, self._backend.threads)
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


class NativePlan(CausalPlan):
    name = "native"
    stages: tuple[str, ...] = ("encode", "locate", "mixer")
    block: int | None = BLOCK
    joining = JOINING

    @classmethod
    def fits(cls, manifest: Manifest, format: str) -> bool:
        program = manifest.program
        return isinstance(program, Causal) and program.native is not None and format not in manifest.points.buckets

    def __init__(self, artifact: Artifact, backend: Backend, points: int = 1) -> None:
        program, space = artifact.manifest.program, artifact.manifest.points.space
        if not isinstance(program, Causal) or program.native is None:
            raise BackendError(f"{artifact.directory} was exported without a plan for native kernels")
        if not backend.place.on_processor:
            raise BackendError(
                f"the native plan computes on the processor, between stages and in place of them, and "
                f"{backend.describe()} does not: use {backend.name}:{FusedPlan.name}, or device 'cpu'"
            )
        native, threads, shared = program.native, backend.threads, artifact.weights()
        self.reuses = bool(native.kernels)
        if native.kernels:
            self.stages, self.block = ("encode",), None
        super().__init__(artifact, backend, points, OwnMemory() if native.kernels else None)
        if self.store.buckets:
            raise BackendError(f"{artifact.directory} takes fixed numbers of points; native kernels want any number")
        self._mixer_memory = [t.name for t in artifact.stage("mixer").with_role("state")]
        self._logits = [t.name for t in artifact.stage("mixer").with_role("logit")]
        (self._features,) = (t.name for t in artifact.stage("query").outputs)
        self._iterations, self._space = native.iterations, space
        self._lookup = Lookup(native.levels, native.radius, space, threads)
        self._encoder = self._open("encode", 0)
        kernels = open_kernels(artifact, native, threads)
        self._locate, self._mixer = (kernels.get(name) or self._compiled(name) for name in ("locate", "mixer"))
        del shared  # until here it was read once for all

    def _compiled(self, name: str) -> CompiledStage:
        kept = [NEXT + name for name in self._mixer_memory] if name == "mixer" else []
        return CompiledStage(self._open(name, 0), kept)

    def _estimate(self, frame: Array | Tensor, state: PointState, spent: PointState) -> tuple[Estimates, list[Block]]:
        grids = self._encoder.run({"frame": frame})
        height, width = frame.shape[1:3]
        to_space = np.array([self._space[1] / width, self._space[0] / height], np.float32)
        located, estimates = self._located(grids, state)
        count, xy = state.count, _joined(located, "xy")[: state.count]
        memory: list[dict[str, Tensor]] = [{} for _ in state.blocks]
        room = spent.blocks if self.reuses and spent.count == count else [{}] * len(memory)
        for i in range(self._iterations):
            features = _joined(estimates, self._features)[:count]
            patches = self.store.split(self._lookup.patches(grids, xy, features))
            mixed = []
            for b, block in enumerate(state.blocks):
                before = {name: block[f"{name}_{i}"] for name in self._mixer_memory}
                into = {name: room[b][f"{name}_{i}"] for name in self._mixer_memory} if room[b] else {}
                mixed.append(self._mixer.run({**estimates[b], **before, "patches": patches[b]}, into))
                memory[b].update({f"{name}_{i}": mixed[-1][NEXT + name] for name in self._mixer_memory})
            xy = xy + _joined(mixed, "offset")[:count] * to_space
            estimates = [{name: each[NEXT + name] for name in estimates[0]} for each in mixed]
        return Estimates(xy, {name: _joined(estimates, name)[:count] for name in self._logits}), list(memory)

    def _located(self, grids: Mapping[str, Array], state: PointState) -> tuple[Sequence[Block], Sequence[Block]]:
        """What `locate` finds, and what the mixer is to correct: features and logits; block by block."""
        features = [self.store.memory.fetch(block[self._features]) for block in state.blocks]
        known = [{**b, **grids, self._features: f} for b, f in zip(state.blocks, features, strict=True)]
        wanted = [t.name for t in self._stage("locate").inputs]
        found = [self._locate.run({name: each[name] for name in wanted}, {}) for each in known]
        logits = [{name: each[name] for name in self._logits} for each in found]
        return found, [{self._features: f, **each} for f, each in zip(features, logits, strict=True)]


@dataclass(frozen=True)
class CompiledStage:
    """A stage that the engine computes, to be run as one that a kernel computes. kept: outputs that stay there."""

    session: Session
    kept: Sequence[str]

    def run(self, inputs: Mapping[str, Array | Tensor], into: Mapping[str, Tensor]) -> dict[str, Array | Tensor]:
        return self.session.run(inputs, self.kept)


def _joined(blocks: Sequence[Block], name: str) -> Array:
    """All rows of a tensor that has points along its first axis."""
    return blocks[0][name] if len(blocks) == 1 else np.concatenate([block[name] for block in blocks])
