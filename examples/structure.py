"""The camera's way and points in space from tracks alone: python examples/structure.py VIDEO OUT.html [FOCAL]

Where there is no depth, tracks of things that stand still say how the camera moved, and where they are. COLMAP works it
out (pip install "tapsdk[structure]"). Its limits are those of the matter:

- the scale is unknown: what is called a metre is the length of the camera's way divided by ten;
- the camera must travel, not only turn, and past things at several distances;
- what moves by itself is left out where it moves enough to be noticed, and a picture that mostly does gives nothing;
- FOCAL, in pixels, is guessed as 1.2 times the longer side and refined if it is left out, which with few points or
  little travel may end far off; lenses that bend straight lines must be undone before.

OUT is a view (.html), a plot (.svg), or tracks in space (.npz, .csv, .ply).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapsdk

SIDE = 16  # points a side, asked for in several frames
QUERY_FRAMES = 4
MOST_FRAMES = 40  # that the camera is placed in, evenly spread
FEWEST = 15  # points that two frames must share
CLOSE = 8  # frames of these, side by side, that are compared with each other
SURE = 0.7
LEAST_ANGLE = 3  # degrees between the views of a point from the two frames that it begins with
MOST_OFF = 1.5  # pixels that a point may be off in a frame


def main(video: str, output: str, focal: float | None = None) -> None:
    tapsdk.check_output(output, video)
    with tapsdk.open_frames(video) as source:
        size = source.size
        number = source.num_frames or sum(1 for _ in source)
    asked = np.linspace(0, number - 1, QUERY_FRAMES).astype(int)
    points = np.concatenate([tapsdk.grid_points(SIDE, size, int(t)) for t in asked])
    tracks = tapsdk.track(video, points, progress=True)
    frames = np.unique(np.linspace(0, tracks.num_frames - 1, min(MOST_FRAMES, tracks.num_frames)).astype(int))
    spatial, left = reconstruct(tracks, frames, size, focal)
    print(f"{left}; {len(spatial)} points")
    if Path(output).suffix in (".html", ".svg"):
        show = spatial.view if output.endswith(".html") else spatial.plot
        show(output, title=f"{Path(video).name}: no scale")
    else:
        spatial.save(output)


def reconstruct(
    tracks: tapsdk.Tracks, frames: NDArray[np.intp], size: tuple[int, int], focal: float | None = None
) -> tuple[tapsdk.Tracks3D, str]:
    """Points that stand still [N, T, 3] in the world, with poses of those of the frames that could be placed; and how
    many these are, in words. Exits where COLMAP finds nothing."""
    try:
        import pycolmap
    except ImportError:
        sys.exit("this example needs COLMAP: pip install 'tapsdk[structure]'")
    pycolmap.logging.minloglevel = 2
    seen = tracks.visible[:, frames] & (tracks.confidence[:, frames] > SURE)
    camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", focal or 1.2 * max(size), size[1], size[0])
    camera.has_prior_focal_length = focal is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.db"
        write_database(pycolmap, path, camera, tracks.xy[:, frames], seen)
        options = pycolmap.IncrementalPipelineOptions()
        options.ba_refine_focal_length = focal is None
        options.extract_colors = False
        options.min_model_size = 3
        options.mapper.filter_max_reproj_error = MOST_OFF
        options.mapper.init_min_tri_angle = LEAST_ANGLE
        options.mapper.abs_pose_max_error = 2 * MOST_OFF
        options.triangulation.complete_max_reproj_error = options.triangulation.merge_max_reproj_error = MOST_OFF
        options.random_seed = 0
        found = pycolmap.incremental_mapping(path, folder, folder, options)
    if not found:
        sys.exit("COLMAP found no motion of a camera in these tracks: it has to travel, past things that stand still")
    model = max(found.values(), key=lambda each: each.num_reg_images())
    return as_tracks(model, tracks, frames, seen)


def write_database(pycolmap: Any, path: Path, camera: Any, xy: NDArray[np.float32], seen: NDArray[np.bool_]) -> None:
    """What COLMAP reads: an image for each of T frames, tracks xy [N, T, 2] where they are seen as its features, and
    which of them two frames share."""
    database = pycolmap.Database.open(path)
    database.write_camera(camera, use_camera_id=True)
    rig = pycolmap.Rig(rig_id=1)
    rig.add_ref_sensor(camera.sensor_id)
    database.write_rig(rig, use_rig_id=True)
    frames = seen.shape[1]
    # COLMAP's pixels are counted as ours. A track has the same number in every image, of those that are seen in it.
    number = np.cumsum(seen, axis=0) - 1
    for t in range(frames):
        image = pycolmap.Image(name=f"{t:06}", camera_id=1, image_id=t + 1)
        database.write_image(image, use_image_id=True)
        frame = pycolmap.Frame(frame_id=t + 1, rig_id=1)
        frame.add_data_id(image.data_id)
        database.write_frame(frame, use_frame_id=True)
        database.write_keypoints(t + 1, xy[seen[:, t], t].astype(np.float32))
    for a, b in combinations(range(frames), 2):
        both = seen[:, a] & seen[:, b]
        # Neighbours, and the more rarely the further apart they are.
        if both.sum() < FEWEST or (b - a > CLOSE and (b - a) % CLOSE):
            continue
        pairs = np.stack([number[both, a], number[both, b]], axis=1).astype(np.uint32)
        one, two = (xy[seen[:, t], t].astype(float) for t in (a, b))
        geometry = pycolmap.estimate_two_view_geometry(camera, one, camera, two, pairs)
        database.write_matches(a + 1, b + 1, pairs)
        database.write_two_view_geometry(a + 1, b + 1, geometry)
    database.close()


def as_tracks(
    model: Any, tracks: tapsdk.Tracks, frames: NDArray[np.intp], seen: NDArray[np.bool_]
) -> tuple[tapsdk.Tracks3D, str]:
    """COLMAP's model as tracks in space, at a tenth of the camera's way a metre."""
    placed = [t for t in range(len(frames)) if t + 1 in model.reg_image_ids()]
    poses = np.tile(np.eye(4), (len(placed), 1, 1))
    for row, t in enumerate(placed):
        poses[row, :3] = model.image(t + 1).cam_from_world().inverse().matrix()
    rows = [np.flatnonzero(seen[:, t]) for t in range(len(frames))]
    place = np.full((len(tracks), 3), np.nan)
    for t in placed:
        image = model.image(t + 1)
        for index, point in enumerate(image.points2D):
            if point.has_point3D():
                place[rows[t][index]] = model.point3D(point.point3D_id).xyz
    way = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    place, poses[:, :3, 3] = 10 * place / way, 10 * poses[:, :3, 3] / way
    kept = np.isfinite(place).all(axis=1)
    visible = seen[kept][:, placed]
    spatial = tapsdk.Tracks3D(
        np.repeat(place[kept, None], len(placed), axis=1),
        visible,
        visible * tracks.confidence[kept][:, frames[placed]],
        times=None if tracks.times is None else tracks.times[frames[placed]],
        frame="world",
        camera_to_world=poses,
    )
    camera = model.cameras[1]
    error = model.compute_mean_reprojection_error()
    return spatial, (
        f"{len(placed)} of {len(frames)} frames placed, focal length {camera.params[0]:.0f} px, points are "
        f"{error:.2f} px off on average"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="the video")
    parser.add_argument("output", help=".html, .svg, .npz, .csv or .ply")
    parser.add_argument("focal", type=float, nargs="?", help="focal length in pixels")
    try:
        main(**vars(parser.parse_args()))
    except tapsdk.errors.TapsdkError as error:
        sys.exit(f"error: {error}")
