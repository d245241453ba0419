"""TAP-Vid's pickles: DAVIS, RGB-Stacking, Kinetics and RoboTAP (Doersch et al. 2022, Vecerik et al. 2023).

One file, or a folder of shards. Each holds a dictionary of videos by name (DAVIS, RoboTAP) or a list of them
(RGB-Stacking, Kinetics). A video is a dictionary:

    video: [T, H, W, 3] uint8, or T encoded pictures (bytes, in a list or in an array)
    points: [N, T, 2] float, (x, y) as shares of width and height
    occluded: [N, T] bool

`training.checkpoints.pickles` reads them, which runs no code of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size
from tapsdk.system.reading import reading
from training.checkpoints.pickles import DamagedPickleError, ForbiddenPickleError, PickledArray, load_pickle
from training.data.errors import DatasetError
from training.data.images import decode_image, natural_order, stack_frames
from training.data.labelled_video import LabelledVideo

SUFFIX = ".pkl"


def read_tapvid(path: Path, size: Size | None = None) -> Iterator[LabelledVideo]:
    """The videos of a pickle, or of all pickles in a folder, one at a time.

    size: (height, width) to resize videos to; None leaves them as they are.
    Names are the file's; where videos are listed without, FILE-000 and so on. Raises DatasetError.
    """
    files = sorted(path.glob(f"*{SUFFIX}"), key=natural_order) if path.is_dir() else [path]
    if not files:
        raise DatasetError(f"{path} holds no pickles (*{SUFFIX})")
    for file in files:
        examples = _load(file)
        for name in list(examples):
            # Taken out, so that videos go as they were used: a file may hold gigabytes.
            with reading(f"{file}: {name}", "is not a TAP-Vid video", DatasetError):
                video = _video(examples.pop(name), name, f"{file}: {name}", size)
            yield video


def _load(path: Path) -> dict[str, Any]:
    """What the pickle says of each video, by name."""
    try:
        with open(path, "rb") as file:
            content = load_pickle(file)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except ForbiddenPickleError as error:
        raise DatasetError(
            f"{path} is not a TAP-Vid pickle: it asks for {error}, and a dataset needs numpy arrays in plain lists "
            "and dictionaries only. It was not called; do not open the file in other ways"
        ) from error
    except DamagedPickleError as error:
        raise DatasetError(f"{path} is not a pickle, or is damaged or cut short: {error}") from error
    if isinstance(content, PickledArray):
        content = content.to_list()
    if isinstance(content, Mapping):
        with reading(path, "is not a TAP-Vid pickle", DatasetError):
            return {str(name): example for name, example in content.items()}
    if isinstance(content, list | tuple):
        return {f"{path.stem}-{index:03d}": example for index, example in enumerate(content)}
    raise DatasetError(f"{path} is not a TAP-Vid pickle: it holds neither a dictionary nor a list of videos")


def _video(example: Any, name: str, where: str, size: Size | None) -> LabelledVideo:
    missing = {"video", "points", "occluded"} - (example.keys() if isinstance(example, Mapping) else set())
    if missing:
        raise DatasetError(f"{where} is not a TAP-Vid video: it lacks {', '.join(sorted(missing))}")
    points = _numbers(example["points"], f"{where}: points")
    occluded = _numbers(example["occluded"], f"{where}: occluded")
    frames = stack_frames(_frames(example["video"], f"{where}: video"), size, f"{where}: video")
    if occluded.ndim != 2 or points.shape != (*occluded.shape, 2) or occluded.shape[1] != len(frames):
        raise DatasetError(
            f"{where}: {len(frames)} frames need points [N, {len(frames)}, 2] and occluded [N, {len(frames)}], "
            f"got {list(points.shape)} and {list(occluded.shape)}"
        )
    visible = ~occluded.astype(bool)
    if not np.isfinite(points[visible]).all():
        raise DatasetError(f"{where}: a visible point has no finite position")
    height, width = frames.shape[1:3]
    # No half pixel is added: the published readers multiply, too.
    return LabelledVideo(frames, (points * (width, height)).astype(np.float32), visible, name=name)


def _frames(video: Any, where: str) -> Iterator[NDArray[np.uint8]]:
    """The frames one by one, decoded where they are encoded."""
    listed = video.to_list() if isinstance(video, PickledArray) else video
    if not isinstance(listed, list | tuple):
        array = _unpacked(video, where)
        if array.dtype.kind != "S" or array.ndim != 1:
            yield from _pictures(array, where)
            return
        listed = array.tolist()
    for t, frame in enumerate(listed):
        if isinstance(frame, bytes | bytearray):
            yield decode_image(bytes(frame), f"{where}[{t}]")
        else:
            yield _pictures(_unpacked(frame, f"{where}[{t}]")[None], f"{where}[{t}]")[0]


def _pictures(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape[1:]:
        raise DatasetError(
            f"{where} must be frames [H, W, 3] of uint8, or encoded pictures, got {list(array.shape)} {array.dtype}"
        )
    return array


def _numbers(value: Any, where: str) -> NDArray[Any]:
    array = _unpacked(value, where)
    if array.dtype.kind not in "biuf":
        raise DatasetError(f"{where} holds {array.dtype}, not numbers")
    return array


def _unpacked(value: Any, where: str) -> NDArray[Any]:
    """The array that the pickle has here. Raises DatasetError."""
    try:
        return value.to_numpy() if isinstance(value, PickledArray) else np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{where} is damaged: {error}") from error
