"""A model that encodes all frames, then refines the tracks of points over time.

Each frame is encoded once, and its feature grids go to a file. Groups of points then pass over all frames: once to
locate them, and once for every refinement, which looks up scores around each point in the grids and gives them to the
mixer. The mixer gets a long video in chunks, and on both sides of each as many frames as it looks at: `reach`. That is
the same as all frames at once, and how many iterations there are does not matter, since each goes through the whole
video before the next begins. So what is needed in memory is bounded, except for some kilobytes of a single point in
each frame. The file grows with the video.

On a device that is not the processor grids stay there, as far as there is room for them, and scores are looked up by a
compiled stage, if the artifact has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import NEXT, Manifest, Refined, StageSpec
from tapsdk.backends import Array, Backend, Tensor
from tapsdk.errors import BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.journal import NO_JOURNAL, NoJournal
from tapsdk.runtime.sizes import RefinementSizes
from tapsdk.runtime.stages import Estimates, Lookup, OpenStages, as_stages_want
from tapsdk.runtime.video_pass import ANY_MEANS, Chunk, Means, Steps, VideoPass, chunks_of, point_groups
from tapsdk.system.spool import Spool
from tapsdk.video.frames import Frame

GROUP_ROWS = 2048
"""Points times frames that are tracked together, unless it is a single point; more where there is memory for them,
since every group reads what is kept of the video anew."""
MAX_GROUP = 256
"""Points at once, however few the frames are: the cost volume of one is as large as a grid."""
MIXER_ROWS = 512
"""Points times frames that the mixer gets at once. One takes 160 kB in TAPIR as published:
with more of them a processor's cache holds less, and with fewer than a hundred products of matrices become slow."""
REACHES = 4
"""As many times what the mixer looks at on a side are the frames that it gets at once, at least: then half of them are
looked at for others alone, at most."""
XY = "xy"
"""Name of positions beside those of logits."""


DEVICE_BYTES = 2 << 30
"""Of grids that stay on a device; those of later frames go to a file."""
LOOKUP = "lookup"
"""The stage that looks scores up where kernels do not run; older artifacts have none."""


class RefinedPlan:
    """Calls the stages, and tapkernels between them. Grids are those of one frame, by name: arrays, or on a device that
    looks scores up itself, tensors."""

    name = "refined"

    @classmethod
    def fits(cls, manifest: Manifest, format: str) -> bool:
        return isinstance(manifest.program, Refined) and format not in manifest.points.buckets

    def __init__(self, artifact: Artifact, backend: Backend, points: int = 1) -> None:
        """points: of no account, since any number goes through these stages."""
        stages, program = OpenStages(artifact, backend), artifact.manifest.program
        if not isinstance(program, Refined) or stages.buckets:
            raise BackendError(f"{artifact.directory} does not hold stages for whole videos and any number of points")
        self.frames, self._space = artifact.manifest.frames, artifact.manifest.points.space
        self._backend = backend
        self.iterations, self.reach = program.refinement.iterations, program.reach
        self._lookup = Lookup(program.refinement.levels, program.refinement.radius, self._space, backend.threads)
        self._encoder, self._query, self._locate, self._mixer = (
            stages.open(name, 0) for name in ("encode", "query", "locate", "mixer")
        )
        query, locate = artifact.stage("query"), artifact.stage("locate")
        self._query_grids = [t.name for t in query.with_role("feature")]
        self._locate_grids = [t.name for t in locate.with_role("feature")]
        (self._points,) = (t.name for t in query.with_role("points"))
        (features,) = query.outputs
        self._features, self.feature_width = features.name, int(features.shape[1])
        mixer = artifact.stage("mixer")
        self._logits = [t.name for t in mixer.with_role("logit")]
        self.row_bytes = 2 * sum(4 * math.prod(t.shape_for(1)) for t in (*mixer.inputs, *mixer.outputs))
        """Of a point in a frame, while it is refined: what the mixer takes and gives, twice for a moment."""
        away = not backend.place.on_processor and LOOKUP in artifact.manifest.stages
        self._looker = (stages.open(LOOKUP, 0), artifact.stage(LOOKUP)) if away else None
        self._encoded = artifact.stage("encode").outputs
        self.kept = self._needed(query, locate, artifact.stage(LOOKUP)) if away else ()
        """Grids that stay on the device; none where all of them are arrays."""

    def _needed(self, *stages: StageSpec) -> tuple[str, ...]:
        """Grids that some stages take."""
        names = {t.name for stage in stages for t in stage.with_role("feature")}
        return tuple(t.name for t in self._encoded if t.name in names)

    def bytes_of(self, size: Size) -> int:
        """Of the grids that stay, for a frame of (height, width) `size`."""
        return sum(4 * math.prod(t.shape_for(0, size)) for t in self._encoded if t.name in self.kept)

    def fetch(self, grids: Mapping[str, Tensor]) -> dict[str, Array]:
        """Grids that stayed, as arrays."""
        return {name: self._backend.fetch(grid) for name, grid in grids.items()}

    def start(
        self, sizes: RefinementSizes, t: NDArray[np.int64], xy: NDArray[np.float32], means: Means = ANY_MEANS
    ) -> RefinedPass:
        """A video to come; points are queried at xy [N, 2], in the points' space, in frames t [N]."""
        return RefinedPass(self, sizes, t, xy, means)

    def prepare(self, image: Frame, size: Size) -> Array | Tensor:
        """A frame [H, W, 3] as `encode` takes it, of (height, width) `size`."""
        return as_stages_want(image, size, self.frames, self._backend)

    def encode(self, frame: Array | Tensor) -> dict[str, Array]:
        """Grids of a frame [1, H, W, 3]."""
        if not self.kept:
            return self._encoder.run({"frame": frame})
        found = self._encoder.run({"frame": frame}, [t.name for t in self._encoded])
        return {name: found[name] for name in self.kept}

    def describe(self, grids: Mapping[str, Array], xy: Array) -> Array:
        """Features [N, C] of points xy [N, 2] of the frame, in the points' space."""
        wanted = {name: grids[name] for name in self._query_grids}
        return self._query.run({**wanted, self._points: xy})[self._features]

    def locate(self, grids: Mapping[str, Array], features: Array) -> Estimates:
        """Where points with features [N, C] are in the frame, at first sight."""
        wanted = {name: _in_memory(grids[name]) for name in self._locate_grids}
        found = self._locate.run({**wanted, self._features: features})
        return Estimates(found["xy"], {name: found[name] for name in self._logits})

    def patches(self, grids: Mapping[str, Array], xy: Array, features: Array) -> Array:
        """Scores [N, P] around xy [N, 2]; features [N, C] as refined for the frame."""
        if self._looker:
            session, stage = self._looker
            (points,), (query,), (scores,) = stage.with_role("points"), stage.with_role("query"), stage.outputs
            seen = {t.name: _in_memory(grids[t.name]) for t in stage.with_role("feature")}
            return session.run({**seen, points.name: xy, query.name: features})[scores.name]
        return self._lookup.patches(grids, xy, features)

    def refine(
        self, estimates: Estimates, features: Array, patches: Array, size: Size, journal: NoJournal = NO_JOURNAL
    ) -> tuple[Estimates, Array]:
        """Better estimates and features [N, T, C], from patches [N, T, P] of frames of (height, width) `size`."""
        out = self._mix({"patches": patches, self._features: features, **estimates.logits}, journal)
        scale = np.array([self._space[1] / size[1], self._space[0] / size[0]], np.float32)
        logits = {name: out[NEXT + name] for name in self._logits}
        return Estimates(estimates.xy + out["offset"] * scale, logits), out[NEXT + self._features]

    def _mix(self, inputs: Mapping[str, Array], journal: NoJournal) -> dict[str, Array]:
        """What the mixer makes of arrays [N, T, ...], some points after the other, and one chunk after the other."""
        points, frames = inputs["patches"].shape[:2]
        out: dict[str, Array] = {}
        for part, chunk in self.calls(points, frames):
            seen = {name: array[part, chunk.first : chunk.last] for name, array in inputs.items()}
            for name, found in journal.once(partial(self._mixer.run, seen)).items():
                if name not in out:
                    out[name] = np.empty((points, frames, *found.shape[2:]), found.dtype)
                out[name][part, chunk.start : chunk.stop] = found[:, chunk.core]
        return out

    def calls(self, points: int, frames: int) -> list[tuple[slice, Chunk]]:
        """The points and the frames that the mixer gets, time after time, for all of them."""
        length = frames if self.reach is None else max(MIXER_ROWS, REACHES * self.reach)
        margin = 0 if self.reach is None or length >= frames else self.reach
        groups = point_groups(points, min(frames, length), MIXER_ROWS, points)
        return [(group, chunk) for group in groups for chunk in chunks_of(frames, length - 2 * margin, margin)]


class RefinedPass(VideoPass):
    """A video, encoded, and the points that are tracked through it. Close it: it keeps files open."""

    def __init__(
        self,
        plan: RefinedPlan,
        sizes: RefinementSizes,
        t: NDArray[np.int64],
        start: NDArray[np.float32],
        means: Means = ANY_MEANS,
    ) -> None:
        super().__init__(means)
        self._plan, self._sizes, self._t, self._start = plan, sizes, t, start
        self._spools = {size: Grids(plan, size) for size in (sizes.base, *sizes.refinement)}
        width = plan.feature_width
        self._features = {size: np.zeros((len(t), width), np.float32) for size in self._spools}

    def append(self, image: Frame) -> None:
        asked = np.flatnonzero(self._t == self.frames)
        self.frames += 1
        if not len(self._t):
            return
        for size, spool in self._spools.items():
            grids = self._journal.once(partial(self._encode, image, size))
            spool.append(grids)
            if len(asked):
                self._features[size][asked] = self._plan.describe(grids, self._start[asked])

    def _encode(self, image: Frame, size: Size) -> Mapping[str, Array | Tensor]:
        grids = self._plan.encode(self._plan.prepare(image, size))
        return self._plan.fetch(grids) if self._plan.kept and self._journal.writes else grids

    def groups(self) -> list[slice]:
        rows = self._budget.points(len(self._t) * self.frames, None, self._plan.row_bytes)
        # What memory nobody knows of is not there to be used up.
        most = GROUP_ROWS if self._budget.total is None else max(GROUP_ROWS, rows)
        return point_groups(len(self._t), self.frames, most, MAX_GROUP)

    @property
    def steps(self) -> int:
        return self.frames * (1 + self._plan.iterations * len(self._sizes.refinement))

    def track(self, group: slice) -> Steps:
        start = yield from self._locate(group)
        estimates, refined = start, []
        for size in self._sizes.refinement:
            # Every resolution starts from the positions of the one before, but from the first logits.
            estimates = Estimates(estimates.xy, start.logits)
            estimates = yield from self._refine(estimates, group, size)
            refined.append(estimates)
        return _mean(refined)

    def _locate(self, group: slice) -> Steps:
        features, spool = self._features[self._sizes.base][group], self._spools[self._sizes.base]
        found = []
        for t in range(self.frames):
            found.append(self._journal.once(partial(self._located, spool, t, features)))
            yield
        stacked = {name: np.stack([each[name] for each in found], 1) for name in found[0]}
        xy = stacked.pop(XY)
        # One position is known: the refinement starts from the query itself in its own frame.
        asked = self._t[group]
        reached = np.flatnonzero(asked < self.frames)
        xy[reached, asked[reached]] = self._start[group][reached]
        return Estimates(xy, stacked)

    def _located(self, grids: Grids, t: int, features: Array) -> dict[str, Array]:
        """Positions and logits [N] at first sight, by name."""
        found = self._plan.locate(grids[t], features)
        return {XY: found.xy, **found.logits}

    def _refine(self, estimates: Estimates, group: slice, size: Size) -> Steps:
        features = np.repeat(self._features[size][group, None], self.frames, axis=1)
        for _ in range(self._plan.iterations):
            # Nothing has to be looked up where an earlier run knows what the mixer makes of it.
            known = self._journal.left >= len(self._plan.calls(*features.shape[:2]))
            patches = []
            for t in range(self.frames):
                if not known:
                    patches.append(self._plan.patches(self._spools[size][t], estimates.xy[:, t], features[:, t]))
                yield
            looked_up = np.zeros((*features.shape[:2], 0)) if known else np.stack(patches, 1)
            estimates, features = self._plan.refine(estimates, features, looked_up, size, self._journal)
        return estimates

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()


class Grids:
    """Those of frame after frame of one size: on the device while there is room, if they stay there, else in a file."""

    def __init__(self, plan: RefinedPlan, size: Size) -> None:
        self._plan, self._held = plan, list[Mapping[str, Tensor]]()
        self._room = DEVICE_BYTES // plan.bytes_of(size) if plan.kept else 0
        self._spool = Spool("the features of frames")

    def append(self, grids: Mapping[str, Array | Tensor]) -> None:
        """Raises SaveError."""
        away = not all(isinstance(grid, np.ndarray) for grid in grids.values())
        if away and len(self._held) < self._room:
            self._held.append(grids)
        else:
            self._spool.append(self._plan.fetch(grids) if away else grids)

    def __getitem__(self, t: int) -> Mapping[str, Array | Tensor]:
        return self._held[t] if t < len(self._held) else self._spool[t - len(self._held)]

    def close(self) -> None:
        self._held.clear()
        self._spool.close()


def _in_memory(grid: Array | Tensor) -> Array | Tensor:
    """A copy of an array, which may lie in a file: not every engine takes memory that cannot be written to."""
    return np.array(grid) if isinstance(grid, np.ndarray) else grid


def _mean(estimates: Sequence[Estimates]) -> Estimates:
    def mean(arrays: Iterator[Array]) -> Array:
        return np.asarray(np.mean(list(arrays), axis=0), np.float32)

    logits = {name: mean(each.logits[name] for each in estimates) for name in estimates[0].logits}
    return Estimates(mean(each.xy for each in estimates), logits)
