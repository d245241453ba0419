"""Tracks in three dimensions as a picture: where the points go, and the camera, seen from the side."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.system.files import AtomicFile
from training.data.errors import DatasetError
from training.data.tracked_video3d import TrackedVideo3D, in_world

SUFFIXES = (".png", ".svg", ".pdf")
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
    _figure()
    AtomicFile(path).discard()


def write_plot3d(path: Path, video: TrackedVideo3D) -> None:
    """Draws `plot3d` into a file. Raises DatasetError without Matplotlib, SaveError."""
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
    seen = np.flatnonzero(video.visible.any(axis=1))
    if not seen.size:
        raise DatasetError(f"{video.name} has no visible point to draw")
    chosen = seen[np.linspace(0, len(seen) - 1, min(len(seen), MOST_POINTS)).round().astype(int)]
    xyz, visible = video.xyz[chosen], video.visible[chosen]
    cameras, path = _cameras(video), None
    if cameras is not None:
        xyz = in_world(xyz, cameras)
        path = in_world(np.zeros((1, len(cameras), 3)), cameras)[0]
    figure = _figure()
    axes = figure.add_subplot(projection="3d")
    shown = np.where(visible[..., None], xyz, np.nan)
    for track, colour in zip(shown, _colours(shown), strict=True):
        axes.plot(*track[:, AXES].T, color=colour, linewidth=1)
        axes.scatter(*track[np.flatnonzero(np.isfinite(track[:, 0]))[-1], AXES], color=colour, s=6)
    corners = shown[visible]
    if cameras is not None and path is not None:
        axes.plot(*path[:, AXES].T, color="black", linewidth=2, label="camera")
        _draw_sight(axes, cameras, path, float(np.median(video.xyz[chosen][visible][:, 2])))
        axes.legend(loc="upper left")
    _frame(axes, corners, path)
    axes.set_title(f"{video.name}: {len(chosen)} points, {video.visible.shape[1]} frames", fontsize=9)
    return figure


def _cameras(video: TrackedVideo3D) -> NDArray[np.float64] | None:
    """[T, 4, 4] from the first frame's camera to each frame's, None where nobody knows. Raises DatasetError."""
    matrices = video.world_to_camera
    if matrices is None:
        return None
    if not (np.abs(np.linalg.det(matrices)) > 0).all():
        raise DatasetError(f"{video.name}: a matrix of world_to_camera has no inverse")
    return matrices @ np.linalg.inv(matrices[0])


def _draw_sight(axes: Any, cameras: NDArray[np.float64], path: NDArray[np.float64], depth: float) -> None:
    """Where the camera looks at the start and at the end: a line of a fifth of the usual depth."""
    ahead = np.tile([[0.0, 0.0, depth / 5]], (1, len(path), 1)).reshape(1, -1, 3)
    ends = in_world(ahead, cameras)[0]
    for t, marker in ((0, "o"), (-1, "^")):
        line = np.stack([path[t], ends[t]])[:, AXES]
        axes.plot(*line.T, color="black", linewidth=1, linestyle="dotted")
        axes.scatter(*path[t, AXES], color="black", marker=marker, s=20)


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
