"""A model whose stages see many frames at once: one graph over a chunk of video.

The video is kept as the stages want it, in a file where it is long. Points are described in the chunk that holds their
query's frame, then found in every chunk. What this needs in memory is bounded by the size of a chunk and of a group of
points, not by the video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest, Whole
from tapsdk.backends import Array, Backend
from tapsdk.errors import BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.point_state import capacity, pad
from tapsdk.runtime.sizes import RefinementSizes
from tapsdk.runtime.stages import Estimates, OpenStages, preprocess
from tapsdk.runtime.video_pass import Steps, VideoPass, point_groups
from tapsdk.system.spool import Spool
from tapsdk.video.frames import Frame

MAX_ROWS = 2048
"""Points times frames of a chunk that are found at once, unless it is a single point: a cost volume each."""
MAX_GROUP = 256
SPOOL_BYTES = 256 << 20
"""Of prepared frames that stay in memory; beyond, they go to a file."""


@dataclass(frozen=True)
class Chunk:
    """Frames [start, stop) get their tracks; the stages see [first, last)."""

    start: int
    stop: int
    first: int
    last: int


def chunks_of(frames: int, program: Whole) -> list[Chunk]:
    """The chunks of a video, in order."""
    starts = range(0, frames, program.frames)
    stops = [min(start + program.frames, frames) for start in starts]
    return [
        Chunk(start, stop, max(0, start - program.margin), min(frames, stop + program.margin))
        for start, stop in zip(starts, stops, strict=True)
    ]


class WholePlan:
    """Calls the two stages, each with a chunk of video [T, h, w, 3]."""

    name = "whole"

    @classmethod
    def fits(cls, manifest: Manifest, format: str) -> bool:
        return isinstance(manifest.program, Whole)

    def __init__(self, artifact: Artifact, backend: Backend, points: int = 1) -> None:
        """points: how many there will be, about."""
        program = artifact.manifest.program
        if not isinstance(program, Whole):
            raise BackendError(f"{artifact.directory} does not hold stages for chunks of video")
        self.program, self.frames = program, artifact.manifest.frames
        self._stages = OpenStages(artifact, backend)
        self.buckets = self._stages.buckets
        self.most_points = min([MAX_GROUP, *self.buckets[-1:]])
        self._query, self._track = artifact.stage("query"), artifact.stage("track")
        self._fixed_length = _fixed_length(artifact)
        longest = program.frames + 2 * program.margin
        if self._fixed_length is not None and self._fixed_length < longest:
            raise BackendError(
                f"{artifact.directory} takes {self._fixed_length} frames, but its manifest asks for {longest} at once"
            )
        self._stages.open_all(("query", "track"), points)

    def start(self, sizes: RefinementSizes, t: NDArray[np.int64], xy: NDArray[np.float32]) -> WholePass:
        """A video to come; points are queried at xy [N, 2], in the points' space, in frames t [N]."""
        return WholePass(self, sizes.base, t, xy)

    def describe(self, video: Array, xy: Array, delay: Array) -> dict[str, Array]:
        """What the model knows points [N, 2] by, which lie in the frames of number delay [N] of the chunk."""
        room = capacity(len(xy), self.buckets)
        given = {"frame": self._padded(video), "points": pad(xy, 0, room), "delay": pad(delay, 0, room)}
        inputs = {t.name: given[t.role] for t in self._query.with_role("frame", "points", "delay")}
        found = self._stages.open("query", room).run(inputs)
        return {name: array[: len(xy)] for name, array in found.items()}

    def track(self, video: Array, described: dict[str, Array]) -> Estimates:
        """Estimates [N, T, ...] of described points in every frame of the chunk."""
        count = len(next(iter(described.values())))
        room = capacity(count, self.buckets)
        inputs = {name: pad(array, 0, room) for name, array in described.items()}
        (frame,) = (t.name for t in self._track.with_role("frame"))
        inputs |= {t.name: pad(np.ones(count, np.float32), 0, room) for t in self._track.with_role("active")}
        found = self._stages.open("track", room).run({**inputs, frame: self._padded(video)})
        cut = {name: np.asarray(array[:count, : len(video)], np.float32) for name, array in found.items()}
        return Estimates(cut.pop("xy"), cut)

    def _padded(self, video: Array) -> Array:
        """With the last frame again and again, where the stages take so many frames and no fewer."""
        missing = (self._fixed_length or len(video)) - len(video)
        return np.concatenate([video, np.repeat(video[-1:], missing, axis=0)]) if missing else video


class WholePass(VideoPass):
    """See the module's docstring."""

    def __init__(self, plan: WholePlan, size: Size, t: NDArray[np.int64], start: NDArray[np.float32]) -> None:
        super().__init__()
        self._plan, self._size, self._t, self._start = plan, size, t, start
        self._spool = Spool("the frames of the video", SPOOL_BYTES)
        self._described: dict[str, Array] = {}

    def append(self, image: Frame) -> None:
        self.frames += 1
        if len(self._t):
            self._spool.append({"frame": preprocess(image, self._size, self._plan.frames)[0]})

    def groups(self) -> list[slice]:
        frames = min(self.frames, self._plan.program.frames)
        return point_groups(len(self._t), frames, MAX_ROWS, self._plan.most_points)

    @property
    def steps(self) -> int:
        return len(chunks_of(self.frames, self._plan.program))

    def track(self, group: slice) -> Steps:
        if not self._described:
            self._describe()
        described = {name: array[group] for name, array in self._described.items()}
        parts = []
        for chunk in chunks_of(self.frames, self._plan.program):
            found = self._plan.track(self._video(chunk), described)
            core = slice(chunk.start - chunk.first, chunk.stop - chunk.first)
            parts.append(Estimates(found.xy[:, core], {name: each[:, core] for name, each in found.logits.items()}))
            yield
        logits = {name: np.concatenate([part.logits[name] for part in parts], 1) for name in parts[0].logits}
        return Estimates(np.concatenate([part.xy for part in parts], 1), logits)

    def _describe(self) -> None:
        """All points, each in the chunk of its query's frame."""
        for chunk in chunks_of(self.frames, self._plan.program):
            asked = np.flatnonzero((self._t >= chunk.start) & (self._t < chunk.stop))
            most = self._plan.most_points
            for some in (asked[first : first + most] for first in range(0, len(asked), most)):
                delay = (self._t[some] - chunk.first).astype(np.float32)
                for name, rows in self._plan.describe(self._video(chunk), self._start[some], delay).items():
                    if name not in self._described:
                        self._described[name] = np.zeros((len(self._t), *rows.shape[1:]), rows.dtype)
                    self._described[name][some] = rows

    def _video(self, chunk: Chunk) -> Array:
        """[T, h, w, 3] of the frames that the stages see."""
        return np.stack([self._spool[t]["frame"] for t in range(chunk.first, chunk.last)])

    def close(self) -> None:
        self._spool.close()


def _fixed_length(artifact: Artifact) -> int | None:
    """How many frames the stages take, where that is fixed; None: any number."""
    (frame,) = artifact.stage("track").with_role("frame")
    length = frame.shape[0]
    return length if isinstance(length, int) else None
