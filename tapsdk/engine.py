"""A causal model with its points, one frame at a time; `Tracker` and `track` are both built on it."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

import tapkernels
from tapsdk.artifact import open_artifact
from tapsdk.backends import Array, Backend
from tapsdk.errors import ModelError
from tapsdk.frames import Frame
from tapsdk.geometry import MAX_CELLS, MIN_CELLS, Size, scale_points, working_size
from tapsdk.manifest import Manifest, Visibility
from tapsdk.rows import NOBODY
from tapsdk.selection import choose
from tapsdk.tracks import RunReport, Tracks

Floats = NDArray[np.float32]


class Engine:
    """Points are rows, in the order in which they were added; what they are called is the caller's business."""

    def __init__(
        self,
        model: str | os.PathLike[str],
        backend: str | Backend,
        *,
        points: int,
        plan: str = "",
        threads: int | None = None,
        resolution: int | Size | None = None,
    ) -> None:
        self.artifact = open_artifact(model)
        self._size, self._area = _frame_size(resolution, self.artifact.manifest)
        self.choice = choose(self.artifact, backend, plan=plan, points=points, threads=threads)
        self._plan, self._backend = self.choice.plan, self.choice.backend
        self._rows = NOBODY

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest

    @property
    def report(self) -> RunReport:
        """What runs, and where."""
        return RunReport(
            model=self.manifest.model,
            backend=self._backend.describe(),
            path=self._plan.name,
            precision=self.manifest.precision,
        )

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


def _frame_size(resolution: int | Size | None, manifest: Manifest) -> tuple[Size | None, Size]:
    """The size of the frames that the stages get, or None and a size of the area that they get.

    Raises ModelError for a resolution that the artifact was not exported for.
    """
    fixed, multiple = manifest.fixed_size, manifest.size_multiple
    sides = _sides(resolution)
    square = len(sides) == 1
    wanted = sides * 2 if square else sides
    if multiple is None:
        if resolution is None or wanted == fixed:
            return fixed, fixed
        raise ModelError(
            f"{manifest.model} was exported to work at {fixed} (height, width), not at {resolution}; "
            "leave resolution out, or export the model for the one you want"
        )
    if resolution is None:
        return None, fixed
    low, high = MIN_CELLS * multiple, MAX_CELLS * multiple
    fits = len(wanted) == 2 and all(low <= side <= high for side in wanted)
    if not fits or not (square or all(side % multiple == 0 for side in wanted)):
        raise ModelError(
            f"resolution must be a side, or (height, width) in multiples of {multiple}, from {low} to {high} pixels, "
            f"got {resolution}"
        )
    size = (wanted[0], wanted[1])
    return (None if square else size), size


def _sides(resolution: object) -> tuple[int, ...]:
    """The whole numbers of a resolution; none of what is something else."""
    try:
        return tuple(operator.index(side) for side in np.atleast_1d(resolution))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return ()


def confidence_of(logits: Mapping[str, Array], visibility: Visibility) -> Floats:
    """The manifest's rule: the product of sigmoid(sign * logit), [N]."""
    shares = [
        1 / (1 + np.exp(-sign * np.clip(logits[name].astype(np.float64), -80, 80)))
        for name, sign in visibility.logits.items()
    ]
    return np.asarray(np.prod(shares, axis=0), np.float32)
