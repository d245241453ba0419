"""The two calls: load a model, and track points through a video."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from tapsdk.artifact import Artifact, open_artifact
from tapsdk.artifact.manifest import MANIFEST
from tapsdk.errors import ModelError
from tapsdk.geometry import Size
from tapsdk.points import parse_query_points
from tapsdk.runtime.model import Model
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.pace import Pace, check_pace
from tapsdk.runtime.whole_video import track_video
from tapsdk.selection import choose
from tapsdk.system.files import check_not_input
from tapsdk.system.memory import parse_bytes
from tapsdk.system.progress import Report, wrap_of
from tapsdk.tracks import Tracks
from tapsdk.video.files import files_of, open_frames

LATE_ENOUGH = ("memory", "pace", "rate")
"""Options that a loaded model takes from whoever tracks with it."""


def track(
    frames: Any,
    points: ArrayLike,
    model: str | os.PathLike[str] | Model = "tapir",
    *,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    query_format: str = "txy",
    resolution: int | Size | None = None,
    progress: bool | Report = False,
    strict: bool = False,
    fps: float | None = None,
    memory: str | int | None = None,
    pace: Pace = 1,
) -> Tracks:
    """Tracks points through a video.

        tracks = tapsdk.track("video.mp4", [[0, 320, 240]])   # (t, x, y)
        tracks.xy[0, 5]                                       # where the point is in frame 5

    Args:
        frames: [T, H, W, 3] uint8 RGB, or float in [0, 1]; the path of a video or of a folder of images; or any
            iterable of frames, such as a generator, taken one at a time when it is needed, in this thread. Files and
            arrays are read up to two frames ahead, in a thread that ends with the call.
        points: [N, 3] (t, x, y) or [N, 2] (x, y) on frame 0; pixels, (0, 0) = outer corner of the top-left pixel. Or a
            table with columns named x and y, and t if need be: a pandas DataFrame, or a dict of columns.
        model: "tapir" or "tapir/small" (bundled), an artifact directory that `tapsdk export` wrote, the URL of one in a
            store, such as gs://bucket/folder, or what `tapsdk.load` gave, which saves opening it again. Then backend,
            device, threads and strict are as it was loaded.
        backend: the name of one that `tapsdk doctor` lists, which never falls back to another; or "auto": the fastest
            of those that give the right tracks here. To know that, all that are installed are measured once for each
            model and about so many points, which takes from half a second up to some seconds for each.
        device: to run on, as the backend names it, such as "cpu" or "cuda:1"; None: what the backend's environment
            variable names, else its own choice. A backend without such a device fails, or is passed over by "auto".
        threads: of the processor; None for the engine's own choice.
        query_format: the order of the three columns of `points`: "txy", "tyx" (tapnet) or "xyt" (TAPVid-3D).
        resolution: at which the model works: (height, width), or the side of a square of the same area. More sees finer
            things and takes longer. None: what the model was trained at, which is all that published causal models do.
            Published models that see whole videos, such as TAPIR, find points at 256x256, and refine them up to this
            resolution, None: the video's own. 256 is the fastest, and what they are compared at.
        progress: True shows a bar on stderr, terminal or not; in a notebook, the notebook's own where it has widgets. A
            function is called with what is done, such as "tracking", how many frames of it are done, and how many there
            are, None if that is not known; what it raises ends the work.
        strict: fail rather than pass anything over. A backend that is named is measured too, and has to give the right
            tracks. With "auto", BackendError is raised if any that is installed was refused: because it does not start,
            crashes, or gives other tracks. For programs that count on one, and for tests of an installation.
        fps: frames per second, in place of the rate and the times that a video has; arrays and folders have none.
        memory: that tracking may take beside the model, as bytes or such as "2GB"; None: half of what is free. With
            less, fewer points are tracked at once, and the video is gone through more often; tracks stay the same.
        pace: 4 has the model look at every 4th frame only; between its looks points follow the picture, which takes a
            fraction of the time, and what is not found there loses confidence. "real-time" looks as seldom as it takes
            to keep up with the video's own rate, 30 frames per second where it has none: tracks then depend on the
            machine's speed. For causal models, such as tapir, tapir/causal and tapir/boots-causal.
    Returns:
        Tracks with xy [N, T, 2], visible [N, T], confidence [N, T], in the order of `points`; frames before a query are
        tracked backwards from it. `report` says what ran, and why other backends did not.
    Raises:
        PointsError, FramesError, ModelError, ArtifactError, BackendError, SaveError: see `tapsdk.errors`; and whatever
        an iterable of frames raises. The exception has an attribute `tracks`, also if it is a MemoryError or a
        KeyboardInterrupt: Tracks of the frames before, or None where it came before the first one. Where a frame cannot
        be read, those before it are tracked to the end first.

            try:
                tracks = tapsdk.track(path, points)
            except tapsdk.errors.FramesError as error:    # cut off or damaged
                if error.tracks is None:
                    raise
                tracks = error.tracks
    """
    with open_frames(frames, fps) as source:
        query = parse_query_points(
            points, query_format=query_format, num_frames=source.known_frames, frame_size=source.size
        )
        options = RunOptions(
            backend,
            device=device,
            threads=threads,
            points=len(query),
            resolution=resolution,
            strict=strict,
            memory=None if memory is None else parse_bytes(memory),
            pace=check_pace(pace),
            rate=source.fps,
        )
        return track_video(loaded(model, options), source, query, wrap_of(progress))


def check_output(output: str | os.PathLike[str], *inputs: Any) -> None:
    """Raises SaveError if writing `output` would replace an input; for programs, before they begin to work.

        tapsdk.check_output(result, video, points_file)

    inputs: what will be read: paths of files, folders of images, patterns, artifact directories, and lists of such. A
        file is recognised by whatever name: another spelling, a symbolic link, a hard link. What is no path, such as an
        array, is left out.
    """
    listed = [each for given in inputs for each in (given if isinstance(given, (list, tuple)) else [given])]
    paths = [path for path in listed if isinstance(path, (str, os.PathLike))]
    check_not_input(output, [file for path in paths for file in _files_of(path)])


def _files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The files that are read where `path` is named."""
    is_artifact = os.path.isfile(os.path.join(path, MANIFEST))
    return list(Path(path).rglob("*")) if is_artifact else files_of(path)


def load(
    model: str | os.PathLike[str] = "tapir",
    *,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    points: int = 64,
    resolution: int | Size | None = None,
    strict: bool = False,
) -> Model:
    """Opens a model once, for any number of calls of `track` and of Trackers.

        model = tapsdk.load(threads=2)
        for path in paths:
            tapsdk.track(path, points, model=model).save(f"{path}.npz")

    Args:
        model: "tapir" or "tapir/small" (bundled), an artifact directory that `tapsdk export` wrote, or the URL of one
            in a store.
        backend: see `track`.
        device: see `track`.
        threads: of the processor; None for the engine's own choice.
        points: how many you expect at once, for the choice between ways to run; any number works.
        resolution: see `track`.
        strict: see `track`.
    Returns:
        a Model, which threads may share. `model.report` says what runs.
    Raises:
        ModelError, ArtifactError, BackendError: see `tapsdk.errors`.
    """
    options = RunOptions(backend, device=device, threads=threads, points=points, resolution=resolution, strict=strict)
    return loaded(model, options)


def loaded(model: str | os.PathLike[str] | Artifact | Model, options: RunOptions) -> Model:
    """The model, loaded with these options unless it is loaded already.

    Raises ModelError for options that come too late.
    """
    if not isinstance(model, Model):
        return _with_pace(choose(open_artifact(model), options))
    usual, late = RunOptions(), ("backend", "device", "threads", "strict")
    given = [name for name in late if getattr(options, name) != getattr(usual, name)]
    if given:
        raise ModelError(f"the model is loaded already: give {', '.join(given)} to tapsdk.load")
    model = model if options.resolution is None else model.at(options.resolution)
    later = {name: value for name in LATE_ENOUGH if (value := getattr(options, name)) != getattr(usual, name)}
    return _with_pace(replace(model, options=replace(model.options, **later)) if later else model)


def _with_pace(model: Model) -> Model:
    """The same. Raises ModelError where its pace is of no use to it."""
    if model.options.pace != 1 and not model.is_causal:
        raise ModelError(f"{model.name} looks at all frames of a video at once: leave pace at 1")
    return model
