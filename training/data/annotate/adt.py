"""Aria Digital Twin's pictures, by Project Aria's own tools, as generate_adt.py of tapnet takes them.

A video is 300 frames of a recording, of those that its ground truth covers, without the frames for which picture, depth
or segmentation is missing. They are undistorted to a pinhole camera and turned upright.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.system.reading import reading
from training.data.annotate.making import Arrays
from training.data.errors import DatasetError
from training.data.images import encode_jpeg
from training.data.readers.tapvid3d import QUALITY
from training.data.tapvid3d import recording_of

FRAMES, SIDE, FOCAL = 300, 512, 280
"""Of a video: its length, the pixels of its sides, and its focal length."""
STREAM = "214-1"
"""The colour camera."""
MEANS = "video_means"
TOLERANCE = 1e-3
"""Grey levels by which the mean colour of a frame may differ from the publisher's."""
MISSING = "Aria Digital Twin is read by Project Aria's tools, which are missing here: pip install 'tapsdk[adt]'"
HINT = (
    "--videos FOLDER with the sequences of Aria Digital Twin (version 2: main_vrs, main_groundtruth, segmentation and "
    "depth of each): get its list of files at https://explorer.projectaria.com, then aria_dataset_downloader "
    "--cdn_file LIST -o FOLDER -d 0 6 7 8"
)

Frames = Callable[[int], Iterator[NDArray[np.uint8]]]
"""The frames of the video of this number in a recording, [512, 512, 3], as the sensor lies."""


class AdtPictures:
    """Recordings in a folder, one of them open at a time."""

    def __init__(self, folder: Path | None, open_recording: Callable[[Path], Frames] | None = None) -> None:
        """Raises DatasetError without a folder, or without Project Aria's tools."""
        if open_recording is None:
            _calibration()
        if folder is None or not folder.is_dir():
            raise DatasetError(f"{'' if folder is None else f'{folder}: no such folder; '}adt needs {HINT}")
        self.folder = folder
        self._open_recording = open_recording or open_with_aria
        self._open: tuple[str, Frames] | None = None

    def has(self, name: str) -> bool:
        recording = recording_of(name)
        return recording is not None and (self.folder / recording).is_dir()

    def put_in(self, name: str, arrays: Arrays) -> tuple[Arrays, list[bytes]]:
        recording, number = recording_of(name), int(name.rpartition("_")[2])
        assert recording is not None
        with reading(self.folder / recording, "is not a sequence of Aria Digital Twin", DatasetError):
            if self._open is None or self._open[0] != recording:
                self._open = recording, self._open_recording(self.folder / recording)
            frames = [np.rot90(frame, -1) for frame in self._open[1](number)]
        _check(frames, arrays, name)
        camera = {"fx_fy_cx_cy": np.array([FOCAL, FOCAL, SIDE / 2, SIDE / 2])}
        kept = {key: array for key, array in arrays.items() if key != MEANS}
        return kept | camera, [encode_jpeg(np.ascontiguousarray(frame), QUALITY) for frame in frames]


def _check(frames: list[NDArray[np.uint8]], arrays: Arrays, name: str) -> None:
    """Raises DatasetError unless these are the frames that were annotated."""
    expected = arrays["tracks_XYZ"]
    if len(frames) != len(expected):
        raise DatasetError(f"{name}: its recording gives {len(frames)} frames, its tracks have {len(expected)}")
    if MEANS not in arrays:
        return
    means = np.array([frame.mean(axis=(0, 1)) for frame in frames])
    if arrays[MEANS].shape != means.shape or not np.allclose(means, arrays[MEANS], atol=TOLERANCE):
        raise DatasetError(f"{name}: the frames of its recording have other colours than those that were annotated")


def open_with_aria(folder: Path) -> Frames:
    """A recording's frames. Raises what Project Aria's tools raise for a folder that is none."""
    from projectaria_tools.core.stream_id import StreamId
    from projectaria_tools.projects import adt

    paths = adt.AriaDigitalTwinDataPathsProvider(str(folder)).get_datapaths_by_device_num(0, False)
    provider, stream = adt.AriaDigitalTwinDataProvider(paths), StreamId(STREAM)
    start, end = provider.get_start_time_ns(), provider.get_end_time_ns()
    times = [t for t in provider.get_aria_device_capture_timestamps_ns(stream) if start < t < end]
    raw = provider.raw_data_provider_ptr()
    camera = raw.get_device_calibration().get_camera_calib(raw.get_label_from_stream_id(stream))

    def frames(number: int) -> Iterator[NDArray[np.uint8]]:
        for t in times[number * FRAMES : (number + 1) * FRAMES]:
            image = provider.get_aria_image_by_timestamp_ns(t, stream)
            depth = provider.get_depth_image_by_timestamp_ns(t, stream)
            objects = provider.get_segmentation_image_by_timestamp_ns(t, stream)
            if image.is_valid() and depth.is_valid() and objects.is_valid():
                yield undistorted(image.data().to_numpy_array(), camera)

    return frames


def undistorted(image: NDArray[np.uint8], camera: Any) -> NDArray[np.uint8]:
    """A picture of a camera of Project Aria as the pinhole camera of TAPVid-3D would have taken it."""
    calibration = _calibration()
    # With the tools' own `get_linear_camera_calibration`, the middle would lie half a pixel off.
    pinhole = calibration.CameraCalibration(
        "camera-rgb",
        calibration.CameraModelType.LINEAR,
        np.array([FOCAL, FOCAL, SIDE / 2, SIDE / 2]),
        calibration.get_linear_camera_calibration(1, 1, 1).get_transform_device_camera(),
        SIDE,
        SIDE,
        None,
        np.pi,
        "LinearCameraCalibration",
    )
    return np.asarray(calibration.distort_by_calibration(image, pinhole, camera))


def _calibration() -> Any:
    try:
        from projectaria_tools.core import calibration
    except ImportError as error:
        raise DatasetError(MISSING) from error
    return calibration
