"""JHMDB (Jhuang et al. 2013): videos of people, with 15 joints marked in every frame.

A folder as its authors publish the parts: splits/*_test_split1.txt, joint_positions/ACTION/VIDEO/joint_positions.mat
and Rename_Images/ACTION/VIDEO/*.png. Evaluation uses the test videos of the first split, and asks for the joints in
the first frame. The joints are inside the body, and trackers follow its surface: TAP-Vid's authors report it as
transfer to another task. Needs SciPy, for the .mat files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import MAX_SIDE, Size, scale_points
from tapsdk.system.reading import reading
from training.data.errors import DatasetError
from training.data.images import natural_order, read_image, stack_frames
from training.data.labelled_video import LabelledVideo

logger = logging.getLogger(__name__)

FOLDERS = ("splits", "joint_positions", "Rename_Images")
SPLIT = "_test_split1.txt"
TEST = "2"
"""The mark of a test video in a split."""
JOINTS = 15
MOST_MAT_BYTES = 1 << 24
"""Of a file of joints; the published ones have a few thousand."""


def read_jhmdb(path: Path, size: Size | None = None) -> Iterator[LabelledVideo]:
    """The test videos of the first split, by their names; a joint is a row, visible throughout or nowhere.

    As in the published evaluation, a joint that is outside the frame at first is left out (not visible), positions are
    taken as raster pixels as they are, and a video is cut where its joints end. Videos without joints are left out with
    a warning. size: (height, width) to resize videos to; None leaves them as they are. Raises DatasetError.
    """
    videos = sorted(_test_videos(path))
    if not videos:
        raise DatasetError(f"{path / FOLDERS[0]} names no test videos (ACTION{SPLIT}, lines of VIDEO.avi {TEST})")
    with reading(path, "is not JHMDB", DatasetError):  # a name may be too long for any file
        having = [video for video in videos if (path / FOLDERS[1] / video / "joint_positions.mat").exists()]
    if not having:
        raise DatasetError(f"{path / FOLDERS[1]} has joints of none of the {len(videos)} videos, {videos[0]} for one")
    if len(having) < len(videos):
        missing = next(video for video in videos if video not in having)
        logger.warning(
            "%s: %d of %d videos have no joints: %s ...", path, len(videos) - len(having), len(videos), missing
        )
    for video in having:
        yield _video(path, video, size)


def _test_videos(path: Path) -> Iterator[str]:
    """ACTION/VIDEO of each."""
    for file in sorted((path / FOLDERS[0]).glob(f"*{SPLIT}")):
        with reading(file, "is not a split of JHMDB", DatasetError):
            for line in file.read_text(encoding="utf-8").splitlines():
                name, mark = line.split() if line.strip() else ("", "")
                if mark == TEST:
                    yield f"{file.name.removesuffix(SPLIT)}/{Path(name).stem}"


def _video(path: Path, name: str, size: Size | None) -> LabelledVideo:
    pictures = path / FOLDERS[2] / name
    files = sorted(pictures.glob("*.png"), key=natural_order)
    if not files:
        raise DatasetError(f"{pictures} holds no frames (*.png)")
    joints = _joints(path / FOLDERS[1] / name / "joint_positions.mat")
    height, width = read_image(files[0]).shape[:2]
    length = min(len(files), joints.shape[1])
    frames = stack_frames((read_image(file) for file in files[:length]), size, str(pictures))
    first = joints[:, 0]
    inside = ((first >= 0) & (first < (width, height))).all(axis=-1)
    visible = np.repeat(inside[:, None], length, axis=1)
    if not np.isfinite(joints[inside]).all():
        raise DatasetError(f"{path / FOLDERS[1] / name}: a visible joint has no finite position")
    xy = scale_points(joints[:, :length], (height, width), frames.shape[1:3])
    return LabelledVideo(frames, xy, visible, name=name, original_size=(height, width))


def _joints(path: Path) -> NDArray[np.float64]:
    """[15, T, 2]"""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DatasetError("JHMDB's joints are read with SciPy: pip install 'tapsdk[jhmdb]'") from error
    with reading(path, "is not a .mat file of joints", DatasetError):
        if path.stat().st_size > MOST_MAT_BYTES:
            raise ValueError(f"it has more than {MOST_MAT_BYTES} bytes")
        joints: NDArray[Any] = np.asarray(loadmat(path, variable_names=["pos_img"])["pos_img"])
        if joints.ndim != 3 or joints.shape[:2] != (2, JOINTS) or not joints.shape[2] or joints.dtype.kind not in "fiu":
            raise ValueError(f"pos_img must be numbers [2, {JOINTS}, T], got {list(joints.shape)} {joints.dtype}")
        if (np.abs(joints) > MAX_SIDE).any():
            raise ValueError("its joints lie farther off than any frame is wide")
        return joints.transpose(1, 2, 0).astype(np.float64)
