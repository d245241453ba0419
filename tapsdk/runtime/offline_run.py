"""One video, tracked by a model that sees many of its frames at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import numpy as np

from tapsdk.geometry import Size, scale_points
from tapsdk.points import QueryPoints
from tapsdk.runtime.model import Model
from tapsdk.runtime.point_groups import Clock, Findings, tracks_of
from tapsdk.runtime.readable import ReadableFrames
from tapsdk.runtime.refined import RefinedPlan
from tapsdk.runtime.sizes import refinement_sizes
from tapsdk.runtime.stages import confidence_of
from tapsdk.runtime.video_pass import Means, VideoPass
from tapsdk.runtime.whole import WholePlan
from tapsdk.system.progress import Wrap, no_progress
from tapsdk.tracks import Tracks
from tapsdk.video.ahead import as_it_is, read_ahead
from tapsdk.video.frames import FrameSource

logger = logging.getLogger(__name__)


class OfflineRun:
    """One video being tracked by a model that sees many frames at once. `tracks` gives the points that are done."""

    def __init__(
        self, model: Model, plan: RefinedPlan | WholePlan, source: FrameSource, query: QueryPoints, means: Means
    ) -> None:
        self._model, self._plan, self._source, self._query = model, plan, source, query
        self._means = means
        self._size: Size = source.size
        self._clock = Clock(source, source.delivered)
        self._sizes = refinement_sizes(source.size, model.options.resolution, model.manifest)
        self._found = Findings(query.xy, 0)
        self._seconds = 0.0

    def run(self, wrap: Wrap = no_progress) -> Tracks:
        """Tracks to the end. Raises FramesError, PointsError for a query beyond the video, SaveError without room."""
        query = self._query
        start = scale_points(query.xy, self._size, self._model.manifest.points.space)
        with closing(self._plan.start(self._sizes, query.t, start, self._means)) as video:
            with read_ahead(self._source, as_it_is) as images:
                frames = ReadableFrames(images)
                for image in wrap(frames, self._source.num_frames, "encoding"):
                    self._means.journal.saw(partial(as_it_is, image))
                    began = time.perf_counter()
                    video.append(image)
                    self._seconds += time.perf_counter() - began
            self._means.journal.saw_all()
            reached = frames.check(query, video.frames)
            if frames.error is not None:
                logger.warning("%s; tracking through the %d frames before", frames.error, video.frames)
            self._found = Findings(query.xy, video.frames)
            began = time.perf_counter()
            groups = video.groups() if reached.any() else []
            for _ in wrap(self._track(video, groups), len(groups) * video.steps, "tracking"):
                pass
            self._seconds += time.perf_counter() - began
        if frames.error is not None:
            raise frames.error
        return self.tracks()

    def tracks(self) -> Tracks:
        """What was tracked so far; points whose turn has not come stay at their queries, unseen."""
        return tracks_of(self._model, self._clock, self._query, self._found, self._means.journal.timed(self._seconds))

    def _track(self, video: VideoPass, groups: list[slice]) -> Iterator[None]:
        manifest = self._model.manifest
        rule = manifest.visibility
        for group in groups:
            found = yield from video.track(group)
            xy = scale_points(found.xy, manifest.points.space, self._size)
            certainty = found.certainty_by(rule)
            t, start = self._query.t[group], self._query.xy[group]
            reached = t < video.frames
            if manifest.points.query_frame == "exact":
                asked = np.flatnonzero(reached), t[reached]
                xy[asked], certainty[asked] = start[reached], 1.0
            # Of a point whose query was not reached nothing is known.
            xy[~reached], certainty[~reached] = start[~reached, None], 0.0
            self._found.xy[group], self._found.confidence[group] = xy, confidence_of(certainty, rule)
            self._found.visible[group] = certainty > rule.threshold
