"""Tracks in three dimensions as a picture, or as a page to turn them in: where the points and the camera go."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.system.files import AtomicFile
from training.data.errors import DatasetError
from training.data.tracked_video3d import TrackedVideo3D

PAGE = ".html"
SUFFIXES = (PAGE, ".png", ".svg", ".pdf")
"""A page in which tracks can be turned and played, and pictures of Matplotlib's."""
MOST_POINTS = 500
"""That are drawn; of more, so many at even distances in the order of the file."""
OUTSIDE = 2
"""Per cent of the visible points, at either end of an axis, that need not be in the picture: mistakes of depth are
often far away."""
AXES = (0, 2, 1)
"""Of the plot: x to the right, depth to the back, y down."""


def check_plot3d(path: Path) -> None:
    """Raises, before any work, what `write_plot3d` would: DatasetError for another kind of file, too."""
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetError(f"{path}: a plot is one of {', '.join(SUFFIXES)}")
    if path.suffix.lower() != PAGE:
        _figure()
    AtomicFile(path).discard()


def write_plot3d(path: Path, video: TrackedVideo3D) -> None:
    """Draws `plot3d` into a file, or writes a page. Raises DatasetError without Matplotlib, SaveError."""
    if path.suffix.lower() == PAGE:
        video.spatial().view(path, title=video.name)
        return
    figure = plot3d(video)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower()[1:], dpi=150)
    with AtomicFile(path) as file:
        file.write(buffer.getvalue())


def plot3d(video: TrackedVideo3D) -> Any:
    """A figure of Matplotlib with the tracks where they are visible, and a dot for each point where it is last seen.

    Where the video says how its camera moves, all is drawn as the first frame's camera has it, and the camera's path is
    a black line, with its line of sight at the start and at the end; else each frame is drawn in its own camera.
    Raises DatasetError without Matplotlib, for a video without visible points, and for a matrix without an inverse.
    """
    tracks = video.spatial()
    seen = np.flatnonzero(tracks.visible.any(axis=1))
    if not seen.size:
        raise DatasetError(f"{video.name} has no visible point to draw")
    chosen = seen[np.linspace(0, len(seen) - 1, min(len(seen), MOST_POINTS)).round().astype(int)]
    shown = np.where(tracks.visible[chosen, :, None], tracks.xyz[chosen], np.nan)
    figure = _figure()
    axes = figure.add_subplot(projection="3d")
    for track, colour in zip(shown, _colours(shown), strict=True):
        axes.plot(*track[:, AXES].T, color=colour, linewidth=1)
        axes.scatter(*track[np.flatnonzero(np.isfinite(track[:, 0]))[-1], AXES], color=colour, s=6)
    path = None
    if tracks.camera_to_world is not None:
        path = tracks.camera_to_world[:, :3, 3]
        axes.plot(*path[:, AXES].T, color="black", linewidth=2, label="camera")
        _draw_sight(axes, tracks.camera_to_world, float(np.median(video.xyz[video.visible][:, 2])) / 5)
        axes.legend(loc="upper left")
    _frame(axes, shown[np.isfinite(shown).all(axis=-1)], path)
    axes.set_title(f"{video.name}: {len(chosen)} points, {tracks.num_frames} frames", fontsize=9)
    return figure


def _draw_sight(axes: Any, poses: NDArray[np.float64], length: float) -> None:
    """Where the camera looks at the start and at the end."""
    for pose, marker in ((poses[0], "o"), (poses[-1], "^")):
        line = np.stack([pose[:3, 3], pose[:3, 3] + length * pose[:3, 2]])[:, AXES]
        axes.plot(*line.T, color="black", linewidth=1, linestyle="dotted")
        axes.scatter(*line[0], color="black", marker=marker, s=20)


def _frame(axes: Any, points: NDArray[np.float64], path: NDArray[np.float64] | None) -> None:
    """Sets the limits, with all axes at one scale, and how they are called."""
    low, high = np.percentile(points, [OUTSIDE, 100 - OUTSIDE], axis=0)
    if path is not None:
        low, high = np.minimum(low, path.min(axis=0)), np.maximum(high, path.max(axis=0))
    margin = np.maximum(0.05 * (high - low).max(), 1e-3)
    low, high = (low - margin)[list(AXES)], (high + margin)[list(AXES)]
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(high[2], low[2]))
    axes.set_box_aspect(high - low, zoom=1.08)
    for axis, label in zip((axes.xaxis, axes.yaxis, axes.zaxis), ("x, m", "z, m", "y, m"), strict=True):
        axis.set_label_text(label)
        axis.labelpad = 9
        axis.set_major_locator(_locator(5))
    axes.tick_params(labelsize=8)
    axes.view_init(elev=20, azim=-70)


def _colours(tracks: NDArray[np.float64]) -> list[Any]:
    """By where a track begins, from left to right."""
    from matplotlib import colormaps

    first = np.array([track[np.flatnonzero(np.isfinite(track[:, 0]))[0], 0] for track in tracks])
    return [colormaps["turbo"]((rank + 0.5) / len(first)) for rank in np.argsort(np.argsort(first))]


def _locator(most: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=most)


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DatasetError("plots are drawn with Matplotlib: pip install 'tapsdk[plots]'") from error
    return Figure(figsize=(8, 5.5), layout="constrained")
