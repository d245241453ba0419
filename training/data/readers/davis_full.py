"""TAP-Vid's tracks on DAVIS as it was filmed: the pickle's points, on frames up to 4K where the pickle has 480 rows.

A folder with tapvid_davis.pkl, and JPEGImages/Full-Resolution of DAVIS 2017 (Pont-Tuset et al. 2017) there or in a
folder beside it, which has a folder of *.jpg for each video. TAP-Vid's authors hold such numbers for another
category than those at 256x256.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tapsdk.geometry import Size, scale_points
from training.data.errors import DatasetError
from training.data.images import natural_order, read_image, stack_frames
from training.data.labelled_video import LabelledVideo
from training.data.readers.tapvid import SUFFIX, read_tapvid

FULL_RESOLUTION = "JPEGImages/Full-Resolution"


def read_davis_full(path: Path, size: Size | None = None) -> Iterator[LabelledVideo]:
    """The videos of the pickle, one at a time.

    size: (height, width) to resize videos to; None leaves them as they are. Raises DatasetError.
    """
    places = (folder / FULL_RESOLUTION for folder in (path, *sorted(path.glob("*"))))
    pictures = next(filter(Path.is_dir, places), None)
    if pictures is None or not any(path.glob(f"*{SUFFIX}")):
        raise DatasetError(f"{path} must hold tapvid_davis.pkl, and {FULL_RESOLUTION} there or in a folder beside it")
    for video in read_tapvid(path):
        files = sorted((pictures / video.name).glob("*.jpg"), key=natural_order)
        if len(files) != len(video.frames):
            raise DatasetError(
                f"{pictures / video.name} has {len(files)} pictures, its tracks {len(video.frames)} frames"
            )
        frames = stack_frames((read_image(file) for file in files), size, str(pictures / video.name))
        xy = scale_points(video.xy, video.frames.shape[1:3], frames.shape[1:3])
        yield replace(video, frames=frames, xy=xy)
