"""What `tapsdk track --depth` does beside tracking: tracks in space."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tapsdk.api import check_output
from tapsdk.errors import DepthError, TapsdkError
from tapsdk.space.camera import check_intrinsics, parse_intrinsics, parse_poses
from tapsdk.space.depth_maps import open_depth
from tapsdk.space.lifting import check_same_view, lift
from tapsdk.space.plot import SUFFIX as PLOT
from tapsdk.space.plot import check_plot_path
from tapsdk.space.poses_file import read_poses
from tapsdk.space.tracks3d import Tracks3D
from tapsdk.space.tracks3d_files import check_save_path3d
from tapsdk.space.view import SUFFIX as VIEW
from tapsdk.space.view import check_view_path
from tapsdk.system.console import NO_MEMORY, tell
from tapsdk.system.files import is_special_file
from tapsdk.system.signals import hold_signals
from tapsdk.tracks import Tracks
from tapsdk.video import FrameSource

BESIDE = "-3d.npz"
"""What a file of tracks in space is called beside one of tracks: its stem and this."""
_CHECKS: dict[str, Callable[[str], None]] = {PLOT: check_plot_path, VIEW: check_view_path}


def outputs3d(args: argparse.Namespace) -> list[str]:
    """Where tracks in space go; none without --depth. Raises TapsdkError for what cannot be, before any work."""
    others = [name for name in ("intrinsics", "depth_scale", "poses", "save_3d") if getattr(args, name) is not None]
    others += [name for name in ("smaller_depth", "pixel_centers") if getattr(args, name)]
    if args.depth is None:
        if others:
            raise TapsdkError(f"--{others[0].replace('_', '-')} goes with --depth: give the depth maps of the video")
        return []
    if args.start or args.end:
        raise TapsdkError("--depth goes with whole videos: leave --start and --end out")
    if args.intrinsics is None:
        raise TapsdkError("--depth needs --intrinsics FX,FY,CX,CY, in pixels of the video")
    beside = [_beside(args.save)] if args.save and not is_special_file(args.save) else []
    paths: list[str] = args.save_3d or beside
    if not paths:
        raise TapsdkError("nowhere to write what --depth is for: give --save-3d OUT.npz, or --save")
    taken = [path for path in (args.output, args.save) if path]
    for path in paths:
        _CHECKS.get(Path(path).suffix.lower(), check_save_path3d)(path)
        check_output(path, args.video, args.points_file, *inputs3d(args), *taken)
        taken.append(path)
    return paths


def _beside(path: str) -> str:
    return path[: len(path) - len(Path(path).suffix)] + BESIDE


def inputs3d(args: argparse.Namespace) -> list[str]:
    """The files that are read for tracks in space."""
    given = [path for path in (args.depth, args.poses) if path]
    folder = Path(args.depth or "")
    return given + ([str(path) for path in folder.iterdir()] if args.depth and folder.is_dir() else [])


class Lifter:
    """Depth, intrinsics and poses of a video that is about to be tracked. Close it.

    Raises DepthError for what does not fit to the video, as far as that can be told before it is read.
    """

    def __init__(self, args: argparse.Namespace, source: FrameSource, paths: list[str]) -> None:
        self._paths, self._title = paths, Path(args.video).name
        self._pixel_centers = args.pixel_centers
        self._intrinsics = _numbers(args.intrinsics)
        lens = parse_intrinsics(self._intrinsics, 1, pixel_centers=args.pixel_centers)
        check_intrinsics(lens, source.size)
        self._poses = None if args.poses is None else read_poses(args.poses)
        if self._poses is not None:
            parse_poses(self._poses, source.known_frames or len(self._poses))
        with ExitStack() as stack:
            self._depth = stack.enter_context(open_depth(args.depth, args.depth_scale))
            self._check_size(source, args.smaller_depth)
            self._size = source.size
            stack.pop_all()

    def _check_size(self, source: FrameSource, smaller: bool) -> None:
        have, size = self._depth.size, source.size
        if smaller:
            check_same_view(have, size)
        elif have != size:
            raise DepthError(
                f"depth maps are {have[1]} x {have[0]} pixels, and the video {size[1]} x {size[0]}: resize them, by "
                "nearest pixels, or give --smaller-depth if they show the same view"
            )
        frames, maps = source.known_frames, self._depth.num_maps
        if frames is not None and maps is not None and frames != maps:
            self._depth.refuse_number(f"{maps} depth maps", frames)

    def write(self, tracks: Tracks, *, whole: bool) -> bool:
        """Lifts the tracks and writes all files. Whether that could be done; if not, it says why.

        whole: the video came to its end; else maps and poses of the frames that are missing are left alone.
        """
        poses = self._poses
        if not whole:
            self._depth.only(tracks.num_frames)
            poses = poses if poses is None or poses.ndim == 2 else poses[: tracks.num_frames]
        try:
            spatial = lift(
                tracks,
                self._depth,
                self._intrinsics,
                poses,
                pixel_centers=self._pixel_centers,
                size=self._size,
            )
            with hold_signals():
                for path in self._paths:
                    self._write(path, spatial)
        except (TapsdkError, MemoryError, OSError) as error:
            tell(f"error: no tracks in space: {NO_MEMORY if isinstance(error, MemoryError) else error}")
            return False
        return True

    def _write(self, path: str, spatial: Tracks3D) -> None:
        suffix = Path(path).suffix.lower()
        if suffix == VIEW:
            spatial.view(path, title=self._title)
        elif suffix == PLOT:
            spatial.plot(path, title=self._title)
        else:
            spatial.save(path)

    def close(self) -> None:
        self._depth.close()

    def __enter__(self) -> Lifter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _numbers(text: str) -> NDArray[np.float64]:
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise DepthError(f"--intrinsics {text!r} cannot be read; write FX,FY,CX,CY, four numbers of pixels")
    return np.array(numbers)
