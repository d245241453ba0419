"""A causal model by compiled stages with tapkernels between them, and in place of them where the manifest says so.

For each frame: encode and locate, then per iteration lookup, which is always a kernel, and mixer. All of it is on the
processor, where kernels are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import NEXT, Causal, Manifest
from tapsdk.backends import Array, Backend, Session, Tensor
from tapsdk.errors import BackendError
from tapsdk.runtime.causal import CausalPlan, FusedPlan
from tapsdk.runtime.kernel_stages import open_kernels
from tapsdk.runtime.point_state import Block, OwnMemory, PointState
from tapsdk.runtime.stages import Estimates, Lookup

BLOCK, JOINING = 64, 16
"""Points that a compiled stage of the native plan gets at once, always: for each frame, and when they join. An engine
chooses by the shapes of tensors how it adds numbers up, and shares the rows of some of them out among threads. So there
are fewer points to a stage than its matrices have columns, and a point's numbers do not depend on how many others there
are. Kernels need no such care."""


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
