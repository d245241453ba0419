"""Ways to run a model.

Of a causal model, on one frame; they differ in speed alone, the tracks agree to 0.01 px:
fused   one compiled stage, `step`, from frame to estimates
native  compiled stages with tapkernels between them: encode, locate, then per iteration lookup (kernel) and mixer

Of a model that sees all of a clip:
clip    the stages of native, and lookups, frame by frame; the mixer over all frames (see `tapsdk.runtime.clip`)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import tapkernels
from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import NEXT, Level, Visibility
from tapsdk.backends import Array, Backend, Session, Tensor
from tapsdk.errors import BackendError
from tapsdk.runtime.flow import Following
from tapsdk.runtime.point_state import Rows, RowStore, pad


@dataclass(frozen=True)
class Estimates:
    """xy [N, 2] float32 in the space of the manifest's `resolution`, logits [N] by name; [N, T, ...] of a clip."""

    xy: Array
    logits: Mapping[str, Array]


def confidence_of(logits: Mapping[str, Array], visibility: Visibility) -> NDArray[np.float32]:
    """The manifest's rule: the product of sigmoid(sign * logit), [N]."""
    shares = [
        1 / (1 + np.exp(-sign * np.clip(logits[name].astype(np.float64), -80, 80)))
        for name, sign in visibility.logits.items()
    ]
    return np.asarray(np.prod(shares, axis=0), np.float32)


class Plan(Protocol):
    name: str
    store: RowStore
    """Keeps what points own from frame to frame."""

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
        self.buckets = artifact.manifest.buckets.get(self.format, ())
        self._opened: dict[tuple[str, int | None], Session] = {}

    def open(self, name: str, points: int) -> Session:
        """A stage for tensors of `points` rows."""
        key = name, points if self.buckets else None
        if key not in self._opened:
            file = self.artifact.file(name, self.format)
            self._opened[key] = self.backend.open(file, self.artifact.stage(name), key[1])
        return self._opened[key]


class _FrameByFrame(ABC):
    """What the plans of a causal model share: the rows of points that join, and what becomes of estimates.

    A frame is encoded for points that join only when there are any.
    """

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        stages = _Stages(artifact, backend)
        self._manifest = artifact.manifest
        self._backend, self._open, self._stage = backend, stages.open, artifact.stage
        step, query = artifact.stage("step"), artifact.stage("query")
        self._grids = [t.name for t in query.with_role("feature")]
        specs = step.with_role("query", "previous", "active", "state")
        self.store = RowStore(specs, backend, stages.buckets)
        self._state = [t.name for t in step.with_role("state")]
        self._previous = [t.name for t in step.with_role("previous")]
        self._active = [t.name for t in step.with_role("active")]
        # Whatever cannot be opened should be known now, not at the first point.
        self._open("query", self.store.capacity(1))

    def begin(self, frame: Array, xy: Array, delay: Array | None = None) -> Rows:
        count, capacity = len(xy), self.store.capacity(len(xy))
        delay = np.zeros(count, np.float32) if delay is None else delay
        given = {"points": pad(xy, 0, capacity), "delay": pad(delay, 0, capacity)}
        stage = self._stage("query")
        inputs = {t.name: given[t.role] for t in stage.with_role("points", "delay")}
        if self._grids:
            grids = self._open("encode", capacity).run({"frame": frame}, keep=self._grids)
            inputs |= {name: grids[name] for name in self._grids}
        told = self._open("query", capacity).run(inputs, keep=[t.name for t in stage.outputs])
        state = self.store.zeros([name for name in self._state if name not in told], count)
        active = pad(np.ones(count, np.float32), 0, capacity)
        return Rows(
            count, {**state, **{name: self._backend.keep(active) for name in self._active}, **self._at(xy), **told}
        )

    def step(self, frame: Array, rows: Rows) -> tuple[Estimates, Rows]:
        found, state = self._estimate(frame, rows)
        following = self._manifest.following
        if following:
            found = replace(found, xy=self._settled(following, frame, rows, found))
        after = {**rows.tensors, **self._at(found.xy), **state}
        return found, Rows(rows.count, after, frame if following else None, rows.count)

    @abstractmethod
    def _estimate(self, frame: Array, rows: Rows) -> tuple[Estimates, dict[str, Tensor]]:
        """The model's estimates, and the state for the next frame."""

    def _settled(self, following: Following, frame: Array, rows: Rows, found: Estimates) -> Array:
        """Positions [N, 2] that follow the picture since the frame before."""
        (name,) = self._previous
        xy = np.array(self._backend.fetch(rows.tensors[name])[: rows.count])
        missed, old = np.zeros(rows.count, np.float32), slice(rows.seen)
        if rows.frame is not None:
            xy[old], missed[old] = following.follow(rows.frame[0], frame[0], xy[old], self._manifest.resolution)
        return following.blend(xy, missed, found.xy, confidence_of(found.logits, self._manifest.visibility))

    def _at(self, xy: Array) -> dict[str, Tensor]:
        """What the model wants to know of where the points are, for the next frame."""
        padded = pad(xy, 0, self.store.capacity(len(xy)))
        return {name: self._backend.keep(padded) for name in self._previous}


class FusedPlan(_FrameByFrame):
    name = "fused"

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        super().__init__(artifact, backend)
        self._open("step", self.store.capacity(1))

    def _estimate(self, frame: Array, rows: Rows) -> tuple[Estimates, dict[str, Tensor]]:
        session = self._open("step", self.store.capacity(rows.count))
        out = session.run({"frame": frame, **rows.tensors}, [NEXT + name for name in self._state])
        state = {name: out.pop(NEXT + name) for name in self._state}
        found = {name: value[: rows.count] for name, value in out.items()}
        return Estimates(found.pop("xy"), found), state


class NativePlan(_FrameByFrame):
    name = "native"

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        super().__init__(artifact, backend)
        native = artifact.manifest.native
        if native is None:
            raise BackendError(f"{artifact.directory} was exported without a plan for native kernels")
        if self.store.buckets:
            raise BackendError(f"{artifact.directory} takes fixed numbers of points; native kernels want any number")
        self._native, self._size = native, artifact.manifest.resolution
        self._lookup = _Lookup(native.levels, native.radius, self._size)
        self._encoder, self._locate, self._mixer = (self._open(name, 0) for name in ("encode", "locate", "mixer"))
        self._memory = [t.name for t in artifact.stage("mixer").with_role("state")]
        self._logits = [t.name for t in artifact.stage("mixer").with_role("logit")]
        (self._features,) = (t.name for t in artifact.stage("query").outputs)

    def _estimate(self, frame: Array, rows: Rows) -> tuple[Estimates, dict[str, Tensor]]:
        grids = self._encoder.run({"frame": frame})
        height, width = frame.shape[1:3]
        to_resolution = np.array([self._size[1] / width, self._size[0] / height], np.float32)
        features = self._backend.fetch(rows.tensors[self._features])
        known = {**rows.tensors, **grids, self._features: features}
        found = self._locate.run({t.name: known[t.name] for t in self._stage("locate").inputs})
        xy = found["xy"]
        mixed = {self._features: features, **{name: found[name] for name in self._logits}}
        state: dict[str, Tensor] = {}
        for i in range(self._native.iterations):
            patches = self._lookup.patches(grids, xy, mixed[self._features])
            memory = {name: rows.tensors[f"{name}_{i}"] for name in self._memory}
            out = self._mixer.run({**mixed, **memory, "patches": patches}, [NEXT + n for n in self._memory])
            state |= {f"{name}_{i}": out[NEXT + name] for name in self._memory}
            xy = xy + out["offset"] * to_resolution
            mixed = {name: out[NEXT + name] for name in mixed}
        return Estimates(xy, {name: mixed[name] for name in self._logits}), state


class ClipPlan:
    """Calls the stages of a model that sees all of a clip. Grids are those of one frame, by name."""

    name = "clip"

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        stages, native = _Stages(artifact, backend), artifact.manifest.native
        if artifact.manifest.mode != "clip" or native is None or stages.buckets:
            raise BackendError(f"{artifact.directory} does not hold stages for clips of any number of points")
        self.iterations = native.iterations
        self._lookup = _Lookup(native.levels, native.radius, artifact.manifest.resolution)
        self._size = artifact.manifest.resolution
        self._encoder, self._query, self._locate, self._mixer = (
            stages.open(name, 0) for name in ("encode", "query", "locate", "mixer")
        )
        query, locate = artifact.stage("query"), artifact.stage("locate")
        self._seen = [t.name for t in query.with_role("feature")], [t.name for t in locate.with_role("feature")]
        (self._points,) = (t.name for t in query.with_role("points"))
        (features,) = query.outputs
        self._features, self.feature_width = features.name, int(features.shape[1])
        self._logits = [t.name for t in artifact.stage("mixer").with_role("logit")]

    def encode(self, frame: Array) -> dict[str, Array]:
        """Grids of a frame [1, H, W, 3]."""
        return self._encoder.run({"frame": frame})

    def describe(self, grids: Mapping[str, Array], xy: Array) -> Array:
        """Features [N, C] of points xy [N, 2] of the frame, in the space of `resolution`."""
        seen = {name: grids[name] for name in self._seen[0]}
        return self._query.run({**seen, self._points: xy})[self._features]

    def locate(self, grids: Mapping[str, Array], features: Array) -> Estimates:
        """Where points with features [N, C] are in the frame, at first sight."""
        # Copied, since they may lie in a file, and not every engine takes memory that cannot be written to.
        seen = {name: np.array(grids[name]) for name in self._seen[1]}
        found = self._locate.run({**seen, self._features: features})
        return Estimates(found["xy"], {name: found[name] for name in self._logits})

    def patches(self, grids: Mapping[str, Array], xy: Array, features: Array) -> Array:
        """Scores [N, P] around xy [N, 2]; features [N, C] as refined for the frame."""
        return self._lookup.patches(grids, xy, features)

    def refine(
        self, estimates: Estimates, features: Array, patches: Array, size: tuple[int, int]
    ) -> tuple[Estimates, Array]:
        """Better estimates and features [N, T, C], from patches [N, T, P] of frames of (height, width) `size`."""
        out = self._mixer.run({"patches": patches, self._features: features, **estimates.logits})
        scale = np.array([self._size[1] / size[1], self._size[0] / size[0]], np.float32)
        logits = {name: out[NEXT + name] for name in self._logits}
        return Estimates(estimates.xy + out["offset"] * scale, logits), out[NEXT + self._features]


@dataclass(frozen=True)
class _Lookup:
    """Scores around points by tapkernels. size: (height, width) of the space that the points are in."""

    levels: Sequence[Level]
    radius: int
    size: tuple[int, int]

    def patches(self, grids: Mapping[str, Array], xy: Array, features: Array) -> Array:
        """[N, levels * (2 radius + 1)^2] of every level around xy [N, 2]."""

        def around(level: Level) -> Array:
            grid = grids[level.grid][0]
            scale = np.array([grid.shape[1] / self.size[1], grid.shape[0] / self.size[0]], np.float32)
            query = np.ascontiguousarray(features[:, slice(*level.channels)])
            return tapkernels.local_correlation(grid, query, xy * scale, self.radius)

        return np.concatenate([around(level) for level in self.levels], axis=1)


AnyPlan = Plan | ClipPlan
PLANS: dict[str, type[FusedPlan] | type[NativePlan] | type[ClipPlan]] = {
    plan.name: plan for plan in (FusedPlan, NativePlan, ClipPlan)
}
