"""The points of one video on a model that goes frame by frame."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact.manifest import Manifest
from tapsdk.artifact.registry import frame_by_frame
from tapsdk.backends import Array, Tensor
from tapsdk.errors import ModelError
from tapsdk.geometry import Size, scale_points
from tapsdk.runtime.budget import ANY_BUDGET, Budget
from tapsdk.runtime.causal import NEVER, CausalPlan
from tapsdk.runtime.features import PointFeatures
from tapsdk.runtime.pace import Between, Following, Pacer
from tapsdk.runtime.point_state import EMPTY, PointState
from tapsdk.runtime.sizes import stage_size, working_size
from tapsdk.runtime.stages import as_stages_want, confidence_of
from tapsdk.tracks import Tracks
from tapsdk.video.frames import Frame

if TYPE_CHECKING:
    from tapsdk.runtime.model import Model

Floats = NDArray[np.float32]

POINTS_AT_ONCE = 1024
"""Of a whole video. With more, memory grows and the time for each stays the same."""
STATES, WORK_BYTES = 3, 1 << 18
"""Of a point that is tracked: states that there are at once, of this frame, the one before and while one is copied; and
bytes of what is computed on the way."""


class Stream:
    """The points of one video on a causal model, one frame at a time.

    Points are rows, in the order in which they were added; what they are called is the caller's business.
    """

    def __init__(self, model: Model, slots: int = 0) -> None:
        if not isinstance(model.plan, CausalPlan):
            raise ModelError(
                f"{model.name} needs the whole video and cannot run frame by frame: pass the video to "
                f"tapsdk.track, or use a causal model, such as {frame_by_frame(model.name)}"
            )
        self.model, self._plan = model, model.plan
        self._size, self._area = stage_size(model.options.resolution, model.manifest)
        self._report = model.report
        self._state = self._spent = EMPTY
        self._pacer = Pacer(model.options.pace, model.options.rate)
        self._following = Following.like(model.manifest.flow)
        self._last: Between | None = None
        if self._pacer.follows and model.manifest.points.join == "start":
            raise ModelError(
                f"{model.name} has to see every frame, as it counts them: leave pace at 1, or use a model whose points "
                "may join at any frame, such as tapir"
            )
        self._slots = slots if model.manifest.points.join == "start" else 0
        self.free = self._slots
        """Slots that no point has taken so far; once there are any rows, they are the last ones."""

    @property
    def manifest(self) -> Manifest:
        return self.model.manifest

    def points_at_once(self, points: int, budget: Budget = ANY_BUDGET, frames: int | None = None) -> int:
        """How many of so many points are to be tracked together: all of them, unless they are independent and many.

        frames: of the video, if that is known. Raises BackendError if they see each other and are more than the
        artifact takes, PointsError where the budget leaves no room for their tracks.
        """
        store = self._plan.store
        fitting = budget.points(points, frames, STATES * store.bytes_each + WORK_BYTES)
        if self.manifest.points.independent:
            return min(points, POINTS_AT_ONCE, fitting, *store.buckets[-1:])
        store.capacity(points)
        return points

    def prepare(self, image: Frame) -> Floats | Tensor:
        """A frame [H, W, 3] as the model sees it, [1, h, w, 3]: an array, or a tensor on the backend's side."""
        spec = self.manifest.frames
        size = (int(image.shape[0]), int(image.shape[1]))
        size = self._size or working_size(size, self._area, spec.multiple or 1)
        return as_stages_want(image, size, spec, self.model.backend)

    def as_array(self, frame: Floats | Tensor) -> Floats:
        """What `prepare` gave, in our memory."""
        return self._plan.seen(frame)

    def features(self, frame: Floats | Tensor, size: Size, xy: Floats) -> PointFeatures:
        """What the model knows points by that are at xy [M, 2], pixels, of a frame as in `advance`.

        Raises ModelError if it knows them by something else.
        """
        self._check_looks()
        arrays = self._plan.looks(frame, scale_points(xy, size, self.manifest.points.space))
        return PointFeatures(self.model.name, self.manifest.weights_sha256, self.manifest.points.space, arrays)

    def check_features(self, features: PointFeatures) -> None:
        """Raises ModelError if they are of no use to the model."""
        self._check_looks()
        own = self.manifest.weights_sha256, self.manifest.points.space, self._plan.shapes_of_looks(len(features))
        shapes = {name: array.shape for name, array in features.arrays.items()}
        if (features.weights_sha256, features.space, shapes) != own:
            raise ModelError(
                f"the features are of other weights of {features.model}, or of another size, than {self.model.name} is "
                "loaded with here: read them off their picture again with this model"
            )

    def _check_looks(self) -> None:
        if not self._plan.knows_by_looks:
            raise ModelError(
                f"{self.model.name} knows points by where they were asked for, not by their looks, so that there is "
                "nothing to find them by in another picture; use a causal TAPIR, such as tapir/tiny"
            )

    def advance(
        self,
        frame: Floats | Tensor,
        size: Size,
        added: Floats,
        delay: Floats | None = None,
        known: Sequence[PointFeatures] = (),
    ) -> Tracks:
        """Tracks one frame further.

        Args:
            frame: [1, h, w, 3] from `prepare`. size: (height, width) that the frame had before.
            added: [M, 2] (x, y) pixels of that frame, points that join now; they become the last rows. NaN for those
                that may be anywhere.
            delay: [M] frames from this one to the one that each of them lies in; None: it is this one.
            known: the features of those that may be anywhere, in order.
        Returns:
            Tracks with T = 1 of all rows, in pixels of the frame. On an exception the rows are as they were.
        """
        state, free, space = self._state, self.free, self.manifest.points.space
        began = time.perf_counter()
        if not len(added) and (between := self._between(frame)) is not None:
            self._state, self._last = self._plan.moved(state, between.frame, between.xy), between
            self._pacer.took(time.perf_counter() - began, looked=False)
            return self._tracks(scale_points(between.xy, space, size), between.certainty)
        delay = np.zeros(len(added), np.float32) if delay is None else delay
        if free and not state.count:
            state = self._plan.begin(frame, np.zeros((free, 2), np.float32), np.full(free, NEVER, np.float32))
        here, points = (delay == 0) & ~np.isnan(added[:, 0]), scale_points(added, size, space)
        filled = min(free, len(added)) if here.all() else 0
        if filled:
            state, free = self._plan.fill(state, state.count - free, frame, points[:filled]), free - filled
        if len(added) > filled:
            begun = self._plan.begin(frame, points[filled:], delay[filled:], _joined(known))
            state = self._plan.store.concatenate([state, begun])
        xy, certainty = np.zeros((state.count, 2), np.float32), np.zeros(state.count, np.float32)
        if state.count:
            estimates, state = self._plan.step(frame, self._with_lost(state), self._spent)
            xy = scale_points(estimates.xy, space, size)
            certainty = estimates.certainty_by(self.manifest.visibility)
        rows = state.count - free
        if self.manifest.points.query_frame == "exact":
            asked = np.arange(rows - len(added), rows)[here]
            xy[asked], certainty[asked] = added[here], 1.0
        self._spent, self._state = self._state if self._plan.reuses else EMPTY, state
        self.free = free
        if self._pacer.follows:
            seen = (certainty > self.manifest.visibility.threshold).astype(np.float32)
            self._last = Between(self.as_array(frame), scale_points(xy, size, space), certainty, seen)
            self._pacer.took(time.perf_counter() - began, looked=True)
        return self._tracks(xy[:rows], certainty[:rows])

    def _with_lost(self, state: PointState) -> PointState:
        """The state that also says which points could not be followed since the last look."""
        if self._last is None:
            return state
        lost = np.zeros(state.count, np.bool_)
        lost[: len(self._last.trust)] = self._last.lost
        return replace(state, lost=lost, passed=self._last.since)

    def _between(self, frame: Floats | Tensor) -> Between | None:
        """The points in a frame that is not looked at; None for one that is."""
        last = self._last
        if last is None or not self._state.count or last.since + 1 >= self._pacer.every:
            return None
        frame = self.as_array(frame)
        if last.frame.shape != frame.shape:
            return None
        space, threads = self.manifest.points.space, self.model.backend.threads
        return last.followed(frame, space, self.manifest.visibility.threshold, self._following, threads)

    def _tracks(self, xy: Floats, certainty: Floats) -> Tracks:
        """Of one frame."""
        rule = self.manifest.visibility
        visible, confidence = certainty > rule.threshold, confidence_of(certainty, rule)
        return Tracks(xy[:, None], visible[:, None], confidence[:, None], report=self._report)

    def keep(self, index: NDArray[np.int64]) -> None:
        """Goes on with the rows at `index` alone, and with the free slots."""
        count = self._state.count
        slots = np.arange(max(0, count - self.free), count)
        self._state = self._plan.store.select(self._state, np.concatenate([index, slots]).astype(np.int64))
        self._last = self._last and self._last.at(index)

    def join(self, other: Stream) -> None:
        """Takes over the rows of another stream of this model, which has come to the same frame: they become the last
        ones, and the other has none left. Raises ModelError where points see each other."""
        if other._plan is not self._plan or not self.manifest.points.independent:
            raise ModelError(
                f"points of {self.model.name} stay in the stream that they began in: they see each other, or the other "
                "stream is of another model"
            )
        self._state = self._plan.store.concatenate([self._state, other._state])
        self._last = None  # the next frame is looked at
        other.clear()

    def clear(self) -> None:
        self._state = self._spent = EMPTY
        self._last = None
        self.free = self._slots

    def save_state(self) -> dict[str, Array]:
        between = self._last.to_arrays() if self._last and self._state.count else {}
        return self._plan.store.to_arrays(self._state) | between

    def restore_state(self, arrays: Mapping[str, Array], count: int, free: int = 0) -> None:
        """Goes on with what `save_state` gave. Raises ValueError if it is not of `count` points of this model, and of
        so many slots that are free."""
        rows = count + free if arrays else count  # without a frame there are no slots yet
        last, own = Between.from_arrays(arrays, count)
        self._state, self._spent = self._plan.store.from_arrays(own, rows), EMPTY
        self._last = last if self._pacer.follows else None
        self.free = free


def _joined(known: Sequence[PointFeatures]) -> dict[str, Array] | None:
    """The rows of all of them, by name; None of none."""
    if not known:
        return None
    return {name: np.concatenate([each.arrays[name] for each in known]) for name in known[0].arrays}
