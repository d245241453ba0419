"""python -m training masks: how many points that start on an object stay on it, by masks of the object.

Masks need no annotated points, so that this judges trackers on any video that someone has cut an object out of. What
it cannot see is a point that slides along its object. It takes a folder for each video, with a mask for each frame:
00000.jpg and 00000.png and so on, the mask black (or index 0) where the object is not.

Occlusion: a mask shows the visible part of its object. A point that is hidden by something else is truly outside of
it, a point on the far side of its own object mostly within. The main number therefore counts every later frame in
which the object is seen at all, whatever the tracker says of visibility: the same (point, frame) pairs for all
trackers, so that none gains by calling what is hard hidden; hidden points lower it for all alike. Beside it stand the
share among the pairs that the tracker calls visible, and how many those are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tapsdk import check_output
from tapsdk.system.places import place
from training.data.errors import DatasetError
from training.data.images import natural_order, read_image, read_mask, stack_frames
from training.data.labelled_video import LabelledVideo
from training.evaluation.predictors import BASELINES, Prediction, predictor
from training.evaluation.report import Metrics, Scores, table, write_json

POINTS = 64
INSET = 8
"""Pixels from the mask's edge within which no point starts, as far as the object is large enough."""
SEED = 0
COLUMNS = {"inside": "inside", "inside where visible": "inside_visible", "called visible": "called_visible"}


@dataclass(frozen=True, eq=False)
class MaskedVideo:
    """A video with the mask of an object in each frame."""

    name: str
    frames: NDArray[np.uint8]
    """[T, H, W, 3]"""
    masks: NDArray[np.bool_]
    """[T, H, W]"""


def read_masked_videos(path: Path) -> Iterator[MaskedVideo]:
    """The video in a folder, or in each of its folders, one at a time. Raises DatasetError."""
    folders = [path] if any(path.glob("*.png")) else sorted({file.parent for file in path.glob("*/*.png")})
    if not folders:
        raise DatasetError(f"{path} holds no masks; it needs a folder for each video with 00000.jpg, 00000.png, ...")
    for folder in folders:
        files = sorted(folder.glob("*.jpg"), key=natural_order)
        if not files:
            raise DatasetError(f"{folder} holds no frames (*.jpg)")
        frames = stack_frames((read_image(file) for file in files), None, str(folder))
        masks = [read_mask(file.with_suffix(".png")) for file in files]
        wrong = [file for file, mask in zip(files, masks, strict=True) if mask.shape != frames.shape[1:3]]
        if wrong:
            raise DatasetError(f"{wrong[0].with_suffix('.png')} is not as large as its frame, {frames.shape[1:3]}")
        yield MaskedVideo(folder.name, frames, np.stack(masks))


def start_points(mask: NDArray[np.bool_], count: int = POINTS, inset: int = INSET) -> NDArray[np.float32]:
    """Centres [count, 2] (x, y) of pixels of a mask [H, W] that is not empty, drawn at random, the same each time.

    Away from its edge by `inset` pixels, where the object is wide enough; else by the most that leaves anything.
    """
    import cv2

    # The frame's own edge is no edge of the object.
    depth = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = np.where(mask, depth[1:-1, 1:-1], 0)
    y, x = np.nonzero(depth >= min(inset, depth.max()))
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(len(y), count, replace=len(y) < count)
    return (np.stack([x[chosen], y[chosen]], axis=1) + 0.5).astype(np.float32)


def with_queries(video: MaskedVideo, count: int = POINTS) -> LabelledVideo:
    """The video with points to track, from the first frame that shows the object. Raises DatasetError if none does.

    Where they truly go is not known: xy is NaN, and visible false, except at the queries.
    """
    seen = video.masks.any(axis=(1, 2))
    if not seen.any():
        raise DatasetError(f"{video.name}: its masks are all empty")
    t = int(seen.argmax())
    start = start_points(video.masks[t], count)
    queries = np.concatenate([np.full((count, 1), t), start], axis=1).astype(np.float32)
    xy = np.full((count, len(seen), 2), np.nan, np.float32)
    xy[:, t] = start
    visible = np.arange(len(seen)) == np.full((count, 1), t)
    return LabelledVideo(video.frames, xy, visible, queries, name=video.name)


def kept(masks: NDArray[np.bool_], queries: NDArray[np.float32], prediction: Prediction) -> Metrics:
    """How well points [N, 3] (t, x, y) kept to the object with masks [T, H, W], as predicted.

    Of the pairs of a point and a later frame that shows the object:
        inside: the share in the mask
        inside_visible: the share in the mask among those that the tracker calls visible; NaN if there is none
        called_visible: the share that the tracker calls visible
    """
    xy, visible = prediction
    frames, height, width = masks.shape
    # A position that is no number is nowhere.
    pixel = np.floor(np.nan_to_num(xy, nan=-1, posinf=-1, neginf=-1)).clip(-1, (width, height)).astype(int)
    x, y = pixel[..., 0], pixel[..., 1]
    in_frame = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    time = np.arange(frames)
    inside = in_frame & masks[time, y.clip(0, height - 1), x.clip(0, width - 1)]
    counted = (time > queries[:, :1]) & masks.any(axis=(1, 2))
    return {
        "inside": _share(inside, counted),
        "inside_visible": _share(inside, counted & visible),
        "called_visible": _share(visible, counted),
    }


def _share(which: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(which[among].mean()) if among.any() else float("nan")


def evaluate_masks(names: Iterable[str], videos: Iterable[MaskedVideo]) -> Scores:
    """Shares of each predictor on each video."""
    predictors = {name: predictor(name) for name in names}
    scores: Scores = {name: [] for name in predictors}
    for video in videos:
        asked = with_queries(video)
        for name, predict in predictors.items():
            scores[name].append((video.name, kept(video.masks, asked.queries, predict(asked))))
    return scores


def add_parser(commands: Any) -> None:
    """Adds `masks` to the subcommands of a parser."""
    parser = commands.add_parser("masks", help="count how many points that start on an object stay on it")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder for each video, with *.jpg and *.png masks")
    parser.add_argument("--model", nargs="+", default=["tapir"], metavar="M", help="names or artifact directories")
    parser.add_argument("--json", type=place, metavar="FILE", help="write the shares here, too")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if args.json:
        check_output(args.json, *args.model, *filter(Path.is_dir, args.folder.glob("*")))
    names = dict.fromkeys([*BASELINES, *args.model])
    scores = evaluate_masks(names, tqdm(read_masked_videos(args.folder), unit="video"))
    print(table(scores, COLUMNS, per_video=True))
    if args.json:
        write_json(args.json, scores, {"folder": str(args.folder), "points": POINTS})
