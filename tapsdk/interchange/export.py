"""Tracks into a file of another program's format."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapsdk.errors import SaveError
from tapsdk.interchange.formats import FORMATS, Format
from tapsdk.interchange.scene import Scene
from tapsdk.system.files import AtomicFile

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks

HOW = {"size": "size=(height, width), or --size WIDTHxHEIGHT", "fps": "fps=25, or --fps 25"}
"""How what a format needs is given, in Python and on the command line."""


def write_export(
    path: str | os.PathLike[str],
    format: str | None,
    tracks: Tracks,
    *,
    size: Any = None,
    fps: Any = None,
    images: Sequence[str] | None = None,
) -> None:
    """As `Tracks.export`. Raises SaveError."""
    name = format or _format_of(path)
    row = FORMATS.get(name)
    if row is None:
        raise SaveError(f"could not write {path}: no format is called {name!r}; there are {', '.join(FORMATS)}")
    scene = Scene(_size(size), _rate(tracks.fps if fps is None else fps), _images(images, tracks.num_frames))
    _check_needs(path, name, row, scene)
    write = importlib.import_module(f"tapsdk.interchange.{row.module}").write
    with AtomicFile(path) as file:
        write(tracks, scene, file)


def _format_of(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    telling = {row.suffix: name for name, row in FORMATS.items() if row.telling}
    if suffix not in telling:
        raise SaveError(
            f"could not write {path}: its suffix says no format; use {', '.join(telling)}, or name one of "
            f"{', '.join(FORMATS)}"
        )
    return telling[suffix]


def _check_needs(path: str | os.PathLike[str], name: str, row: Format, scene: Scene) -> None:
    have = {"size": scene.size != (0, 0), "fps": scene.fps > 0}
    missing = [need for need in row.needs if not have[need]]
    if missing:
        what = {"size": "the size of the frames", "fps": "the frames per second"}[missing[0]]
        raise SaveError(f"could not write {path}: {name} needs {what}; give {HOW[missing[0]]}")


def _size(value: Any) -> tuple[int, int]:
    if value is None:
        return 0, 0
    try:
        height, width = (int(side) for side in value)
        whole = (height, width) == tuple(value)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or height < 1 or width < 1:
        raise SaveError(f"size must be (height, width), two whole numbers from 1, got {value!r}")
    return height, width


def _rate(value: Any) -> float:
    try:
        rate = 0.0 if value is None else float(value)
        good = value is None or 0 < rate < float("inf")
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise SaveError(f"fps must be a number above 0, got {value!r}")
    return rate


def _images(names: Sequence[str] | None, frames: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"frame_{t:06d}.png" for t in range(frames))
    given = tuple(map(str, names))
    if len(given) != frames or len(set(given)) < frames:
        raise SaveError(f"images must be {frames} different names, one for each frame, got {len(given)}")
    return given
