"""Ways to run a causal model on one frame. They differ in speed alone: the tracks agree to 0.01 px.

fused   one compiled stage, `step`, from frame to estimates
native  compiled stages with tapkernels between them: encode, locate, then per iteration lookup (kernel) and mixer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

import tapkernels
from tapsdk.artifact import Artifact
from tapsdk.backends import Array, Backend, Session, Tensor
from tapsdk.errors import BackendError
from tapsdk.manifest import NEXT, Level, TensorSpec
from tapsdk.rows import Rows, zero_rows


@dataclass(frozen=True)
class Estimates:
    """Of one frame: xy [N, 2] float32 in the space of the manifest's `resolution`, logits [N] by name."""

    xy: Array
    logits: Mapping[str, Array]


class Plan(Protocol):
    name: str
    rows: list[TensorSpec]
    """The tensors that a point owns."""

    def begin(self, frame: Array, xy: Array, delay: Array | None = None) -> Rows:
        """Rows for points [N] that join at frame [1, H, W, 3]; they are queried at xy [N, 2], `delay` frames later."""

    def step(self, frame: Array, rows: Rows) -> tuple[Estimates, Rows]:
        """Estimates for frame [1, H, W, 3], and the rows for the next one. At least one point."""


class _Stages:
    """Opens stages on one backend, once each, in a format that the backend reads."""

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        self.artifact, self.backend = artifact, backend
        formats = [f for f in backend.formats if f in artifact.manifest.formats]
        if not formats:
            raise BackendError(
                f"backend {backend.name!r} reads {', '.join(backend.formats)}, but {artifact.directory} holds "
                f"{', '.join(artifact.manifest.formats)}; export the model for it: python -m export "
                f"{artifact.manifest.model} --target {backend.formats[0]}"
            )
        self.format = formats[0]
        self._opened: dict[str, Session] = {}

    def open(self, name: str) -> Session:
        if name not in self._opened:
            file = self.artifact.file(name, self.format)
            self._opened[name] = self.backend.open(file, self.artifact.stage(name))
        return self._opened[name]


class _Beginning:
    """What the plans share: the rows of points that join; only then is the frame encoded for them."""

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        stages = _Stages(artifact, backend)
        self._backend, self._open, self._stage = backend, stages.open, artifact.stage
        step, query = artifact.stage("step"), artifact.stage("query")
        self._query = stages.open("query")
        self._grids = [t.name for t in query.with_role("feature")]
        self._encode = stages.open("encode") if self._grids else None
        self.rows = step.with_role("query", "previous", "state")
        self._state = step.with_role("state")
        self._previous = [t.name for t in step.with_role("previous")]

    def begin(self, frame: Array, xy: Array, delay: Array | None = None) -> Rows:
        stage = self._stage("query")
        delay = np.zeros(len(xy), np.float32) if delay is None else delay
        inputs = {t.name: {"points": xy, "delay": delay}[t.role] for t in stage.with_role("points", "delay")}
        if self._encode:
            grids = self._encode.run({"frame": frame}, keep=self._grids)
            inputs |= {name: grids[name] for name in self._grids}
        told = self._query.run(inputs, keep=[t.name for t in stage.outputs])
        state = zero_rows([t for t in self._state if t.name not in told], len(xy), self._backend)
        return Rows(len(xy), {**state, **self._at(xy), **told})

    def _at(self, xy: Array) -> dict[str, Tensor]:
        """What the model wants to know of where the points are, for the next frame."""
        return {name: self._backend.keep(xy) for name in self._previous}


class FusedPlan(_Beginning):
    name = "fused"

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        super().__init__(artifact, backend)
        self._step = self._open("step")

    def step(self, frame: Array, rows: Rows) -> tuple[Estimates, Rows]:
        keep = [NEXT + t.name for t in self._state]
        out = self._step.run({"frame": frame, **rows.tensors}, keep)
        state = {t.name: out.pop(NEXT + t.name) for t in self._state}
        xy = out.pop("xy")
        return Estimates(xy, out), Rows(rows.count, {**rows.tensors, **self._at(xy), **state})


class NativePlan(_Beginning):
    name = "native"

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        super().__init__(artifact, backend)
        native = artifact.manifest.native
        if native is None:
            raise BackendError(f"{artifact.directory} was exported without a plan for native kernels")
        self._native, self._size = native, artifact.manifest.resolution
        self._encoder = self._open("encode")
        self._locate, self._mixer = self._open("locate"), self._open("mixer")
        self._memory = [t.name for t in artifact.stage("mixer").with_role("state")]
        self._logits = [t.name for t in artifact.stage("mixer").with_role("logit")]
        (self._features,) = (t.name for t in artifact.stage("query").outputs)

    def step(self, frame: Array, rows: Rows) -> tuple[Estimates, Rows]:
        grids = self._encoder.run({"frame": frame})
        height, width = frame.shape[1:3]
        to_resolution = np.array([self._size[1] / width, self._size[0] / height], np.float32)
        features = self._backend.fetch(rows.tensors[self._features])
        known = {**rows.tensors, **grids, self._features: features}
        found = self._locate.run({t.name: known[t.name] for t in self._stage("locate").inputs})
        xy = found["xy"]
        mixed = {self._features: features, **{name: found[name] for name in self._logits}}
        state: dict[str, Array] = {}
        for i in range(self._native.iterations):
            patches = self._lookup(grids, xy, mixed[self._features])
            memory = {name: rows.tensors[f"{name}_{i}"] for name in self._memory}
            out = self._mixer.run({**mixed, **memory, "patches": patches}, [NEXT + n for n in self._memory])
            state |= {f"{name}_{i}": out[NEXT + name] for name in self._memory}
            xy = xy + out["offset"] * to_resolution
            mixed = {name: out[NEXT + name] for name in mixed}
        logits = {name: mixed[name] for name in self._logits}
        return Estimates(xy, logits), Rows(rows.count, {**rows.tensors, **self._at(xy), **state})

    def _lookup(self, grids: Mapping[str, Array], xy: Array, features: Array) -> Array:
        """Patches [N, levels * (2 radius + 1)^2] of every level around xy."""

        def patches(level: Level) -> Array:
            grid = grids[level.grid][0]
            scale = np.array([grid.shape[1] / self._size[1], grid.shape[0] / self._size[0]], np.float32)
            query = np.ascontiguousarray(features[:, slice(*level.channels)])
            return tapkernels.local_correlation(grid, query, xy * scale, self._native.radius)

        return np.concatenate([patches(level) for level in self._native.levels], axis=1)


PLANS: dict[str, type[FusedPlan] | type[NativePlan]] = {p.name: p for p in (FusedPlan, NativePlan)}
