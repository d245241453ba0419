"""A causal model with its points, one frame at a time; `Tracker` and `track` are both built on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

import tapkernels
from tapsdk.artifact import Artifact, open_artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.artifact.registry import frame_by_frame
from tapsdk.backends import Array, Backend
from tapsdk.errors import ModelError
from tapsdk.geometry import Size, scale_points
from tapsdk.runtime.point_state import NOBODY
from tapsdk.runtime.sizes import frame_size, working_size
from tapsdk.runtime.stages import Plan, confidence_of
from tapsdk.selection import choose
from tapsdk.tracks import RunReport, Tracks
from tapsdk.video.frames import Frame

Floats = NDArray[np.float32]


class Engine:
    """Points are rows, in the order in which they were added; what they are called is the caller's business."""

    def __init__(
        self,
        model: str | os.PathLike[str] | Artifact,
        backend: str | Backend,
        *,
        points: int,
        plan: str = "",
        threads: int | None = None,
        resolution: int | Size | None = None,
        strict: bool = False,
    ) -> None:
        """Raises ModelError for a model that needs the whole video, or a resolution that it does not work at."""
        self.artifact = open_artifact(model)
        if self.manifest.mode != "causal":
            raise ModelError(
                f"{self.manifest.model} needs the whole video and cannot run frame by frame: pass the video to "
                f"tapsdk.track, or use a causal model, such as {frame_by_frame(self.manifest.model)}"
            )
        self._size, self._area = frame_size(resolution, self.artifact.manifest)
        size = self._size or self._area
        self.choice = choose(
            self.artifact, backend, plan=plan, points=points, threads=threads, size=size, strict=strict
        )
        # What the mode says; the type checker cannot know.
        self._plan, self._backend = cast(Plan, self.choice.plan), self.choice.backend
        self._rows = NOBODY

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest

    @property
    def report(self) -> RunReport:
        """What runs, and where."""
        return self.choice.report(self.manifest)

    def check_room(self, points: int) -> None:
        """Raises BackendError if so many points cannot be tracked at once."""
        self._plan.store.capacity(points)

    def prepare(self, image: Frame) -> Floats:
        """A frame [H, W, 3] as the model sees it, [1, h, w, 3]."""
        size = self._size or working_size(
            (int(image.shape[0]), int(image.shape[1])), self._area, self.manifest.size_multiple or 1
        )
        return tapkernels.resize_normalize(image, *size)[None]

    def advance(self, frame: Floats, size: Size, added: Floats, delay: Floats | None = None) -> Tracks:
        """Tracks one frame further.

        Args:
            frame: [1, h, w, 3] from `prepare`. size: (height, width) that the frame had before.
            added: [M, 2] (x, y) pixels of that frame, points that join now; they become the last rows.
            delay: [M] frames from this one to the one that each of them lies in; None: it is this one.
        Returns:
            Tracks with T = 1 of all rows, in pixels of the frame. On an exception the rows are as they were.
        """
        rows = self._rows
        delay = np.zeros(len(added), np.float32) if delay is None else delay
        if len(added):
            begun = self._plan.begin(frame, scale_points(added, size, self.manifest.resolution), delay)
            rows = self._plan.store.concatenate([rows, begun])
        xy, confidence = np.zeros((rows.count, 2), np.float32), np.zeros(rows.count, np.float32)
        if rows.count:
            estimates, rows = self._plan.step(frame, rows)
            xy = scale_points(estimates.xy, self.manifest.resolution, size)
            confidence = confidence_of(estimates.logits, self.manifest.visibility)
        if self.manifest.query_frame == "exact":
            asked = np.arange(rows.count - len(added), rows.count)[delay == 0]
            xy[asked], confidence[asked] = added[delay == 0], 1.0
        self._rows = rows
        visible = confidence > self.manifest.visibility.threshold
        return Tracks(xy[:, None], visible[:, None], confidence[:, None], report=self.report)

    def keep(self, index: NDArray[np.int64]) -> None:
        """Goes on with the rows at `index` alone."""
        self._rows = self._plan.store.select(self._rows, index)

    def clear(self) -> None:
        self._rows = NOBODY

    def save_rows(self) -> dict[str, Array]:
        return self._plan.store.to_arrays(self._rows)

    def restore_rows(self, arrays: Mapping[str, Array], count: int) -> None:
        """Goes on with rows that `save_rows` gave. Raises ValueError if they are not `count` rows of this model."""
        self._rows = self._plan.store.from_arrays(arrays, count)
