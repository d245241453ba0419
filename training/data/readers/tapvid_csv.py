"""TAP-Vid's CSV form: tracks in a table, videos in files beside it.

A row is a track, its columns the name of the video, then x, y and occluded (0 or 1) for each frame, x and y as
shares of width and height. The table of Kinetics, of which only the tracks are published, names a video by three
columns, its YouTube id and the seconds between which it was cut, and counts frames at 25 per second.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import Size
from tapsdk.system.reading import reading
from tapsdk.video import open_frames
from tapsdk.video.containers import open_container
from training.data.errors import DatasetError
from training.data.images import natural_order, stack_frames
from training.data.labelled_video import LabelledVideo

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov")
KINETICS_FPS = 25
MAX_FRAMES = 1000
"""Longer videos are cut into equal parts, each a video of its own, as the published reader does."""


@dataclass(frozen=True)
class _Row:
    video: str
    fps: int | None
    """That the video is to be resampled to."""
    points: NDArray[np.float32]
    """[T, 3] (x, y, occluded)"""


def read_tapvid_csv(path: Path, size: Size | None = None) -> Iterator[LabelledVideo]:
    """The videos of a CSV file, or of all in a folder, one at a time.

    Videos are looked for in the file's folder and below; those that are not there are left out with a warning, as
    not all of Kinetics can be had any more. Kinetics is resampled to 25 frames per second and half a pixel is taken
    from its positions, which is what the published script does that makes pickles of it; that script also
    compresses the frames to JPEG, which this reader does not.

    size: (height, width) to resize videos to; None leaves them as they are. Raises DatasetError.
    """
    tables = sorted(path.glob("*.csv"), key=natural_order) if path.is_dir() else [path]
    if not tables:
        raise DatasetError(f"{path} holds no tables (*.csv)")
    for table in tables:
        tracks = _tracks(table)
        files = _video_files(table.parent)
        missing = [name for name in tracks if name not in files]
        if len(missing) == len(tracks):
            raise DatasetError(
                f"{table}: none of its {len(tracks)} videos is in {table.parent} or below, {missing[0]}.mp4 for one"
            )
        if missing:
            logger.warning("%s: %d of %d videos are not there: %s ...", table, len(missing), len(tracks), missing[0])
        for name, rows in tracks.items():
            if name in files:
                yield from _videos(name, files[name], rows, size)


def _tracks(table: Path) -> dict[str, list[_Row]]:
    """The rows of each video, by its name, in the order of the table."""
    tracks: dict[str, list[_Row]] = {}
    with reading(table, "is not a table", DatasetError), open(table, newline="", encoding="utf-8") as file:
        for number, columns in enumerate(csv.reader(file), start=1):
            if columns:
                row = _row(columns, f"{table}, row {number}")
                tracks.setdefault(row.video, []).append(row)
    if not tracks:
        raise DatasetError(f"{table} is empty")
    return tracks


def _row(columns: list[str], where: str) -> _Row:
    is_kinetics = len(columns) % 3 == 0
    if len(columns) < 4 or len(columns) % 3 == 2:
        raise DatasetError(
            f"{where} has {len(columns)} columns; it needs a name, or a YouTube id and two times, and then 3 per frame"
        )
    try:
        name = f"{columns[0]}_{int(columns[1]):06}_{int(columns[2]):06}" if is_kinetics else columns[0]
        points = np.array(columns[3 if is_kinetics else 1 :], np.float32).reshape(-1, 3)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error
    if not np.isfinite(points[points[:, 2] == 0]).all():
        raise DatasetError(f"{where}: a visible point has no finite position")
    return _Row(name.removesuffix(".mp4"), KINETICS_FPS if is_kinetics else None, points)


def _video_files(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.rglob("*")) if file.suffix in VIDEO_SUFFIXES}


def _videos(name: str, file: Path, rows: list[_Row], size: Size | None) -> Iterator[LabelledVideo]:
    length = len(rows[0].points)
    if any(len(row.points) != length for row in rows):
        raise DatasetError(f"{name}: its tracks have different numbers of frames")
    points = np.stack([row.points for row in rows])
    fps = rows[0].fps
    with open_frames(file) as source:
        original = source.size
        frames = stack_frames(islice(_resampled(file, fps), length) if fps else source, size, str(file))
    if len(frames) < length:
        logger.warning("%s has %d frames, its tracks %d: the rest is left out", file, len(frames), length)
    elif len(frames) > length:
        raise DatasetError(f"{file} has {len(frames)} frames, its tracks only {length}")
    height, width = frames.shape[1:3]
    share = points[:, : len(frames), :2] - (0.5 / np.array(original[::-1]) if fps else 0)
    xy = (share * (width, height)).astype(np.float32)
    visible = points[:, : len(frames), 2] == 0
    parts = -(-len(frames) // MAX_FRAMES)
    for part in range(parts):
        span = slice(part * len(frames) // parts, (part + 1) * len(frames) // parts)
        full_name = f"{name}-{part}" if parts > 1 else name
        yield LabelledVideo(frames[span], xy[:, span], visible[:, span], name=full_name)


def _resampled(file: Path, fps: int) -> Iterator[NDArray[np.uint8]]:
    """Frames of a video at `fps` per second, repeated or left out as FFmpeg's filter does it."""
    import av

    try:
        with open_container(f"file:{file}") as container:
            stream = container.streams.video[0]
            graph = av.filter.Graph()
            nodes = [graph.add_buffer(template=stream), graph.add("fps", str(fps)), graph.add("buffersink")]
            graph.link_nodes(*nodes).configure()
            for frame in container.decode(stream):
                graph.vpush(frame)
                yield from _pulled(graph)
            graph.vpush(None)
            yield from _pulled(graph)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise DatasetError(f"{file}: the video is damaged: {error}") from error


def _pulled(graph: Any) -> Iterator[NDArray[np.uint8]]:
    import av

    while True:
        try:
            yield graph.vpull().to_ndarray(format="rgb24")
        except (av.BlockingIOError, av.EOFError):
            return
