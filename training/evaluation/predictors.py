"""What gets evaluated: a model of tapsdk, someone's predictions in a file, or a baseline that anyone can run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tapsdk
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.errors import TracksError
from tapsdk.system.npz import names_in, read_npz
from tapsdk.system.reading import reading
from training.data.labelled_video import LabelledVideo
from training.models.registry import CONFIGS, family_of

Prediction = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""xy [N, T, 2] in pixels and visible [N, T]."""
Predictor = Callable[[LabelledVideo], Prediction]
"""Of a video with queries."""

WINDOW = (21, 21)
LEVELS = 4
ROUND_TRIP = 1.0
"""Pixels by which a point that was tracked forwards and back may miss itself and still count as seen."""


def standing_still(video: LabelledVideo) -> Prediction:
    """Every point stays at its query."""
    frames = len(video.frames)
    return np.repeat(video.queries[:, None, 1:], frames, 1), np.ones((len(video.queries), frames), bool)


def lucas_kanade(video: LabelledVideo) -> Prediction:
    """OpenCV's pyramidal Lucas-Kanade from frame to frame, both ways from the query, with a forward-backward check."""
    import cv2

    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video.frames]
    xy, visible = standing_still(video)
    start, last = video.queries[:, 0], len(grey) - 1
    for way, times in ((1, range(last)), (-1, range(last, 0, -1))):
        for t in times:
            under_way = start <= t if way == 1 else start >= t
            if not under_way.any():
                continue
            before = xy[under_way, t][:, None] - np.float32(0.5)
            pair = grey[t], grey[t + way]
            after, found, _ = cv2.calcOpticalFlowPyrLK(*pair, before, None, winSize=WINDOW, maxLevel=LEVELS)
            back, _, _ = cv2.calcOpticalFlowPyrLK(*pair[::-1], after, None, winSize=WINDOW, maxLevel=LEVELS)
            returns = np.linalg.norm(back - before, axis=-1) < ROUND_TRIP
            xy[under_way, t + way] = after[:, 0] + np.float32(0.5)
            # Once lost it stays lost: the method cannot know a point again.
            visible[under_way, t + way] = visible[under_way, t] & (found.astype(bool) & returns)[:, 0]
    return xy, visible


BASELINES: dict[str, Predictor] = {"still": standing_still, "lucas-kanade": lucas_kanade}


def predictor(name: str, backend: str = "auto") -> Predictor:
    """A baseline by name, a `.npz` of predictions, else a model of tapsdk by name or artifact directory.

    Published models that need the whole video go by their names as well, without an export (`in_torch`).
    """
    if name in BASELINES:
        return BASELINES[name]
    if Path(name).suffix == ".npz":
        return Predictions(Path(name))
    if _goes_by_torch(name):
        return in_torch(name)

    def track(video: LabelledVideo) -> Prediction:
        # Annotations may lie a little outside the frame, where models of tapsdk take no queries.
        height, width = video.frames.shape[1:3]
        queries = np.clip(video.queries, 0, (np.inf, width, height))
        tracks = tapsdk.track(video.frames, queries, model=name, backend=backend)
        return tracks.xy, tracks.visible

    return track


def _goes_by_torch(name: str) -> bool:
    """Whether it is the name of a published model that sees whole videos."""
    published = name in OFFICIAL and OFFICIAL[name].can_be_exported and not CONFIGS[name].causal
    return published and not Path(name).is_dir()


def settled_backend(name: str, points: int) -> str:
    """What "auto" comes to for a predictor and so many points, as "backend:plan"; "auto" where there is no choice."""
    if name in BASELINES or Path(name).suffix == ".npz" or _goes_by_torch(name):
        return "auto"
    return _settled(name, 1 << max(0, points - 1).bit_length())  # as many as are measured with


@cache
def _settled(name: str, points: int) -> str:
    model = tapsdk.load(name, points=points)
    return f"{model.backend.name}:{model.plan.name}"


def in_torch(model: str) -> Predictor:
    """A model that sees the whole video, as its module in PyTorch, with the weights that `tapsdk fetch` left.

    It gets videos at the size that they have, as the reference's evaluation does. Raises ModelError, CheckpointError.
    """
    import torch

    from training.models import load

    device = "cuda" if torch.cuda.is_available() else "cpu"
    module, family = load(model).to(device), family_of(model)

    def track(video: LabelledVideo) -> Prediction:
        arrays = np.ascontiguousarray(video.frames), np.float32(video.queries[:, [0, 2, 1]])
        frames, queries = (torch.from_numpy(array).to(device)[None] for array in arrays)
        with torch.inference_mode():
            outputs = module.clip(frames.float() / 127.5 - 1, queries)
        found = {name: tensor[0].cpu().numpy() for name, tensor in outputs.items()}
        return found["tracks"], family.visible(found)

    return track


class Predictions:
    """Tracks that were made elsewhere, from a `.npz`.

    For each video NAME of the dataset:

        NAME/tracks: [N, T, 2] float, (x, y) in pixels of the video at the size at which it is evaluated, (0, 0) =
            outer corner of the top-left pixel; N in the order of the dataset's queries (`sample_queries`)
        NAME/visible: [N, T] bool

    Raises TracksError for a file that cannot be read, a video that it lacks, or shapes that do not fit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, "is not a .npz file of predictions", TracksError), open(path, "rb") as file:
            self._names = names_in(file)

    def __call__(self, video: LabelledVideo) -> Prediction:
        expected = video.visible.shape
        tracks = self._array(f"{video.name}/tracks", (*expected, 2))
        visible = self._array(f"{video.name}/visible", expected)
        return tracks.astype(np.float32), visible.astype(bool)

    def _array(self, key: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
        if key not in self._names:
            known = sorted({name.rpartition("/")[0] for name in self._names})
            some = ", ".join(known[:5]) + (" ..." if len(known) > 5 else "")
            raise TracksError(f"{self.path} lacks {key}; it has predictions of {len(known)} videos: {some}")
        with reading(f"{self.path}: {key}", "is no array of numbers", TracksError), open(self.path, "rb") as file:
            array = read_npz(file, {key})[key]
        if array.dtype.kind not in "biuf":
            raise TracksError(f"{self.path}: {key} holds {array.dtype}, not numbers")
        if array.shape != shape:
            raise TracksError(f"{self.path}: {key} must have shape {list(shape)}, got {list(array.shape)}")
        return array
