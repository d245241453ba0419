"""The one call."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import ArrayLike

from tapsdk.geometry import Size
from tapsdk.points import parse_query_points
from tapsdk.runtime.whole_video import no_progress, open_run, progress_bars
from tapsdk.tracks import Tracks
from tapsdk.video import open_frames


def track(
    frames: Any,
    points: ArrayLike,
    model: str | os.PathLike[str] = "tapir",
    *,
    backend: str = "auto",
    query_format: str = "txy",
    resolution: int | Size | None = None,
    progress: bool = False,
    strict: bool = False,
) -> Tracks:
    """Tracks points through a video.

    Args:
        frames: [T, H, W, 3] uint8 RGB, or float in [0, 1]; the path of a video or of a folder of images; or any
            iterable of frames, read one at a time.
        points: [N, 3] (t, x, y) or [N, 2] (x, y) on frame 0; pixels, (0, 0) = outer corner of the top-left pixel.
        model: "tapir" (bundled) or an artifact directory that `python -m export` wrote.
        backend: the name of one that `tapsdk doctor` lists, which never falls back to another; or "auto": the fastest
            of those that give the right tracks here. To know that, all that are installed are measured once for each
            model and about so many points, which takes from half a second up to some seconds for each.
        query_format: the order of the three columns of `points`: "txy", "tyx" (tapnet) or "xyt" (TAPVid-3D).
        resolution: at which the model works: (height, width), or the side of a square of the same area. More sees finer
            things and takes longer. None: what the model was trained at, which is all that published causal models do.
            Published models that see whole videos, such as TAPIR, find points at 256x256, and refine them up to this
            resolution, None: the video's own. 256 is the fastest, and what they are compared at.
        progress: show a bar on stderr.
        strict: fail rather than pass anything over. A backend that is named is measured too, and has to give the right
            tracks. With "auto", BackendError is raised if any that is installed was refused: because it does not start,
            crashes, or gives other tracks. For programs that count on one, and for tests of an installation.
    Returns:
        Tracks with xy [N, T, 2], visible [N, T], confidence [N, T], in the order of `points`; frames before a query are
        tracked backwards from it. `report` says what ran, and why other backends did not.
    Raises:
        PointsError, FramesError, ModelError, ArtifactError, BackendError: see `tapsdk.errors`.
    """
    with open_frames(frames) as source:
        query = parse_query_points(
            points, query_format=query_format, num_frames=source.num_frames, frame_size=source.size
        )
        run = open_run(model, source, query, backend, resolution=resolution, strict=strict)
        return run.run(progress_bars if progress else no_progress)
