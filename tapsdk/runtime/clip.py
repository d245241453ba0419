"""Points through the frames of a video that are all there at once, for models of mode "clip".

Each frame is encoded once, and its feature grids go to a file. Groups of points then pass over all frames: once to
locate them, and once for every refinement, which looks up scores around each point in the grids and gives them to the
mixer. What the mixer needs in memory is bounded by the size of a group, not by the video; only where the frames of a
single point exceed `MIXER_ROWS` does it grow with them. The file grows with the video.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO

import numpy as np
from numpy.typing import NDArray

import tapkernels
from tapsdk.backends import Array
from tapsdk.errors import SaveError
from tapsdk.geometry import Size
from tapsdk.runtime.sizes import ClipSizes
from tapsdk.runtime.stages import ClipPlan, Estimates
from tapsdk.video.frames import Frame

MIXER_ROWS = 2048
"""Points times frames that the mixer gets at once, unless it is a single point. One takes 160 kB in TAPIR as published,
so that all of them take a third of a gigabyte."""
MAX_GROUP = 256
"""Points at once, however few the frames are: the cost volume of one is as large as a grid."""

Steps = Generator[None, None, Estimates]
"""Work that pauses after every frame that it has looked at."""


class Clip:
    """A video, encoded, and the points that are tracked through it. Close it: it keeps files open."""

    def __init__(self, plan: ClipPlan, sizes: ClipSizes, t: NDArray[np.int64], start: NDArray[np.float32]) -> None:
        """Points are queried at start [N, 2], in the space of the manifest's `resolution`, in frames t [N]."""
        self._plan, self._sizes, self._t, self._start = plan, sizes, t, start
        self._spools = {size: GridSpool() for size in (sizes.base, *sizes.refinement)}
        width = plan.feature_width
        self._features = {size: np.zeros((len(t), width), np.float32) for size in self._spools}
        self.frames = 0
        """How many there are so far."""

    def append(self, image: Frame) -> None:
        """Encodes the next frame [H, W, 3]. Raises SaveError where its grids find no room."""
        asked = np.flatnonzero(self._t == self.frames)
        self.frames += 1
        if not len(self._t):
            return
        for size, spool in self._spools.items():
            grids = self._plan.encode(tapkernels.resize_normalize(image, *size)[None])
            spool.append(grids)
            if len(asked):
                self._features[size][asked] = self._plan.describe(grids, self._start[asked])

    def groups(self) -> list[slice]:
        """The points that are tracked together, a group after the other."""
        count = min(MAX_GROUP, max(1, MIXER_ROWS // max(1, self.frames)))
        return [slice(first, first + count) for first in range(0, len(self._t), count)]

    @property
    def steps(self) -> int:
        """How often `track` pauses for a group."""
        return self.frames * (1 + self._plan.iterations * len(self._sizes.refinement))

    def track(self, group: slice) -> Steps:
        """Returns the estimates of a group of points in all frames."""
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
            found.append(self._plan.locate(spool[t], features))
            yield
        xy = np.stack([each.xy for each in found], 1)
        # One position is known: the refinement starts from the query itself in its own frame.
        asked = self._t[group]
        xy[np.arange(len(asked)), asked] = self._start[group]
        return Estimates(xy, {name: np.stack([each.logits[name] for each in found], 1) for name in found[0].logits})

    def _refine(self, estimates: Estimates, group: slice, size: Size) -> Steps:
        features = np.repeat(self._features[size][group, None], self.frames, axis=1)
        for _ in range(self._plan.iterations):
            patches = []
            for t in range(self.frames):
                patches.append(self._plan.patches(self._spools[size][t], estimates.xy[:, t], features[:, t]))
                yield
            estimates, features = self._plan.refine(estimates, features, np.stack(patches, 1), size)
        return estimates

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()


class GridSpool:
    """The grids of every frame at one size, written in order, then read in any, as far as they are looked at."""

    def __init__(self) -> None:
        self._files: dict[str, IO[bytes]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._mapped: dict[str, Array] = {}
        self._count = 0

    def append(self, grids: Mapping[str, Array]) -> None:
        """Adds a frame. Not after the first one was read. Raises SaveError on a full disk."""
        try:
            for name, grid in grids.items():
                if name not in self._files:
                    self._files[name] = tempfile.TemporaryFile()  # noqa: SIM115
                    self._shapes[name] = grid.shape
                # Written, not mapped: a full disk is then an exception and not the end of the process.
                self._files[name].write(np.ascontiguousarray(grid, np.float32).data)
                self._files[name].flush()
        except OSError as error:
            raise SaveError(
                f"could not keep the features of frame {self._count} in {tempfile.gettempdir()}: "
                f"{error.strerror or error}; make room, name another folder in TMPDIR, or pass a smaller resolution"
            ) from error
        self._count += 1

    def __getitem__(self, t: int) -> dict[str, Array]:
        """The grids of frame t by name; of them, only what is looked at comes into memory."""
        for name in self._files.keys() - self._mapped.keys():
            shape = (self._count, *self._shapes[name])
            self._mapped[name] = np.memmap(self._files[name], np.float32, "r", shape=shape).view(np.ndarray)
        return {name: grids[t] for name, grids in self._mapped.items()}

    def close(self) -> None:
        self._mapped = {}
        for file in self._files.values():
            # Closing flushes once more, and fails once more on a full disk.
            with suppress(OSError):
                file.close()


def finished(steps: Steps) -> Estimates:
    """What the work comes to, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _mean(estimates: Sequence[Estimates]) -> Estimates:
    def mean(arrays: Iterator[Array]) -> Array:
        return np.asarray(np.mean(list(arrays), axis=0), np.float32)

    logits = {name: mean(each.logits[name] for each in estimates) for name in estimates[0].logits}
    return Estimates(mean(each.xy for each in estimates), logits)
