"""TAPVid-3D's files (Koppula et al. 2024, arXiv:2407.05921): a .npz for each video.

    images_jpeg_bytes: T encoded pictures (bytes)
    queries_xyt: [N, 3] float, (x, y, t), pixels and a frame
    tracks_XYZ: [T, N, 3] float, metres in the camera of each frame: x to the right, y down, z forward
    visibility: [T, N] bool
    fx_fy_cx_cy: [4] float, pixels
    extrinsics_w2c: [T, 4, 4] float, from the world to the camera; optional

Pictures that were saved as Python objects are read by `training.checkpoints.pickles`, which runs no code of the file.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size
from tapsdk.system.files import AtomicFile
from tapsdk.system.npz import check_unpacked, holds_objects, names_in, read_npy, read_npz
from tapsdk.system.reading import reading
from training.checkpoints.pickles import ForbiddenPickleError, PickledArray, load_pickle
from training.data.errors import DatasetError
from training.data.images import decode_image, encode_jpeg, image_size, natural_order, stack_frames
from training.data.labelled_video import LabelledVideo
from training.data.tracked_video3d import TrackedVideo3D

PICTURES = "images_jpeg_bytes"
TRACKS = ("queries_xyt", "tracks_XYZ", "visibility")
NUMBERS = (*TRACKS, "fx_fy_cx_cy")
EXTRINSICS = "extrinsics_w2c"
SOURCES = ("adt", "pstudio", "drivetrack")
"""Where the videos are from; a folder of the dataset has a folder for each."""
QUALITY = 95
"""Of frames as JPEG, as the published scripts have it."""

Arrays = dict[str, NDArray[Any]]


def read_tapvid3d(path: str | os.PathLike[str], size: Size | None = None) -> TrackedVideo3D:
    """The video in a file.

        video = read_tapvid3d("tapvid3d/adt/Apartment_release_clean_seq140_3.npz")
        video.xyz[:, 0]  # metres, in the first frame

    size: (height, width) to resize it to, and its queries and intrinsics with it; None leaves it as it is.
    Raises DatasetError.
    """
    path = Path(path)
    arrays, pictures = read_arrays(path)
    decoded = (decode_image(data, f"{path}: {PICTURES}[{t}]") for t, data in enumerate(pictures))
    frames = stack_frames(decoded, size, f"{path}: {PICTURES}")
    (height, width), (tall, wide) = _size(path, pictures), frames.shape[1:3]
    video = _video(path.stem, arrays, frames)
    grows = np.array([wide / width, tall / height])
    return replace(
        video,
        queries_txy=video.queries_txy * [1, *grows],
        intrinsics=video.intrinsics * [*grows, *grows],
    )


def read_truth(path: Path) -> tuple[TrackedVideo3D, Size]:
    """The same without its frames, which are not decoded, and their (height, width). Raises DatasetError."""
    arrays, pictures = read_arrays(path)
    height, width = _size(path, pictures)
    return _video(path.stem, arrays, np.empty((0, height, width, 3), np.uint8)), (height, width)


def read_videos(path: Path, size: Size | None = None) -> Iterator[LabelledVideo]:
    """The two-dimensional tracks of a file, or of all files in a folder or in its folders by source, one at a time.

    size: (height, width) to resize videos to; None leaves them as they are. Raises DatasetError.
    """
    for file in files_in(path):
        yield read_tapvid3d(file, size).labelled()


def files_in(path: Path) -> list[Path]:
    """The file, or those in the folder or in its folders by source. Raises DatasetError for none."""
    if path.is_file():
        return [path]
    folders = [path / source for source in SOURCES if (path / source).is_dir()] or [path]
    files = [file for folder in folders for file in sorted(folder.glob("*.npz"), key=natural_order)]
    if not files:
        raise DatasetError(f"{path} holds no TAPVid-3D files (*.npz), nor do {', '.join(SOURCES)} in it")
    return files


def write_tapvid3d(path: Path, video: TrackedVideo3D, quality: int = QUALITY) -> None:
    """Writes a video of your own as TAPVid-3D keeps them. Raises DatasetError for what does not fit, SaveError."""
    arrays = {
        "queries_xyt": video.queries_txy[:, [1, 2, 0]],
        "tracks_XYZ": video.xyz.swapaxes(0, 1),
        "visibility": video.visible.T,
        "fx_fy_cx_cy": video.intrinsics,
    }
    if video.world_to_camera is not None:
        arrays[EXTRINSICS] = video.world_to_camera
    write_arrays(path, arrays, [encode_jpeg(frame, quality) for frame in video.frames])


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], pictures: Sequence[bytes]) -> None:
    """Writes a file as it is kept, with encoded pictures. It appears whole or not at all.

    Raises DatasetError for arrays that do not fit together, SaveError.
    """
    missing = {*NUMBERS} - arrays.keys()
    if missing:
        raise DatasetError(f"{path} would lack {', '.join(sorted(missing))}")
    _check(arrays, path, len(pictures))
    # By way of memory: numpy leaves its archive open when writing to a file fails.
    archive = io.BytesIO()
    np.savez(archive, **{**arrays, PICTURES: np.array(pictures)})  # type: ignore[arg-type]
    with AtomicFile(path) as file:
        file.write(archive.getbuffer())


def read_arrays(path: Path, *, pictures: bool = True) -> tuple[Arrays, list[bytes]]:
    """The arrays of a file as it keeps them, and its encoded pictures. Raises DatasetError for what does not fit.

    pictures: whether there have to be any; those of adt and pstudio have none before `training annotate`.
    """
    with reading(path, "is not a TAPVid-3D file", DatasetError), open(path, "rb") as file:
        check_unpacked(path)
        names = names_in(file)
        missing = ({*NUMBERS, PICTURES} if pictures else {*TRACKS}) - {*names}
        if missing:
            hint = "; python -m training annotate puts pictures in" if missing == {PICTURES} else ""
            raise DatasetError(f"{path} is not a TAPVid-3D file: it lacks {', '.join(sorted(missing))}{hint}")
        arrays = read_npz(file, {*names} - {PICTURES})
        encoded = _pictures(path) if pictures else []
    _check(arrays, path, len(encoded) if pictures else None)
    return arrays, encoded


def _pictures(path: Path) -> list[bytes]:
    """Raises what a damaged file makes a reader raise."""
    with zipfile.ZipFile(path) as archive:
        stored = io.BytesIO(archive.read(f"{PICTURES}.npy"))
    if holds_objects(stored):
        try:
            content = load_pickle(stored)
        except ForbiddenPickleError as error:
            raise DatasetError(
                f"{path} is not a TAPVid-3D file: {PICTURES} asks for {error}, and pictures are bytes. It was not "
                "called; do not open the file in other ways"
            ) from error
        pictures = content.to_list() if isinstance(content, PickledArray) else content
    else:
        stored.seek(0)
        pictures = read_npy(stored).tolist()
    if not isinstance(pictures, list) or not all(isinstance(picture, bytes) for picture in pictures):
        raise ValueError(f"{PICTURES} is no list of encoded pictures")
    return pictures


def _size(path: Path, pictures: list[bytes]) -> Size:
    if not pictures:
        raise DatasetError(f"{path}: {PICTURES} has no frames")
    return image_size(pictures[0], f"{path}: {PICTURES}[0]")


def _check(arrays: Mapping[str, NDArray[Any]], path: Path, frames: int | None) -> None:
    """Raises DatasetError unless the arrays fit together and to a number of pictures."""
    for name, array in arrays.items():
        if name in (*NUMBERS, EXTRINSICS) and array.dtype.kind not in "biuf":
            raise DatasetError(f"{path}: {name} holds {array.dtype}, not numbers")
    tracks, visible, queries = (arrays[name] for name in ("tracks_XYZ", "visibility", "queries_xyt"))
    if frames is None:
        frames = len(tracks) if tracks.ndim else 0
    count = tracks.shape[1] if tracks.ndim == 3 else 0
    expected = {
        "tracks_XYZ": (frames, count, 3),
        "visibility": (frames, count),
        "queries_xyt": (count, 3),
        "fx_fy_cx_cy": (4,),
        EXTRINSICS: (frames, 4, 4),
    }
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise DatasetError(
                f"{path}: {frames} frames and {count} points need {name} {list(shape)}, got {list(arrays[name].shape)}"
            )
    if not np.isfinite(tracks[visible.astype(bool)]).all():
        raise DatasetError(f"{path}: a visible point has no finite position")
    if not (np.isfinite(queries).all() and np.isin(np.round(queries[:, 2]), np.arange(frames)).all()):
        raise DatasetError(f"{path}: queries_xyt must be finite (x, y, t), with t from 0 to {frames - 1}")
    focal = arrays.get("fx_fy_cx_cy", np.ones(4))
    if not (np.isfinite(focal).all() and (focal[:2] > 0).all()):
        raise DatasetError(f"{path}: fx_fy_cx_cy must be finite, with positive focal lengths, got {focal.tolist()}")
    if EXTRINSICS in arrays and not np.isfinite(arrays[EXTRINSICS]).all():
        raise DatasetError(f"{path}: {EXTRINSICS} must be finite")


def _video(name: str, arrays: Arrays, frames: NDArray[np.uint8]) -> TrackedVideo3D:
    numbers = {key: arrays[key].astype(np.float64) for key in (*NUMBERS, EXTRINSICS) if key in arrays}
    return TrackedVideo3D(
        name,
        frames,
        numbers["tracks_XYZ"].swapaxes(0, 1),
        arrays["visibility"].astype(bool).T,
        numbers["queries_xyt"][:, [2, 0, 1]],
        numbers["fx_fy_cx_cy"],
        numbers.get(EXTRINSICS),
    )
