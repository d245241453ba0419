"""A model whose stages see many frames at once: one graph over a chunk of video.

The video is kept as the stages want it, in a file where it is long: as frames, or as the grids that a stage `encode`
makes of them as they come. Points are described in the chunk that holds their query's frame, then found in every chunk.
What this needs in memory is bounded by the size of a chunk and of a group of points, not by the video.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest, Whole
from tapsdk.backends import Array, Backend
from tapsdk.errors import BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.journal import NoJournal
from tapsdk.runtime.point_state import capacity, pad
from tapsdk.runtime.sizes import RefinementSizes
from tapsdk.runtime.stages import Estimates, OpenStages, preprocess
from tapsdk.runtime.video_pass import ANY_MEANS, Chunk, Means, Steps, VideoPass, chunks_of, point_groups
from tapsdk.system.spool import Spool
from tapsdk.video.frames import Frame

MAX_ROWS = 2048
"""Points times frames of a chunk that are found at once, unless it is a single point: a cost volume each."""
MAX_GROUP = 256
SPOOL_BYTES = 256 << 20
"""Of prepared frames, or of their grids, that stay in memory; beyond, they go to a file."""
VIDEO = "frame"
"""Name of the frames themselves in what is kept of a video."""
XY = "xy"
"""Name of positions beside those of logits."""


class WholePlan:
    """Calls the stages, each with a chunk of video: its frames [T, h, w, 3] or the grids of these [T, ...], by name."""

    name = "whole"

    @classmethod
    def fits(cls, manifest: Manifest, format: str) -> bool:
        return isinstance(manifest.program, Whole)

    def __init__(self, artifact: Artifact, backend: Backend, points: int = 1) -> None:
        """points: how many there will be, about."""
        program = artifact.manifest.program
        if not isinstance(program, Whole):
            raise BackendError(f"{artifact.directory} does not hold stages for chunks of video")
        self.program, self.frames, self.threads = program, artifact.manifest.frames, backend.threads
        self._stages = OpenStages(artifact, backend)
        self.buckets = self._stages.buckets
        # Rows that fill up cost as much as points do.
        filled = [size for size in self.buckets if size * program.frames <= MAX_ROWS] or self.buckets[:1]
        self.most_points = min([MAX_GROUP, *filled[-1:]])
        self._specs = artifact.manifest.stages
        self.encodes = "encode" in self._specs
        """Whether `describe` and `track` take grids, which `encode` gives; they take frames otherwise."""
        self._check_lengths(artifact)
        self._stages.open_all(("query", "track"), min(points, self.most_points))
        if self.encodes:
            self._stages.open("encode", 0)

    def _check_lengths(self, artifact: Artifact) -> None:
        """Of the stages that take so many frames and no fewer."""
        for name in self._specs:
            length, asked = self._length(name), self.program.frames
            if name == "encode" or not self.encodes:
                asked += 2 * self.program.margin
            if length is not None and length < asked:
                raise BackendError(
                    f"{artifact.directory} takes {length} frames, but its manifest asks for {asked} at once"
                )

    def start(
        self, sizes: RefinementSizes, t: NDArray[np.int64], xy: NDArray[np.float32], means: Means = ANY_MEANS
    ) -> WholePass:
        """A video to come; points are queried at xy [N, 2], in the points' space, in frames t [N]."""
        return WholePass(self, sizes.base, t, xy, means)

    def encode(self, video: Array) -> dict[str, Array]:
        """Grids [T, ...] of frames [T, h, w, 3]."""
        present = pad(np.ones(len(video), np.float32), 0, self._length("encode") or len(video))
        inputs = {t.name: present for t in self._specs["encode"].with_role("present")}
        grids = self._stages.open("encode", 0).run({**inputs, **self._looked_at("encode", {VIDEO: video})})
        return {name: grid[: len(video)] for name, grid in grids.items()}

    def describe(self, chunk: dict[str, Array], xy: Array, delay: Array) -> dict[str, Array]:
        """What the model knows points [N, 2] by, which lie in the frames of number delay [N] of the chunk."""
        room = capacity(len(xy), self.buckets)
        given = {"points": pad(xy, 0, room), "delay": pad(delay, 0, room)}
        inputs = {t.name: given[t.role] for t in self._specs["query"].with_role("points", "delay")}
        found = self._stages.open("query", room).run({**inputs, **self._looked_at("query", chunk)})
        return {name: array[: len(xy)] for name, array in found.items()}

    def track(self, chunk: dict[str, Array], described: dict[str, Array]) -> Estimates:
        """Estimates [N, T, ...] of described points in every frame of the chunk."""
        count, frames = (len(next(iter(arrays.values()))) for arrays in (described, chunk))
        room = capacity(count, self.buckets)
        inputs = {name: pad(array, 0, room) for name, array in described.items()}
        inputs |= {t.name: pad(np.ones(count, np.float32), 0, room) for t in self._specs["track"].with_role("active")}
        found = self._stages.open("track", room).run({**inputs, **self._looked_at("track", chunk)})
        cut = {name: np.asarray(array[:count, :frames], np.float32) for name, array in found.items()}
        return Estimates(cut.pop("xy"), cut)

    def _looked_at(self, stage: str, chunk: dict[str, Array]) -> dict[str, Array]:
        """What a stage takes of a chunk."""
        wanted, length = self._specs[stage].with_role("frame", "feature"), self._length(stage)
        return {t.name: _filled_up(chunk[VIDEO if t.role == "frame" else t.name], length) for t in wanted}

    def _length(self, stage: str) -> int | None:
        """How many frames a stage takes, where that is fixed; None: any number."""
        lengths = (t.shape[0] for t in self._specs[stage].with_role("frame", "feature"))
        length = next(lengths, None)
        return length if isinstance(length, int) else None


class Encoder:
    """Takes frames one by one, and appends their grids to a spool as soon as what these depend on is there."""

    def __init__(self, plan: WholePlan, spool: Spool, journal: NoJournal) -> None:
        self._plan, self._spool, self._journal = plan, spool, journal
        self._frames: list[Array] = []
        """Those that are looked at from now on, of which the first `_before` are encoded already."""
        self._before = 0

    def append(self, frame: Array) -> None:
        """frame: [h, w, 3]. Raises SaveError."""
        program = self._plan.program
        self._frames.append(frame)
        if len(self._frames) == self._before + program.frames + program.margin:
            self._encode()

    def finish(self) -> None:
        """No frames come any more. Raises SaveError."""
        while len(self._frames) > self._before:
            self._encode()

    def _encode(self) -> None:
        """One chunk, or what is left of the video."""
        program = self._plan.program
        last = self._before + program.frames
        grids = self._journal.once(lambda: self._plan.encode(np.stack(self._frames[: last + program.margin])))
        stop = min(last, len(self._frames))
        for t in range(self._before, stop):
            self._spool.append({name: grid[t] for name, grid in grids.items()})
        self._before = min(stop, program.margin)
        del self._frames[: stop - self._before]


class WholePass(VideoPass):
    """See the module's docstring."""

    def __init__(
        self, plan: WholePlan, size: Size, t: NDArray[np.int64], start: NDArray[np.float32], means: Means = ANY_MEANS
    ) -> None:
        super().__init__(means)
        self._plan, self._size, self._t, self._start = plan, size, t, start
        self._spool = Spool("the frames of the video", self._budget.spool(SPOOL_BYTES))
        self._encoder = Encoder(plan, self._spool, self._journal) if plan.encodes else None
        self._described: dict[str, Array] = {}

    def append(self, image: Frame) -> None:
        self.frames += 1
        if not len(self._t):
            return
        frame = preprocess(image, self._size, self._plan.frames, self._plan.threads)[0]
        if self._encoder:
            self._encoder.append(frame)
        else:
            self._spool.append({VIDEO: frame})

    def groups(self) -> list[slice]:
        frames = min(self.frames, self._plan.program.frames)
        return point_groups(len(self._t), frames, MAX_ROWS, self._plan.most_points)

    @property
    def steps(self) -> int:
        return len(self._chunks())

    def track(self, group: slice) -> Steps:
        if not self._described:
            self._describe()
        described = {name: array[group] for name, array in self._described.items()}
        parts = []
        for chunk in self._chunks():
            parts.append(self._journal.once(partial(self._track_in, chunk, described)))
            yield
        found = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
        return Estimates(found.pop(XY), found)

    def _track_in(self, chunk: Chunk, described: dict[str, Array]) -> dict[str, Array]:
        """Positions and logits [N, T, ...] in the frames of a chunk, by name."""
        found = self._plan.track(self._seen(chunk), described)
        return {name: array[:, chunk.core] for name, array in {XY: found.xy, **found.logits}.items()}

    def _describe(self) -> None:
        """All points, each in the chunk of its query's frame."""
        if self._encoder:
            self._encoder.finish()
        for chunk in self._chunks():
            asked = np.flatnonzero((self._t >= chunk.start) & (self._t < chunk.stop))
            most = self._plan.most_points
            for some in (asked[first : first + most] for first in range(0, len(asked), most)):
                delay = (self._t[some] - chunk.first).astype(np.float32)
                describe = partial(self._describe_in, chunk, self._start[some], delay)
                for name, rows in self._journal.once(describe).items():
                    if name not in self._described:
                        self._described[name] = np.zeros((len(self._t), *rows.shape[1:]), rows.dtype)
                    self._described[name][some] = rows

    def _describe_in(self, chunk: Chunk, xy: Array, delay: Array) -> dict[str, Array]:
        return self._plan.describe(self._seen(chunk), xy, delay)

    def _chunks(self) -> list[Chunk]:
        """Grids have looked at the frames beside theirs already."""
        program = self._plan.program
        return chunks_of(self.frames, program.frames, 0 if self._plan.encodes else program.margin)

    def _seen(self, chunk: Chunk) -> dict[str, Array]:
        """[T, ...] of what the stages see of a chunk, by name."""
        frames = [self._spool[t] for t in range(chunk.first, chunk.last)]
        return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}

    def close(self) -> None:
        self._spool.close()


def _filled_up(frames: Array, length: int | None) -> Array:
    """With the last frame again and again, where a stage takes so many frames and no fewer."""
    missing = (length or len(frames)) - len(frames)
    return np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]) if missing else frames
