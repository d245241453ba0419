"""How good the mean model is by now, on clips that training never sees: in numbers, and as a picture.

This is for watching a run. `python -m training evaluate` measures what is reported, on other clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tapsdk.video.colors import distinct_colors
from tapsdk.video.draw import TrackPainter
from training.data.datasets import open_dataset
from training.data.labelled_video import LabelledVideo
from training.data.synthetic import held_out
from training.data.synthetic.clips import VALIDATION_SEED
from training.evaluation.queries import sample_queries
from training.evaluation.score import score
from training.models.family import Family
from training.run.batches import scene_of
from training.run.config import TrainConfig
from training.run.track_sets import TrackSet, make_track_set
from training.run.updaters import Updater

CLIPS = 4
SETS = 16
"""Of tracks without a picture."""
FRAMES = 16
METRICS = {"AJ": "average_jaccard", "d_avg": "average_pts_within_thresh", "OA": "occlusion_accuracy"}

Tracks = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""xy [N, T, 2] in pixels and visible [N, T]."""
Outputs = dict[str, NDArray[np.float32]]

COLUMNS = 4
TILE = 256
"""Pixels of a side of the frames in a picture, at least."""
LINE = (255, 255, 255)


def validation_clips(config: TrainConfig) -> list[LabelledVideo]:
    """As large as those of the last phase, queried wherever points appear; with photographs that training left out.

    The first of the run's own videos, where it has some for this. Raises DatasetError.
    """
    scene = replace(scene_of(config, config.phases[-1]), frames=FRAMES, query="first")
    if config.validation is not None:
        videos = open_dataset(config.validation, size=(scene.height, scene.width))
        return [sample_queries(video, "first") for video in islice(videos, CLIPS)]
    try:
        return list(held_out(scene, CLIPS, VALIDATION_SEED))
    except ValueError:  # a folder too small to leave any photograph out
        return list(held_out(replace(scene, textures=None), CLIPS, VALIDATION_SEED))


def _validation_sets(config: TrainConfig) -> list[TrackSet]:
    scene = scene_of(config, config.phases[-1])
    return [make_track_set(scene, VALIDATION_SEED + index) for index in range(SETS)]


def _track(updater: Updater, clip: LabelledVideo) -> Outputs:
    return updater.predict(clip.frames, clip.queries[:, [0, 2, 1]])


def _reconstruct(updater: Updater, tracks: TrackSet) -> Outputs:
    frames = len(tracks.frames)
    outputs = {name: array[:, :frames] for name, array in updater.predict(*tracks.inputs).items()}
    return {**outputs, "tracks": outputs["tracks"] * tracks.sides}


WATCHED: dict[str, tuple[Callable[..., Any], Callable[..., Outputs]]] = {
    "clip": (validation_clips, _track),
    "reconstruct": (_validation_sets, _reconstruct),
}
"""By the method of a family: what its models are watched on, and what they say of one of these, in its pixels."""


def held_out_examples(config: TrainConfig, family: Family) -> list[LabelledVideo]:
    """What a model of `family` is watched on: clips with queries, or tracks without a picture."""
    examples: list[LabelledVideo] = WATCHED[family.method][0](config)
    return examples


def track(updater: Updater, family: Family, clip: LabelledVideo) -> Tracks:
    """By the mean model, which is one of `family`."""
    outputs = WATCHED[family.method][1](updater, clip)
    return outputs["tracks"], family.visible(outputs)


def validate(updater: Updater, family: Family, clips: list[LabelledVideo]) -> dict[str, float]:
    """TAP-Vid's AJ, d_avg (average share of points within 1, 2, 4, 8, 16 px) and OA, the mean over clips."""
    scores = [score(clip, *track(updater, family, clip)) for clip in clips]
    return {name: float(np.mean([of_one[metric] for of_one in scores])) for name, metric in METRICS.items()}


def picture(clip: LabelledVideo, tracks: Tracks) -> NDArray[np.uint8]:
    """[H, W, 3] RGB: frames along the clip with true tracks above, and below predicted ones, with lines to the truth.

    Discs are visible points, circles hidden ones. Lines lead to points that truly are visible.
    """
    scale = -(-TILE // min(clip.frames.shape[1:3]))
    frames = clip.frames.repeat(scale, 1).repeat(scale, 2)
    true, found = clip.xy * scale, tracks[0] * scale
    above, below = _painted(frames, true, clip.visible), _painted(frames, found, tracks[1])
    columns = np.unique(np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int))
    for t in columns:
        for start, end in zip(found[clip.visible[:, t], t], true[clip.visible[:, t], t], strict=True):
            cv2.line(below[t], _corner(start), _corner(end), LINE, 1, cv2.LINE_AA)
    rows = [np.concatenate([row[t] for t in columns], 1) for row in (above, below)]
    return np.concatenate(rows, 0)


def _painted(frames: NDArray[np.uint8], xy: NDArray[np.float32], visible: NDArray[np.bool_]) -> list[NDArray[np.uint8]]:
    painter = TrackPainter(len(xy), trail=6, colors=distinct_colors(len(xy)))
    return [painter.draw(frame, xy[:, t], visible[:, t]) for t, frame in enumerate(frames)]


def _corner(xy: NDArray[np.float32]) -> tuple[int, int]:
    """As OpenCV counts: whole pixels, the first one's centre at 0."""
    x, y = np.clip(np.floor(np.nan_to_num(xy)), -(1 << 14), 1 << 14).astype(int).tolist()
    return x, y
