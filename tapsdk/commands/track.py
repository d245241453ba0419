"""`tapsdk track`: a video and points in, tracks and a painted video out, whatever comes in between."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from fractions import Fraction
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

from tapsdk.api import check_output, loaded
from tapsdk.artifact import Artifact, open_artifact
from tapsdk.commands.query import read_query
from tapsdk.commands.resume import NoResumption, Resumption
from tapsdk.commands.spatial import Lifter, inputs3d, outputs3d
from tapsdk.errors import FramesError, TapsdkError
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.whole_video import track_video
from tapsdk.system.console import NO_MEMORY, say, show_work, tell
from tapsdk.system.files import STDOUT, is_special_file
from tapsdk.system.places import Url, place
from tapsdk.system.progress import Wrap, no_progress, terminal_bars
from tapsdk.system.signals import exit_status, hold_signals
from tapsdk.system.spool import Spool
from tapsdk.tracks import Tracks
from tapsdk.tracks_files import check_save_path
from tapsdk.video import Frame, FrameSource, VideoWriter, open_frames
from tapsdk.video.ahead import as_it_is, read_ahead
from tapsdk.video.draw import draw
from tapsdk.video.part import BEGINNING, Part
from tapsdk.video.rainbow import draw_rainbow

logger = logging.getLogger(__name__)

STOPPED_EARLY = 3
"""Exit status of what an error ended early, when what was tracked is saved."""
KEPT_BYTES = 256 << 20
"""Of frames for drawing that stay in memory; beyond, they go to a file."""


def track(args: argparse.Namespace) -> int:
    """Returns the exit status. Raises what comes before the first frame is tracked, and KeyboardInterrupt."""
    artifact = _check_outputs(args)
    paths3d = outputs3d(args)
    wrap = no_progress if args.quiet else terminal_bars
    if not args.quiet:
        show_work("tapsdk.selection")
    with ExitStack() as stack:
        source = stack.enter_context(_open_source(args))
        query = read_query(args, source)
        # Opened before the work, so that a wrong path shows at once.
        writer = stack.enter_context(_open_writer(args.output, source)) if args.output else None
        kept = KeptFrames(source) if writer and source.read_once else None
        if kept is not None:
            stack.enter_context(kept)
        lifter = stack.enter_context(Lifter(args, source, paths3d)) if paths3d else None
        resumption = Resumption(args, artifact, source, query) if args.resume else NoResumption()
        model = loaded(artifact, resumption.as_before(run_options(args, len(query), source.fps)))
        journal = stack.enter_context(closing(resumption.journal(model)))
        status, done = 0, True
        try:
            tracks = track_video(model, kept or source, query, wrap, journal)
        except (Exception, KeyboardInterrupt) as error:
            found: Tracks | None = getattr(error, "tracks", None)
            if found is None:
                raise
            tracks, status = found, stopped(error, found.num_frames)
            done = isinstance(error, FramesError)
        failed = bool(args.save) and not _save(args.save, tracks, outdates=args.output)
        if lifter is not None:
            failed = not lifter.write(tracks, whole=status == 0) or failed
        if writer is not None:
            painting = partial(_paint, args, writer, tracks, wrap, kept.again() if kept else None)
            failed = not _painted_or_rescued(args, tracks, painting, interrupted=status > 128) or failed
        resumption.end(journal, done and not failed)
    if failed:
        return status if status > 128 else 1
    if not args.quiet:
        # Beside a result on standard output, what is for people goes to stderr.
        _summarise(tracks, [args.output, args.save, *paths3d], tell if STDOUT in (args.output, args.save) else say)
    return status


def _open_source(args: argparse.Namespace) -> FrameSource:
    """The frames that are asked for."""
    source = open_frames(args.video, args.fps)
    return source if args.start is None and args.end is None else Part(source, args.start or BEGINNING, args.end)


def _check_outputs(args: argparse.Namespace) -> Artifact:
    """The artifact to run. Raises TapsdkError for what cannot be written, or would replace what is read, before any
    work."""
    if not (args.output or args.save or args.save_3d):
        raise TapsdkError("nothing to write: give -o OUT.mp4, --save OUT.npz, or both")
    for option in ("rainbow", "hide_lost", "colors"):
        if getattr(args, option) and not args.output:
            raise TapsdkError(f"--{option.replace('_', '-')} is a way to draw: give -o OUT.mp4, too")
    if args.rainbow and args.colors:
        raise TapsdkError("--rainbow has colours of its own: leave --colors out")
    if args.output == args.save == STDOUT:
        raise TapsdkError("-o and --save cannot both go to standard output: give one of them a name")
    if args.output == STDOUT and sys.stdout.isatty():
        raise TapsdkError("a video is nothing for a terminal: send it on, with -o - > FILE or -o - | PROGRAM")
    if args.save:
        check_save_path(args.save)
    artifact = open_artifact(args.model)
    inputs = [args.video, args.points_file, args.points, args.mask, artifact.directory, *inputs3d(args)]
    for output in filter(None, (args.output, args.save)):
        check_output(output, *inputs)
    if args.output and args.save:
        check_output(args.save, args.output)
    return artifact


def run_options(args: argparse.Namespace, points: int, rate: float | None) -> RunOptions:
    """rate: frames per second, as far as that is known."""
    return RunOptions(
        args.backend,
        device=args.device,
        threads=args.threads,
        points=points,
        resolution=args.resolution,
        strict=args.strict,
        memory=args.memory,
        pace=args.pace,
        rate=rate,
    )


def _open_writer(path: str, source: FrameSource) -> VideoWriter:
    return VideoWriter(path, source.fps, source.size, pixel_aspect=source.pixel_aspect)


class KeptFrames(FrameSource):
    """The frames of a source that can be read once, kept for drawing: on disk beyond `KEPT_BYTES`. Close it."""

    def __init__(self, source: FrameSource) -> None:
        super().__init__(source, num_frames=source.num_frames, fps=source.fps, exact=source.exact)
        self._source = source
        self._spool = Spool("the frames of the video, which is read once,", KEPT_BYTES)

    @property
    def times(self) -> Any:
        return self._source.times

    @property
    def pixel_aspect(self) -> Fraction | None:
        return self._source.pixel_aspect

    def __next__(self) -> Frame:
        frame = super().__next__()
        self._spool.append({"frame": frame})
        return frame

    def again(self) -> Iterator[Frame]:
        """The frames that were read, once more."""
        for t in range(len(self._spool)):
            yield self._spool[t]["frame"]

    def close(self) -> None:
        self._spool.close()
        super().close()


def stopped(error: BaseException, frames: int) -> int:
    """Says why it ended after so many frames, and returns the exit status of that."""
    if isinstance(error, KeyboardInterrupt):
        tell(f"stopped after {frames} frames; saving what was tracked")
        return exit_status(error)
    if not isinstance(error, (TapsdkError, MemoryError, OSError)):
        logger.error("unexpected", exc_info=error)
    tell(f"stopped after {frames} frames: {reason_of(error)}; saving what was tracked")
    return STOPPED_EARLY


def reason_of(error: BaseException) -> str:
    return NO_MEMORY if isinstance(error, MemoryError) else str(error) or type(error).__name__


def _save(path: str, tracks: Tracks, outdates: str | None = None) -> bool:
    """Whether it could be done; if not, it says why. outdates: a video of older tracks, which goes with them."""
    try:
        with hold_signals():
            tracks.save(path, outdates=outdates)
    except (TapsdkError, MemoryError) as error:
        tell(f"error: {_named(path, error)}")
        return False
    return True


def _painted_or_rescued(
    args: argparse.Namespace, tracks: Tracks, painting: Callable[[], bool], interrupted: bool
) -> bool:
    """Paints; if that does not come to its end, tracks that nobody asked to save are saved beside the video.

    interrupted: by one signal already; a second one ends it at once. Whether it was painted.
    """
    done = False
    try:
        done = painting()
    except KeyboardInterrupt:
        done = interrupted
        raise
    finally:
        if not (done or args.save or is_special_file(args.output)):
            path = _free_name(args.output)
            if _save(str(path), tracks):
                tell(f"the tracks are saved as {path}")
    return done


def _free_name(output: str) -> Path:
    """Of a file beside a video, with its stem; in the working folder for a video in a store."""
    video = place(output)
    if isinstance(video, Url):
        video = Path(video.name)
    names = (video.with_name(f"{video.stem}{end}.npz") for end in chain([""], map("-{}".format, count(1))))
    return next(path for path in names if not os.path.lexists(path))


def _paint(
    args: argparse.Namespace, writer: VideoWriter, tracks: Tracks, wrap: Wrap, frames: Iterator[Frame] | None
) -> bool:
    """Writes the video with the tracks drawn. Whether that could be done; if not, it says why.

    frames: None to read the video once more.
    """
    try:
        with ExitStack() as stack:
            if frames is None:
                source = stack.enter_context(_open_source(args))
                frames = stack.enter_context(read_ahead(source, as_it_is))
            paint = draw_rainbow if args.rainbow else draw
            drawn = wrap(paint(frames, tracks, **_style(args)), tracks.num_frames, "drawing")
            for t, frame in enumerate(drawn):
                writer.write(frame, None if tracks.times is None else tracks.times[t])
        writer.finish()
    except FramesError as error:
        # What is drawn is worth having, also where the video can no longer be read to its end.
        with suppress(TapsdkError):
            writer.finish()
        tell(f"error: {args.output} is not complete: {error}")
        return False
    except (TapsdkError, MemoryError, OSError) as error:
        writer.abort()
        tell(f"error: {_named(args.output, error)}")
        return False
    return True


def _style(args: argparse.Namespace) -> dict[str, Any]:
    style: dict[str, Any] = {"lost": "hidden" if args.hide_lost else "faded"}
    if args.trail is not None:
        style["trail"] = args.trail
    if not args.rainbow:
        style["colors"] = args.colors or ("distinct" if args.grid is None else "position")
    return style


def _named(path: str, error: Exception) -> str:
    return f"could not write {path}: {NO_MEMORY}" if isinstance(error, MemoryError) else str(error)


def _summarise(tracks: Tracks, paths: list[str | None], say: Callable[[str], None]) -> None:
    report = tracks.report
    if report is None:
        return
    speed = f"{report.frames_per_second:.1f} frames per second" if report.frames_per_second else ""
    say(f"{len(tracks)} points, {tracks.num_frames} frames, {speed}")
    say(f"{report.model} ({report.precision}) on {report.backend}, {report.path} plan")
    for path in paths:
        if path and path != STDOUT:
            say(f"wrote {path}")
