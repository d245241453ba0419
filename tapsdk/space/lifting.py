"""Tracks lifted into space: where points are in metres, from where they are in pixels and from depth maps."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import DepthError
from tapsdk.geometry import Size, scale_points
from tapsdk.space.camera import (
    Floats,
    check_intrinsics,
    moved,
    parse_intrinsics,
    parse_poses,
    rays,
    scale_intrinsics,
)
from tapsdk.space.depth_maps import DepthMaps, open_depth
from tapsdk.space.occlusion import Sightings, Verdict, judge
from tapsdk.space.surfaces import surfaces_at
from tapsdk.space.tracks3d import Tracks3D
from tapsdk.tracks import Tracks

logger = logging.getLogger(__name__)

TOLERANCE = 0.05
AT_AN_EDGE, BESIDE = 0.8, 0.5
"""Confidence is multiplied by this where another surface is near or the point's own pixel has no depth, and where the
point is on the surface beside its pixel's."""
MOST_OUTSIDE = 0.1
"""Of visible positions, outside of the depth maps; with more, these are of another size than the video."""
ASPECT_SLACK = 0.02


def lift(
    tracks: Tracks,
    depth: Any,
    intrinsics: ArrayLike,
    camera_to_world: ArrayLike | None = None,
    *,
    depth_scale: float | None = None,
    pixel_centers: bool = False,
    size: Size | None = None,
    tolerance: float = TOLERANCE,
) -> Tracks3D:
    """Puts tracks into space, in metres.

        tracks = tapsdk.track("video.mp4", points)
        spatial = tapsdk.lift(tracks, "depth/", (615.0, 615.0, 320.0, 240.0))
        spatial.xyz[0, 5]                # where the point is in frame 5: x right, y down, z forward
        spatial.view("scene.html")

    A point gets the depth of the surface that it lies on, and never a mixture of two (`tapsdk.space.surfaces` states
    the rule). It is visible where the tracker sees it and depth does not speak against it: the surface there is about
    where the point's own motion and the camera's put it (`tapsdk.space.occlusion`).

    Args:
        tracks: of a video, xy [N, T, 2].
        depth: a map for each frame, of the video's size: an array [T, H, W]; a folder of 16-bit PNG, EXR or .npy files,
            one a frame; a .npy or .npz file of [T, H, W]; or an iterable of maps [H, W], read one at a time. Depth is
            z, the distance from the camera's plane. 0, NaN, infinity and what is negative stand for none.
        intrinsics: (fx, fy, cx, cy) in pixels of the video, (0, 0) = outer corner of the top-left pixel; or a matrix
            [3, 3]; or one of these for each frame, [T, 4] or [T, 3, 3].
        camera_to_world: [4, 4] or [T, 4, 4], poses of the camera, in metres; xyz are then in the world.
        depth_scale: metres of a step. None: integers are millimetres, floats are metres.
        pixel_centers: (cx, cy) count from the centre of the top-left pixel, as OpenCV's and ROS's do.
        size: (height, width) of the video, where depth maps are smaller pictures of the same view, as phones give them.
            None: they have the video's size.
        tolerance: the share of its depth by which a point's surface may be elsewhere than expected and still be its
            own; three standard deviations of the noise of depth where that is more. What covers a point and is not
            nearer by more is not noticed.
    Returns:
        Tracks3D with xyz [N, T, 3], NaN where nothing is known; visible [N, T], which says that xyz is known as well;
        confidence [N, T], the tracker's, lower where depth is ambiguous, 0 where xyz is NaN.
    Raises:
        DepthError: depth, intrinsics or poses do not fit to the tracks, or cannot be: another size, missing frames, no
            depth at all, a factor of 1000. Whatever an iterable of maps raises.
    """
    if not tolerance > 0:
        raise DepthError(f"tolerance must be a share of depth above 0, got {tolerance}")
    frames = tracks.num_frames
    lens = parse_intrinsics(intrinsics, frames, pixel_centers=pixel_centers)
    poses = None if camera_to_world is None else parse_poses(camera_to_world, frames)
    with open_depth(depth, depth_scale) as maps:
        _check_number(maps, frames)
        xy = tracks.xy.astype(np.float64)
        if frames:
            xy, lens = _in_maps(xy, lens, maps.size, size)
            _check_inside(xy, tracks.visible, maps.size)
        near, other, slope, clean = _sample(maps, xy, frames)
    still = np.broadcast_to(np.eye(4), (frames, 4, 4))
    ahead, trust = rays(xy, lens), tracks.confidence.astype(np.float64)
    found = Sightings(near, other, slope, clean, ahead, tracks.visible, trust, still if poses is None else poses)
    verdict = judge(found, _starts(tracks), tolerance)
    xyz = ahead * verdict.depth[..., None]
    return Tracks3D(
        xyz=(xyz if poses is None else moved(xyz, poses)).astype(np.float32),
        visible=verdict.visible,
        confidence=_confidence(found, verdict),
        queries=tracks.queries,
        fps=tracks.fps,
        times=tracks.times,
        frame="camera" if poses is None else "world",
        camera_to_world=poses,
    )


def _check_number(maps: DepthMaps, frames: int) -> None:
    if maps.num_maps is not None and maps.num_maps != frames:
        maps.refuse_number(f"{maps.num_maps} depth maps", frames)


def _in_maps(xy: Floats, lens: Floats, have: Size, size: Size | None) -> tuple[Floats, Floats]:
    """Positions and intrinsics in pixels of the depth maps, which have this (height, width). Raises DepthError."""
    if size is not None and tuple(size) != have:
        check_same_view(have, size)
        xy, lens = scale_points(xy, size, have).astype(np.float64), scale_intrinsics(lens, size, have)
    if not check_intrinsics(lens, have) and size is None:
        logger.warning(
            "the centre cx, cy is far from the middle of depth maps of %d x %d pixels: if the video has another size, "
            "give size=(height, width)",
            *(have[1], have[0]),
        )
    return xy, lens


def check_same_view(have: Size, size: Size) -> None:
    """Raises DepthError for depth maps of one (height, width) that cannot show all of a video of another."""
    if len(size) != 2 or min(size) <= 0:
        raise DepthError(f"size is (height, width) of the video, both positive, got {size}")
    if abs(np.log(have[0] * size[1] / (have[1] * size[0]))) > ASPECT_SLACK:
        raise DepthError(
            f"depth maps are {have[1]} x {have[0]} pixels and the video {size[1]} x {size[0]}: they do not show the "
            "same view"
        )


def _check_inside(xy: Floats, visible: NDArray[np.bool_], size: Size) -> None:
    seen = xy[visible]
    outside = ((seen < 0) | (seen > (size[1], size[0]))).any(axis=1)
    if len(seen) and outside.mean() > MOST_OUTSIDE:
        x, y = seen[outside.argmax()]
        raise DepthError(
            f"depth maps are {size[1]} x {size[0]} pixels, but a visible point is at x, y = {x:.6g}, {y:.6g}: the "
            "video has another size; give size=(height, width) of the video, if the maps show all of it"
        )


def _sample(maps: DepthMaps, xy: Floats, frames: int) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """What is at xy [N, T, 2], see Surfaces, each [N, T]. Raises DepthError for a map too few or too many."""
    near, other, slope = (np.full(xy.shape[:2], np.nan) for _ in range(3))
    clean = np.zeros(xy.shape[:2], bool)
    count = 0
    for count, depth in enumerate(islice(maps, frames), start=1):
        found, t = surfaces_at(depth, xy[:, count - 1]), count - 1
        near[:, t], other[:, t], slope[:, t], clean[:, t] = found.depth, found.other, found.slope, found.clean
    if count < frames:
        maps.refuse_number(f"{count} depth maps", frames)
    if frames and next(maps, None) is not None:
        maps.refuse_number(f"more than {count} depth maps", frames)
    if frames and not maps.known:
        raise DepthError("no depth map holds a depth: all of them are 0, NaN or infinity everywhere")
    return near, other, slope, clean


def _starts(tracks: Tracks) -> NDArray[np.intp]:
    """[N] the frame that each point is asked for in; where nobody says, the one that its tracker is surest of."""
    if tracks.queries is None:
        sure = np.where(tracks.visible, tracks.confidence, -1.0)
        return np.asarray(sure.argmax(axis=1) if tracks.num_frames else np.zeros(len(tracks)), np.intp)
    asked = np.nan_to_num(tracks.queries[:, 0])
    return np.clip(np.rint(asked), 0, max(tracks.num_frames - 1, 0)).astype(np.intp)


def _confidence(found: Sightings, verdict: Verdict) -> NDArray[np.float32]:
    share = np.where(verdict.beside, BESIDE, np.where(found.clean, 1.0, AT_AN_EDGE))
    share[np.isnan(verdict.depth)] = 0.0
    return (found.trust * share).astype(np.float32)
