"""Points of the first frame, tracked on and on, with the time that each frame takes: for measuring and comparing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapsdk.points import QueryPoints
from tapsdk.runtime.model import Model
from tapsdk.runtime.whole_video import start_run
from tapsdk.tracks import Tracks
from tapsdk.video.frames import Frame, frames_from_iterable


@dataclass(frozen=True)
class TrackedFrame:
    """Tracks with T = 1, and the seconds from the image to them."""

    tracks: Tracks
    seconds: float


def roll_out(model: Model, video: Iterable[Frame], xy: NDArray[np.float32]) -> Iterator[TrackedFrame]:
    """Tracks points [N, 2] of the first frame through frames [H, W, 3].

    A model that needs the whole video has nothing to say before its end; its frames share the time alike.
    """
    if not model.is_causal:
        yield from _all_at_once(model, list(video), xy)
        return
    stream, added = model.stream(), xy
    for image in video:
        size = (int(image.shape[0]), int(image.shape[1]))
        began = time.perf_counter()
        tracks = stream.advance(stream.prepare(np.ascontiguousarray(image)), size, added)
        yield TrackedFrame(tracks, time.perf_counter() - began)
        added = xy[:0]


def _all_at_once(model: Model, video: list[Frame], xy: NDArray[np.float32]) -> Iterator[TrackedFrame]:
    began = time.perf_counter()
    query = QueryPoints(np.zeros(len(xy), np.int64), xy)
    found = start_run(model, frames_from_iterable(video), query).run()
    seconds = (time.perf_counter() - began) / len(video)
    for t in range(len(video)):
        cut = slice(t, t + 1)
        yield TrackedFrame(Tracks(found.xy[:, cut], found.visible[:, cut], found.confidence[:, cut]), seconds)
