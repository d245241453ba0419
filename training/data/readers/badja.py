"""Folders of pictures with tracks: how BADJA's joints on DAVIS videos (Biggs et al. 2018) are kept here.

A folder for each video, with its frames (*.jpg) and tracks.npz:

    xy: [N, T, 2] float, pixels of these frames; anything where the point is not visible
    visible: [N, T] bool
    annotated: [T] bool, optional: the frames on which anyone looked. Without it, those are all frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size, scale_points
from tapsdk.system.npz import read_npz
from tapsdk.system.reading import reading
from training.data.errors import DatasetError
from training.data.images import natural_order, read_image, stack_frames
from training.data.labelled_video import LabelledVideo

TRACKS = "tracks.npz"


def read_badja(path: Path, size: Size | None = None) -> Iterator[LabelledVideo]:
    """The video in a folder, or in each of its folders. Raises DatasetError.

    size: (height, width) to resize videos to; None leaves them as they are.
    """
    path = path.parent if path.name == TRACKS else path
    folders = [path] if (path / TRACKS).exists() else sorted(file.parent for file in path.glob(f"*/{TRACKS}"))
    if not folders:
        raise DatasetError(f"{path} holds no folder with {TRACKS}")
    for folder in folders:
        yield _video(folder, size)


def _video(folder: Path, size: Size | None) -> LabelledVideo:
    arrays = _load(folder / TRACKS)
    files = sorted(folder.glob("*.jpg"), key=natural_order)
    if not files:
        raise DatasetError(f"{folder} holds no frames (*.jpg)")
    first = read_image(files[0])
    frames = stack_frames((read_image(file) for file in files), size, str(folder))
    xy, visible = arrays["xy"], arrays["visible"].astype(bool)
    annotated = arrays.get("annotated", np.ones(len(frames), bool)).astype(bool)
    if visible.shape[1:] != (len(frames),) or xy.shape != (*visible.shape, 2) or annotated.shape != visible.shape[1:]:
        raise DatasetError(
            f"{folder / TRACKS}: {len(frames)} frames need xy [N, {len(frames)}, 2], visible [N, {len(frames)}] and "
            f"annotated [{len(frames)}], got {list(xy.shape)}, {list(visible.shape)} and {list(annotated.shape)}"
        )
    if not np.isfinite(xy[visible]).all():
        raise DatasetError(f"{folder / TRACKS}: a visible point has no finite position")
    xy = scale_points(xy, first.shape[:2], frames.shape[1:3])
    return LabelledVideo(frames, xy, visible, annotated=annotated | visible.any(axis=0), name=folder.name)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with reading(path, "is not a .npz file of numbers", DatasetError), open(path, "rb") as file:
        arrays = read_npz(file)
    missing = {"xy", "visible"} - arrays.keys()
    if missing:
        raise DatasetError(f"{path} lacks {', '.join(sorted(missing))}; it has {', '.join(arrays)}")
    return arrays
