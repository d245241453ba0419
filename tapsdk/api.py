"""The one call."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import ArrayLike

from tapsdk.engine import Engine
from tapsdk.geometry import Size, parse_query_points
from tapsdk.offline import OfflineRun, no_progress, progress_bars
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
) -> Tracks:
    """Tracks points through a video.

    Args:
        frames: [T, H, W, 3] uint8 RGB, or float in [0, 1]; the path of a video or of a folder of images; or any
            iterable of frames, read one at a time.
        points: [N, 3] (t, x, y) or [N, 2] (x, y) on frame 0; pixels, (0, 0) = outer corner of the top-left pixel.
        model: "tapir" (bundled) or an artifact directory that `python -m export` wrote.
        backend: "auto", or the name of one that `tapsdk doctor` lists; a named one never falls back to another.
        query_format: the order of the three columns of `points`: "txy", "tyx" (tapnet) or "xyt" (TAPVid-3D).
        resolution: at which the model works: (height, width), or the side of a square of the same area. More sees finer
            things and takes longer. None: what the model was trained at, which is all that published models do.
        progress: show a bar on stderr.
    Returns:
        Tracks with xy [N, T, 2], visible [N, T], confidence [N, T], in the order of `points`; frames before a query are
        tracked backwards from it. `report` says what ran.
    Raises:
        PointsError, FramesError, ModelError, ArtifactError, BackendError: see `tapsdk.errors`.
    """
    with open_frames(frames) as source:
        query = parse_query_points(
            points, query_format=query_format, num_frames=source.num_frames, frame_size=source.size
        )
        engine = Engine(model, backend, points=len(query), resolution=resolution)
        return OfflineRun(engine, source, query).run(progress_bars if progress else no_progress)
