"""`tapsdk live`: a camera's frames in, its points on a page or as lines of JSON, and nothing lost in the end."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import select
import sys
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tapsdk.api import check_output, loaded
from tapsdk.artifact import open_artifact
from tapsdk.commands.query import read_query
from tapsdk.commands.track import reason_of, run_options, stopped
from tapsdk.errors import PointsError, TapsdkError
from tapsdk.live.guard import Guard
from tapsdk.live.orders import Order
from tapsdk.live.origin import origin_of
from tapsdk.live.picture import points_of
from tapsdk.live.recording import Names, save_all
from tapsdk.live.session import Moment, Session
from tapsdk.live.source import LiveSource
from tapsdk.system.console import let_go, say, show_work, tell
from tapsdk.system.json_text import as_json
from tapsdk.system.signals import exit_status, hold_signals
from tapsdk.tracks_files import check_save_path

if TYPE_CHECKING:
    from tapsdk.live.server import LiveServer

PIPE_BYTES = 512
"""That a pipe takes at once, wherever it says that it takes any."""
USUAL_POINTS = 64


def live(args: argparse.Namespace) -> int:
    """Returns the exit status. Raises what comes before the first frame."""
    if args.headless and not _asks_for_points(args):
        raise TapsdkError("--headless has nobody who clicks: give --grid N, --points or another choice of points")
    if not args.headless:
        _check_server()
    origin = origin_of(args.source, size=args.size, fps=args.fps)
    names = Names(Path(args.folder))
    save = Path(args.save) if args.save else names.tracks
    for path in _outputs(args, names, save):
        check_save_path(path)
        check_output(path, *origin.inputs)
    artifact = open_artifact(args.model)
    if not args.quiet:
        show_work("tapsdk.selection")
    with ExitStack() as stack:
        source = LiveSource(origin, playing=not args.paused)
        stack.callback(source.close)
        points = _points(args, source)
        model = loaded(artifact, run_options(args, max(len(points), USUAL_POINTS), source.fps))
        session = Session(source, model, names, once=args.headless)
        stack.callback(session.history.close)
        lines = Lines(session) if args.headless else None
        status = _run(args, session, points)
        unread = lines is None or lines.unread
        failed = (bool(args.save) or unread) and not _save(session, save)
    return 1 if failed and status <= 128 else status


def _outputs(args: argparse.Namespace, names: Names, save: Path) -> list[Path]:
    """What will be written for sure; recordings lie beside `names.tracks`."""
    return [save] * bool(args.save or not args.headless) + [names.tracks] * bool(args.record)


def _asks_for_points(args: argparse.Namespace) -> bool:
    return any(value is not None for value in (args.points, args.points_file, args.grid, args.random))


def _points(args: argparse.Namespace, source: LiveSource) -> NDArray[np.float32]:
    """[N, 2] (x, y) in the first frame."""
    if not _asks_for_points(args):
        return np.zeros((0, 2), np.float32)
    query = read_query(args, source)
    if query.t.any():
        raise PointsError("points of a live source begin in its first frame: give x,y without t")
    return query.xy


def _check_server() -> None:
    """Raises TapsdkError where the package is missing that the page needs, before any work."""
    try:
        importlib.import_module("aiohttp")
    except ImportError:
        raise TapsdkError("the page needs aiohttp: pip install 'tapsdk[live]'; --headless does without") from None


def _run(args: argparse.Namespace, session: Session, points: NDArray[np.float32]) -> int:
    """Runs it to its end, whatever that is, and returns the exit status of it."""
    server: LiveServer | None = None
    status = 0
    try:
        if args.record:
            session.send(Order("record"))
        if not args.headless:
            server = _serve(args, session)
        session.start(points)
        session.wait()
    except KeyboardInterrupt as error:
        status = exit_status(error)
    with hold_signals():
        session.stop()
        if server is not None:
            server.stop()
    if session.error is not None:
        status = status or stopped(session.error, len(session.history))
    for path in session.saved:
        tell(f"saved {path}")
    return status


def _serve(args: argparse.Namespace, session: Session) -> LiveServer:
    from tapsdk.live.server import LiveServer

    server = LiveServer(session, Guard(args.host), args.port)
    url = server.start()
    say(url)
    sys.stdout.flush()
    if not args.quiet:
        tell("Ctrl-C ends it, and saves the tracks")
    if args.open:
        webbrowser.open(url)
    return server


def _save(session: Session, path: Path) -> bool:
    """Saves all tracks, and says where; if that could not be done, it says why."""
    history = session.history
    if not history.points:
        tell("no point was tracked, and nothing saved")
        return True
    try:
        with hold_signals():
            written = save_all(history.tracks(), path)
    except (TapsdkError, MemoryError, OSError) as error:
        tell(f"error: {reason_of(error)}")
        return False
    tell(f"saved {', '.join(map(str, written))}: {history.points} points, {len(history)} frames")
    return True


class Lines:
    """Writes the frames of a session to stdout, a line of JSON each. unread: whether nobody reads them any more."""

    def __init__(self, session: Session) -> None:
        self._session, self.unread = session, False
        session.listeners.append(self._listen)

    def _listen(self, moment: Moment) -> None:
        if self.unread or not moment.fresh:
            return
        told = {"frame": moment.number, "time": round(moment.time, 4), **points_of(moment.tracks)}
        line = json.dumps(as_json(told), separators=(",", ":"), allow_nan=False)
        try:
            self._write(f"{line}\n")
        except (OSError, ValueError):
            self.unread = True
            let_go(sys.stdout)
            tell("nobody reads stdout any more; tracking goes on, and the tracks are saved in the end")

    def _write(self, line: str) -> None:
        """Waits for a slow reader, but not beyond the end of the session."""
        try:
            pipe = sys.stdout.fileno() if os.name == "posix" else None
        except (OSError, ValueError, AttributeError):  # of notebooks and tests
            pipe = None
        if pipe is None:
            print(line, end="", flush=True)
            return
        rest = line.encode()
        while rest:
            if select.select([], [pipe], [], 0.2)[1]:
                rest = rest[os.write(pipe, rest[:PIPE_BYTES]) :]
            elif self._session.is_over:
                raise OSError("the reader of stdout is too slow")
