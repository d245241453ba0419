"""Tracks in space as a picture: from above and from the side, at one scale, as SVG."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError
from tapsdk.system.files import AtomicFile

if TYPE_CHECKING:
    from tapsdk.space.tracks3d import Tracks3D

Floats = NDArray[np.float64]

SUFFIX = ".svg"
_VIEWS = (("from above", 0, 2, -1), ("from the side", 2, 1, 1))
"""Title, the axes to the right and upwards, and 1 where the second one points down."""
_WIDTH, _HEIGHT, _MARGIN = 420.0, 320.0, 28.0
_NEARLY_ALL = (0.5, 99.5)
"""Percent of the points between which the picture reaches: a single wrong depth may be anywhere."""
_STYLE = """
  .ground { fill: #f6f6f4 } .text { fill: #63686d; font: 12px system-ui, sans-serif } .title { fill: #1c1f22 }
  .rule { stroke: #63686d; fill: none } .camera { stroke: #1c1f22; fill: none; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1a1d20 } .text { fill: #949ba2 } .title { fill: #e8eaec } .rule { stroke: #949ba2 }
    .camera { stroke: #e8eaec }
  }
"""


def check_plot_path(path: str | os.PathLike[str]) -> None:
    """Raise SaveError if no plot can be written there. Leaves nothing behind."""
    if Path(path).suffix.lower() != SUFFIX:
        raise SaveError(f"could not write {path}: a plot is an {SUFFIX} file")
    AtomicFile(path).discard()


def write_plot(path: str | os.PathLike[str], tracks: Tracks3D, colors: NDArray[np.uint8], title: str) -> None:
    """Raises SaveError. colors: [N, 3]."""
    check_plot_path(path)
    with AtomicFile(path) as file:
        file.write(_drawn(tracks, colors, title).encode())


def _drawn(tracks: Tracks3D, colors: NDArray[np.uint8], title: str) -> str:
    poses = tracks.camera_to_world
    cameras = np.zeros((1, 3)) if poses is None or not len(poses) else poses[:, :3, 3]
    seen = np.concatenate([tracks.xyz[tracks.visible].astype(np.float64), cameras])
    low, high = np.percentile(seen, _NEARLY_ALL, axis=0)
    low, high = np.minimum(low, cameras.min(axis=0)), np.maximum(high, cameras.max(axis=0))
    room = np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN
    extents = [(high - low)[[right, up]] for _, right, up, _ in _VIEWS]
    scale = min(float((room / np.maximum(extent, 1e-3)).min()) for extent in extents)
    width, height = _WIDTH * len(_VIEWS), _HEIGHT + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{width:g}" height="{height:g}" rx="6"/>',
        f'<text class="text title" x="{_MARGIN:g}" y="20">{escape(title)}</text>',
    ]
    for index, (name, right, up, down) in enumerate(_VIEWS):
        middle = (low + high)[[right, up]] / 2
        centre = np.array([_WIDTH * (index + 0.5), _MARGIN + _HEIGHT / 2])
        turn = np.array([scale, scale * down])
        parts.append(f'<clipPath id="c{index}"><rect x="{_WIDTH * index:g}" y="{_MARGIN:g}" width="{_WIDTH:g}" ')
        parts.append(f'height="{_HEIGHT:g}"/></clipPath><g clip-path="url(#c{index})">')
        flat = (tracks.xyz[..., [right, up]].astype(np.float64) - middle) * turn + centre
        parts += _tracks(flat, tracks.visible, colors)
        parts += _camera((cameras[:, [right, up]] - middle) * turn + centre)
        parts.append(f'</g><text class="text" x="{_WIDTH * index + _MARGIN:g}" y="{height - 10:g}">{name}</text>')
    return "\n".join([*parts, _rule(scale, width, height), "</svg>\n"])


def _tracks(flat: Floats, visible: NDArray[np.bool_], colors: NDArray[np.uint8]) -> list[str]:
    """A line through where each point was seen, broken where it was not, and a dot where it was seen last."""
    parts = []
    for path, seen, colour in zip(flat, visible, colors.tolist(), strict=True):
        frames = np.flatnonzero(seen)
        if not len(frames):
            continue
        moves = np.where(np.diff(frames, prepend=-2) == 1, "L", "M")
        line = "".join(f"{move}{x:.1f} {y:.1f}" for move, (x, y) in zip(moves, path[frames], strict=True))
        ink = "#{:02x}{:02x}{:02x}".format(*colour)
        parts.append(f'<path d="{line}" fill="none" stroke="{ink}" stroke-width="1.2" stroke-opacity=".8"/>')
        x, y = path[frames[-1]]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{ink}"/>')
    return parts


def _camera(path: Floats) -> list[str]:
    """The camera's way, and a ring where it is in the end."""
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
    x, y = path[-1]
    return [f'<polyline class="camera" points="{line}"/><circle class="camera" cx="{x:.1f}" cy="{y:.1f}" r="4"/>']


def _rule(scale: float, width: float, height: float) -> str:
    """A length of 1, 2 or 5 times a power of ten metres, about as long as a quarter of a view."""
    wanted = _WIDTH / 4 / scale
    power = 10.0 ** np.floor(np.log10(wanted))
    metres = power * max(step for step in (1, 2, 5) if step * power <= wanted)
    end, y = width - _MARGIN, height - 14
    start = end - metres * scale
    return (
        f'<path class="rule" d="M{start:.1f} {y - 4:g}v8m0 -4H{end:.1f}m0 -4v8"/>'
        f'<text class="text" text-anchor="end" x="{start - 6:.1f}" y="{y + 4:g}">{metres:g} m</text>'
    )
