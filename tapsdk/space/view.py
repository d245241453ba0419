"""Tracks in space as a page: one file that needs no network, with the tracks and the program that shows them."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError
from tapsdk.system.files import AtomicFile
from tapsdk.system.pages import filled

if TYPE_CHECKING:
    from tapsdk.space.tracks3d import Tracks3D

SUFFIX = ".html"
PAGE = Path(__file__).with_name("view.html")


def check_view_path(path: str | os.PathLike[str]) -> None:
    """Raise SaveError if no page can be written there. Leaves nothing behind."""
    if Path(path).suffix.lower() != SUFFIX:
        raise SaveError(f"could not write {path}: a view is an {SUFFIX} file")
    AtomicFile(path).discard()


def write_view(path: str | os.PathLike[str], tracks: Tracks3D, colors: NDArray[np.uint8], title: str) -> None:
    """Raises SaveError. colors: [N, 3]."""
    check_view_path(path)
    with AtomicFile(path) as file:
        file.write(filled(PAGE, _data(tracks, colors), title or "Tracks in space"))


def _data(tracks: Tracks3D, colors: NDArray[np.uint8]) -> dict[str, Any]:
    """Arrays as text: little-endian bytes in base 64."""
    place = np.where(tracks.visible[..., None], tracks.xyz, np.float32(np.nan))
    poses = tracks.camera_to_world
    return {
        "points": len(tracks),
        "frames": tracks.num_frames,
        "frame": tracks.frame,
        "fps": tracks.fps,
        "times": None if tracks.times is None else tracks.times.tolist(),
        "xyz": _packed(place.astype("<f4")),
        "confidence": _packed(np.rint(tracks.confidence.clip(0, 1) * 255).astype("u1")),
        "colors": colors.tolist(),
        "poses": None if poses is None else poses[:, :3].reshape(len(poses), -1).round(6).tolist(),
    }


def _packed(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
