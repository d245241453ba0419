"""Kubric's MOVi datasets (Greff et al. 2022) with point tracks, from the TFRecords of TensorFlow Datasets.

Any that has segmentation, depth, normals, boxes and a camera: MOVi-A to -F, and Panning MOVi-E, on which the
published trackers were trained. Needs TensorFlow, for the records alone;
`training.data.readers.kubric_tracks` makes the tracks.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size, scale_points
from tapsdk.system.reading import reading
from training.data.errors import DatasetError
from training.data.images import natural_order, stack_frames
from training.data.labelled_video import LabelledVideo
from training.data.readers.kubric_tracks import Camera, Scene, choose_pixels, follow_pixels, track_pixels
from training.data.spatial_video import SpatialVideo

VIDEO_POINTS = 256
"""Per video, as many as the published generator makes."""
NO_MOVI = "is not a record file of MOVi"
LENGTH, CHECKSUM = 8, 4
"""Bytes that say how long a record is, and of the checksums that follow these and the record."""


def kubric_clips(
    path: Path, points: int = VIDEO_POINTS, seed: int = 0, split: str | None = None
) -> Iterator[LabelledVideo]:
    """Clips for training from a TFRecord file, or all in a folder, in the files' order.

    points: how many are tracked, from pixels of all frames. seed: draws them, each video's apart.
    split: "train", "validation" or "test" of those in the folder; None for all.
    Raises DatasetError.
    """
    for index, (_, frames, scene) in enumerate(_scenes(_files(path, split))):
        pixels = choose_pixels(scene.segmentation, points, np.random.default_rng([seed, index]))
        xy, visible = track_pixels(scene, pixels)
        t = pixels[:, 0]
        queries = np.concatenate([t[:, None], xy[np.arange(len(t)), t]], axis=1).astype(np.float32)
        yield LabelledVideo(frames, xy, visible, queries)


class KubricVideos:
    """The videos of a TFRecord file, or of the training split of a folder, by number (see `TrainingVideos`).

    Only the lengths of the records are read at first, however many gigabytes there are. Raises DatasetError.
    """

    def __init__(self, path: Path, points: int = 2 * VIDEO_POINTS) -> None:
        """points: of each video; more than a clip has, as some may be outside of what it shows."""
        _tensorflow()
        try:
            self.files = _files(path, "train")
        except DatasetError:
            self.files = _files(path, None)
        self.points = points
        self.records = [_positions(file) for file in self.files]
        self.ends = list(accumulate(map(len, self.records)))

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, index: int, rng: np.random.Generator) -> LabelledVideo:
        number = bisect.bisect_right(self.ends, index)
        file, record = self.files[number], index - self.ends[number] + len(self.records[number])
        start, length = self.records[number][record]
        with reading(file, NO_MOVI, DatasetError), open(file, "rb") as stream:
            stream.seek(start)
            name, frames, scene = _parsed(stream.read(length), f"{file}, record {record}")
        xy, visible = track_pixels(scene, choose_pixels(scene.segmentation, self.points, rng))
        return LabelledVideo(frames, xy, visible, name=name)


def read_kubric(path: Path, size: Size | None = None) -> Iterator[LabelledVideo]:
    """Videos for evaluation, with fixed points: of the validation split, where a folder has one.

    size: (height, width) to resize videos to; None leaves them as they are. Raises DatasetError.
    """
    for index, (name, frames, scene) in enumerate(_scenes(_evaluated(path))):
        pixels = choose_pixels(scene.segmentation, VIDEO_POINTS, np.random.default_rng(index))
        xy, visible = track_pixels(scene, pixels)
        resized = stack_frames(frames, size, name)
        yield LabelledVideo(resized, scale_points(xy, frames.shape[1:3], resized.shape[1:3]), visible, name=name)


def read_kubric_spatial(path: Path, points: int = VIDEO_POINTS) -> Iterator[SpatialVideo]:
    """Videos with tracks in space, depth and poses, with fixed points: those of `read_kubric`. Raises DatasetError.

    Coordinates of the camera are as in OpenCV, x to the right, y down, z forward; the world is Kubric's, z up.
    """
    for index, (name, frames, scene) in enumerate(_scenes(_evaluated(path))):
        pixels = choose_pixels(scene.segmentation, points, np.random.default_rng(index))
        yield spatial_video(frames, scene, pixels, name)


def spatial_video(frames: NDArray[np.uint8], scene: Scene, pixels: NDArray[np.integer], name: str = "") -> SpatialVideo:
    """Tracks of pixels [N, 3] (t, y, x) of a scene, in the picture and in space."""
    tracks, camera = follow_pixels(scene, pixels), scene.camera
    to_world = camera.camera_to_world
    seen = np.einsum("tji,ntj->nti", to_world[:, :3, :3], tracks.points - to_world[:, :3, 3])
    xy, t = tracks.xy.astype(np.float32), pixels[:, 0]
    return SpatialVideo(
        frames=frames,
        xy=xy,
        xyz=seen.astype(np.float32),
        xyz_world=tracks.points.astype(np.float32),
        visible=tracks.visible,
        queries=np.concatenate([t[:, None], xy[np.arange(len(t)), t]], axis=1).astype(np.float32),
        depth=camera.depth_of(scene.depth),
        intrinsics=camera.intrinsics,
        camera_to_world=to_world,
        name=name,
    )


def _evaluated(path: Path) -> list[Path]:
    """The files of the validation split, where there is one."""
    try:
        return _files(path, "validation")
    except DatasetError:
        return _files(path, None)


def _files(path: Path, split: str | None) -> list[Path]:
    if path.is_file():
        return [path]
    pattern = f"*-{split}.tfrecord*" if split else "*.tfrecord*"
    files = sorted(path.glob(pattern), key=natural_order)
    if not files:
        raise DatasetError(f"{path} holds no records ({pattern})")
    return files


def _tensorflow() -> Any:
    try:
        import tensorflow
    except ImportError as error:
        raise DatasetError("TFRecords are read with TensorFlow: pip install 'tapsdk[kubric]'") from error
    return tensorflow


def _positions(file: Path) -> list[tuple[int, int]]:
    """Where each record of a file begins, in bytes, and its length. Raises DatasetError."""
    positions = []
    with reading(file, NO_MOVI, DatasetError), open(file, "rb") as stream:
        size = file.stat().st_size
        while stream.tell() < size:
            length = int.from_bytes(stream.read(LENGTH), "little")
            start = stream.tell() + CHECKSUM
            if start + length + CHECKSUM > size:
                raise ValueError("it is cut short")
            positions.append((start, length))
            stream.seek(start + length + CHECKSUM)
    if not positions:
        raise DatasetError(f"{file} holds no records")
    return positions


def _scenes(files: list[Path]) -> Iterator[tuple[str, NDArray[np.uint8], Scene]]:
    """Name, frames and geometry of each record."""
    tf = _tensorflow()
    for file in files:
        try:
            for index, record in enumerate(tf.data.TFRecordDataset(str(file))):
                name, *rest = _parsed(record.numpy(), f"{file}, record {index}")
                yield name or f"{file.stem}-{index:03d}", *rest
        except tf.errors.OpError as error:
            raise DatasetError(f"{file} {NO_MOVI}, or is damaged: {error.message}") from error


def _parsed(record: bytes, where: str) -> tuple[str, NDArray[np.uint8], Scene]:
    """Name, if it has one, frames and geometry of a record. Raises DatasetError."""
    tf = _tensorflow()
    number, numbers, pictures = (
        tf.io.FixedLenFeature([], tf.float32),
        tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
        tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
    )
    features = {
        "metadata/video_name": tf.io.FixedLenFeature([], tf.string, ""),
        "metadata/depth_range": tf.io.FixedLenFeature([2], tf.float32),
        "camera/focal_length": number,
        "camera/sensor_width": number,
        "camera/positions": numbers,
        "camera/quaternions": numbers,
        "instances/bboxes_3d": numbers,
        "video": pictures,
        "segmentations": pictures,
        "depth": pictures,
        "normal": pictures,
    }
    try:
        values = {k: v.numpy() for k, v in tf.io.parse_single_example(record, features).items()}
        return values["metadata/video_name"].decode(errors="replace"), *_scene(values, where)
    except tf.errors.OpError as error:
        raise DatasetError(f"{where}: {NO_MOVI}, or is damaged: {error.message}") from error


def _scene(values: dict[str, Any], where: str) -> tuple[NDArray[np.uint8], Scene]:
    frames = _decoded(values["video"], np.uint8)
    if frames.ndim != 4:
        raise DatasetError(f"{where} has no frames")
    length, *size = frames.shape[:3]
    low, high = values["metadata/depth_range"].astype(np.float64)
    try:
        camera = Camera(
            float(values["camera/focal_length"]),
            float(values["camera/sensor_width"]),
            values["camera/positions"].reshape(length, 3).astype(np.float64),
            values["camera/quaternions"].reshape(length, 4).astype(np.float64),
            (size[0], size[1]),
        )
        boxes = values["instances/bboxes_3d"].reshape(-1, length, 8, 3)
        segmentation = _decoded(values["segmentations"], np.uint8).reshape(length, *size)
        depth = _decoded(values["depth"], np.uint16).reshape(length, *size)
        normal = _decoded(values["normal"], np.uint16).reshape(length, *size, 3) if len(values["normal"]) else None
    except ValueError as error:
        raise DatasetError(f"{where}: its parts do not fit to {length} frames of {size}: {error}") from error
    if segmentation.max() > len(boxes):
        raise DatasetError(f"{where} shows object {segmentation.max()} and has boxes of {len(boxes)}")
    normals = None if normal is None else normal.astype(np.float32) / 65535 * 2 - 1
    return frames, Scene(segmentation, low + depth / 65535 * (high - low), normals, boxes, camera)


def _decoded(pictures: NDArray[np.object_], dtype: type) -> NDArray[Any]:
    """[T, H, W, C] of encoded pictures."""
    tf = _tensorflow()
    return np.array([tf.io.decode_png(picture, dtype=tf.as_dtype(dtype)).numpy() for picture in pictures], dtype)
