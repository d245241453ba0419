"""The result of lifting tracks into space."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import TracksError
from tapsdk.space.tracks3d_files import NO_TRACKS, SPACES, read_tracks3d, write_tracks3d
from tapsdk.system.reading import reading
from tapsdk.tracks import as_rate, as_shape
from tapsdk.video.colors import distinct_colors


@dataclass(frozen=True, eq=False)
class Tracks3D:
    """Where N points are in space in each of T frames; `tapsdk.lift` makes it.

    xyz: [N, T, 3] float32, metres; NaN where nothing is known. x to the right, y down, z forward in the camera's
        coordinates; in those of the poses where the frame of reference is the world.
    visible: [N, T] bool, that the point is seen and its place known.
    confidence: [N, T] float32 in [0, 1], that the point is there and seen; 0 where xyz is NaN.
    queries: [N, 3] float32 (t, x, y), what was asked for, in pixels.
    fps, times [T] float64: as in `Tracks`.
    frame: of reference, "camera" (each frame's own) or "world".
    camera_to_world: [T, 4, 4] float64, poses of the camera, where they are known.
    """

    xyz: NDArray[np.float32]
    visible: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    queries: NDArray[np.float32] | None = None
    fps: float | None = None
    times: NDArray[np.float64] | None = None
    frame: str = "camera"
    camera_to_world: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        xyz = np.asarray(self.xyz, dtype=np.float32)
        if xyz.ndim != 3 or xyz.shape[2] != 3:
            raise TracksError(f"xyz must have shape [N, T, 3], got {list(xyz.shape)}")
        if self.frame not in SPACES:
            raise TracksError(f"frame must be one of {', '.join(SPACES)}, got {self.frame!r}")
        checked: dict[str, Any] = {"xyz": xyz, "fps": as_rate(self.fps)}
        shapes = {"visible": xyz.shape[:2], "confidence": xyz.shape[:2], "queries": (len(xyz), 3)}
        shapes |= {"times": xyz.shape[1:2], "camera_to_world": (xyz.shape[1], 4, 4)}
        dtypes = {"visible": np.bool_, "times": np.float64, "camera_to_world": np.float64}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None or name in ("visible", "confidence"):
                checked[name] = as_shape(name, value, dtypes.get(name, np.float32), shape, "xyz")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.xyz)

    @property
    def num_frames(self) -> int:
        return int(self.xyz.shape[1])

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        colors: ArrayLike | None = None,
        outdates: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write a .npz, .csv, .ply or .rrd file; `load` reads the first two of them.

        npz holds everything; csv is one row per point and frame, with its time where times are known, and columns such
        as x_camera that name the frame of reference; ply holds the visible points, coloured, and lines along the
        tracks; rrd is for Rerun's viewer, and needs pip install 'tapsdk[rerun]'. The file appears whole or not at all.

        colors: [N, 3] uint8 RGB, for ply and rrd; one distinct colour a point if left out. outdates: see `Tracks.save`.
        Raises SaveError.
        """
        table = {field.name: getattr(self, field.name) for field in fields(self)}
        write_tracks3d(path, {**table, "colors": self._colors(colors)}, outdates)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tracks3D:
        """Read a .npz or .csv file that `save` wrote; raises TracksError if it is missing, damaged or another kind."""
        with reading(path, NO_TRACKS, TracksError):
            return Tracks3D(**read_tracks3d(path))

    def plot(self, path: str | os.PathLike[str], *, colors: ArrayLike | None = None, title: str = "") -> None:
        """Draws the tracks from above and from the side, with a scale in metres, as an .svg file. Raises SaveError."""
        from tapsdk.space.plot import write_plot

        write_plot(path, self, self._colors(colors), title)

    def view(self, path: str | os.PathLike[str], *, colors: ArrayLike | None = None, title: str = "") -> None:
        """Writes an .html page in which the tracks can be turned, zoomed and played. It needs no network.

        colors: [N, 3] uint8 RGB. title: of the page. Raises SaveError.
        """
        from tapsdk.space.view import write_view

        write_view(path, self, self._colors(colors), title)

    def _colors(self, given: ArrayLike | None = None) -> NDArray[np.uint8]:
        """[N, 3] uint8 RGB: those that are given, else a distinct one for each point. Raises TracksError."""
        if given is None:
            return distinct_colors(len(self))
        return np.asarray(as_shape("colors", given, np.uint8, (len(self), 3), "xyz"))
