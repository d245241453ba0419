"""Labelled videos to train on: any of them by its number, in any process, and clips of one shape cut from them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError
from tapsdk.geometry import Size
from training.data.augment import crop, resized
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo

logger = logging.getLogger(__name__)

ROOM = 2
"""Videos are kept at no more than this many times the sides of a clip, so that crops are not blurred."""


@dataclass(frozen=True)
class ClipShape:
    """Of the clips that are trained on; size: (height, width)."""

    frames: int
    size: Size
    points: int
    random_queries: bool = False
    """Points are asked for on any frame on which they are visible, not on the first one."""


class TrainingVideos(Protocol):
    """What hands out videos by number; other processes get it pickled."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: np.random.Generator) -> LabelledVideo:
        """With finite positions, hidden ones too. rng: for readers that choose the points. Raises DatasetError."""


@dataclass(frozen=True)
class UnpackedVideos:
    """Videos that `unpack` has left in a folder; see `TrainingVideos`."""

    folder: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, rng: np.random.Generator) -> LabelledVideo:
        frames = np.load(self.folder / _frames(index), mmap_mode="r")
        with np.load(self.folder / _tracks(index)) as tracks:
            return LabelledVideo(frames, tracks["xy"], tracks["visible"], annotated=tracks["annotated"])


def unpack(videos: Iterable[LabelledVideo], shape: ClipShape, folder: Path) -> UnpackedVideos:
    """Keeps videos of any reader in a folder, decoded.

    Those with too few frames for a clip, or without any visible point, are left out with a warning.
    Raises DatasetError if that leaves none, and SaveError where there is no room for them.
    """
    count = 0
    for video in videos:
        if len(video.frames) < shape.frames or not video.visible.any():
            logger.warning("%s is left out: clips need %d frames and a visible point", video.name, shape.frames)
            continue
        height, width = video.frames.shape[1:3]
        scale = min(1.0, ROOM * max(shape.size[0] / height, shape.size[1] / width))
        try:
            _write(resized(video, (round(height * scale), round(width * scale))), count, folder)
        except OSError as error:
            raise SaveError(
                f"could not keep the unpacked videos in {folder}: {error.strerror or error}; make room, or name "
                "another folder in TMPDIR"
            ) from error
        count += 1
    if not count:
        raise DatasetError(f"none of the videos has {shape.frames} frames and a visible point; train on shorter clips")
    return UnpackedVideos(folder, count)


def _write(video: LabelledVideo, index: int, folder: Path) -> None:
    seen = video.visible.any(axis=1)
    xy, visible = video.xy[seen], video.visible[seen]
    annotated = np.ones(len(video.frames), bool) if video.annotated is None else video.annotated
    np.save(folder / _frames(index), video.frames)
    np.savez(folder / _tracks(index), xy=_filled(xy, visible), visible=visible, annotated=annotated)


def _frames(index: int) -> str:
    return f"{index:06d}-frames.npy"


def _tracks(index: int) -> str:
    return f"{index:06d}-tracks.npz"


def cut_clip(video: LabelledVideo, shape: ClipShape, rng: np.random.Generator, crops: float = 0.0) -> LabelledVideo:
    """A clip of consecutive frames with queries, each on a frame on which its point is visible.

    A clip with fewer points than `shape` asks for has some of them twice. crops: the share of clips that show a part
    of the picture; the others show all of it. Either is squashed to `shape.size`, as the published models see videos.
    Raises DatasetError for a video that is too short, or that shows no point.
    """
    if len(video.frames) < shape.frames or not video.visible.any():
        raise DatasetError(f"{video.name or 'a video'} has no {shape.frames} frames with a visible point to train on")
    # Around something that is seen; anywhere else there might be nothing to learn.
    seen = rng.choice(np.argwhere(video.visible)[:, 1])
    start = int(rng.integers(max(0, seen - shape.frames + 1), min(seen, len(video.frames) - shape.frames) + 1))
    span = slice(start, start + shape.frames)
    annotated = None if video.annotated is None else video.annotated[span]
    clip = LabelledVideo(np.asarray(video.frames[span]), video.xy[:, span], video.visible[:, span], None, annotated)
    clip = crop(clip, rng, shape.size) if rng.random() < crops else resized(clip, shape.size)
    return _with_points(clip, shape, rng)


def _with_points(clip: LabelledVideo, shape: ClipShape, rng: np.random.Generator) -> LabelledVideo:
    there = rng.permutation(np.flatnonzero(clip.visible.any(axis=1)))
    rows = np.resize(there, shape.points)
    xy, visible = clip.xy[rows], clip.visible[rows]
    frame = (np.where(visible, rng.random(visible.shape), -1) if shape.random_queries else visible).argmax(axis=1)
    queries = np.concatenate([frame[:, None], xy[np.arange(len(rows)), frame]], axis=1).astype(np.float32)
    return replace(clip, xy=xy, visible=visible, queries=queries)


def _filled(xy: NDArray[np.float32], visible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Tracks [N, T, 2], of which people know the visible positions alone, with straight lines between those."""
    t, filled = np.arange(xy.shape[1]), np.empty_like(xy, np.float32)
    for line, track, seen in zip(filled, xy, visible, strict=True):
        for axis in range(2):
            line[:, axis] = np.interp(t, t[seen], track[seen, axis])
    return filled
