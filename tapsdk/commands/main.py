"""The command line: tapsdk track | batch | live | convert | doctor | benchmark | models | fetch | export."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tapsdk
from tapsdk.commands.batch_options import add_batch
from tapsdk.commands.live_options import add_live
from tapsdk.commands.options import add_model, add_points, frame, memory_size, moment, positive, size
from tapsdk.errors import TapsdkError
from tapsdk.interchange.formats import FORMATS
from tapsdk.system.console import NO_MEMORY, console, let_go, log_to_stderr, say, tell
from tapsdk.system.signals import exit_status, signals_as_interrupts

STATUSES = """exit status:
  0    done
  1    an error; what is named on stderr was not written
  2    the command was not understood
  3    ended early by an error, such as a damaged video; what was tracked until then is saved
  130  ended by Ctrl-C; what was tracked until then is saved. 143 and 129: the same by SIGTERM and SIGHUP
"""


@console()
def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status, see `STATUSES`."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["export"]:
        return _export(given[1:])
    args = _parser().parse_args(given)
    log_to_stderr(logging.WARNING)
    try:
        with signals_as_interrupts():
            return _run(args)
    except KeyboardInterrupt as error:
        tell("stopped")
        return exit_status(error)


def _run(args: argparse.Namespace) -> int:
    try:
        status = int(args.run(args))
        print(end="", flush=True)  # while a failure can still be told; stdout may also be closed
        return status
    except TapsdkError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail(NO_MEMORY)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; there is nobody to tell.
        let_go(sys.stdout)
        return 1
    except OSError as error:
        let_go(sys.stdout)
        return _fail(str(error))


def _fail(message: str) -> int:
    tell(f"error: {message}")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tapsdk", description="Track any point through any video.")
    parser.add_argument("--version", action="version", version=f"tapsdk {tapsdk.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_track(commands)
    add_batch(commands, _batch)
    add_live(commands, STATUSES, _live)
    _add_convert(commands)
    doctor = commands.add_parser("doctor", help="what runs on this machine, and why something does not")
    doctor.add_argument("--probe", action="store_true", help="forget what was measured here, and measure anew")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor)
    benchmark = commands.add_parser("benchmark", help="speed, accuracy and memory of models on backends")
    benchmark.add_argument("models", nargs="+", metavar="MODEL", help="a model's name or an artifact directory")
    benchmark.add_argument("--backends", default="all", metavar="A,B", help="those to run on (default: all)")
    benchmark.add_argument("--points", type=positive, default=64, metavar="N", help="tracked at once (default: 64)")
    benchmark.add_argument("--frames", type=positive, default=50, metavar="N", help="that are timed (default: 50)")
    benchmark.add_argument("--device", metavar="D", help="default: the engine's own choice")
    benchmark.add_argument("--threads", type=positive, metavar="N", help="default: the engine's own choice")
    benchmark.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON there; without FILE in place of the table"
    )
    benchmark.set_defaults(run=_benchmark)
    models = commands.add_parser("models", help="the models, and how to get them")
    models.add_argument("--json", action="store_true", help="for programs")
    models.set_defaults(run=_models)
    get = commands.add_parser("get", help="a published model, ready to track: fetched, exported, verified, kept")
    get.add_argument("model", help="a published model's name, see `tapsdk models`")
    get.add_argument("--target", default="onnx", metavar="T", help="of `tapsdk export` (default: onnx)")
    get.add_argument("--weights", metavar="FILE", help="the official file, if you have it")
    get.add_argument("--url", metavar="URL", help="another address of the file: a mirror, or a store such as gs://")
    get.add_argument("--anew", action="store_true", help="export again, even if that was done before")
    get.add_argument("--quiet", action="store_true", help="no progress bar")
    get.set_defaults(run=_get)
    fetch = commands.add_parser("fetch", help="download the official weights of a published model")
    fetch.add_argument("model", help="a published model's name, see `tapsdk models`")
    fetch.add_argument("--url", metavar="URL", help="another address of the file: a mirror, or a store such as gs://")
    fetch.add_argument(
        "--directory", metavar="DIR", help="keep it there, or share it in a store: gs://... (default: the cache)"
    )
    fetch.add_argument("--quiet", action="store_true", help="no progress bar")
    fetch.set_defaults(run=_fetch)
    # Named here for the list of commands; what follows it is the business of the export package (`main`).
    commands.add_parser("export", help="compile a model for an engine, verified", add_help=False)
    return parser


def _add_track(commands: Any) -> None:
    """Adds `track` to the subcommands of a parser."""
    track = commands.add_parser(
        "track",
        help="track points through a video and draw them",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    track.add_argument(
        "video",
        help="a video, a folder of images or a pattern, a URL (http, rtsp, ...), a camera (0, /dev/video0), or - for "
        "standard input",
    )
    add_points(track, required=True)
    track.add_argument("--at", type=frame, metavar="T", help="the frame in which these points are (default: 0)")
    add_model(track)
    track.add_argument("--threads", type=positive, metavar="N", help="of the processor; default: the engine's choice")
    track.add_argument(
        "--start",
        type=moment,
        metavar="T",
        help="begin at this frame, 30, or time, 2.5s or 1:30; it counts as frame 0",
    )
    track.add_argument("--end", type=moment, metavar="T", help="end before this frame or time of the video")
    memory = "to track with beside the model, such as 2GB; with less, points are tracked group by group"
    track.add_argument("--memory", type=memory_size, metavar="N", help=f"{memory} (default: half of what is free)")
    track.add_argument("--fps", type=float, metavar="N", help="frames per second, whatever the video says")
    track.add_argument(
        "-o", "--output", metavar="OUT.mp4", help="the video with the tracks drawn on it; - for stdout, as mp4"
    )
    track.add_argument("--save", metavar="OUT.npz", help="the tracks: .npz, .csv or .json; - for stdout, as csv")
    trail = "frames that a trail reaches back (default: 16, or 64 with --rainbow)"
    track.add_argument("--trail", type=int, metavar="K", help=trail)
    track.add_argument(
        "--rainbow",
        action="store_true",
        help="draw the points that move by themselves, in colours by position, with long trails over the background",
    )
    track.add_argument("--hide-lost", action="store_true", help="draw nothing where a point is not visible")
    track.add_argument(
        "--colors",
        choices=("distinct", "position"),
        help="neighbours differ, or a rainbow by where points begin (default: position for --grid)",
    )
    space = track.add_argument_group("tracks in space", "in metres, from depth maps of the video")
    space.add_argument(
        "--depth", metavar="D", help="a folder of 16-bit PNG, EXR or .npy, a file a frame; a .npy or .npz"
    )
    space.add_argument("--intrinsics", metavar="FX,FY,CX,CY", help="of the camera, in pixels of the video")
    space.add_argument(
        "--pixel-centers", action="store_true", help="CX,CY count from the first pixel's centre, as OpenCV's do"
    )
    scale = "metres of a step (default: 0.001 for integers, 1 for floats)"
    space.add_argument("--depth-scale", type=float, metavar="S", help=scale)
    space.add_argument("--smaller-depth", action="store_true", help="the maps show the same view in fewer pixels")
    space.add_argument("--poses", metavar="FILE", help="camera to world, a pose a frame: .npy, .npz, .txt or .csv")
    save_3d = ".npz, .csv, .ply, .rrd, .svg (a plot) or .html (a view); default: OUT-3d.npz beside --save OUT.npz"
    space.add_argument("--save-3d", nargs="+", metavar="OUT", help=save_3d)
    resume = "go on where an earlier run of the same command was killed, and keep beside the result what that takes"
    track.add_argument("--resume", action="store_true", help=resume)
    track.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    track.set_defaults(run=_track)


def _add_convert(commands: Any) -> None:
    """Adds `convert` to the subcommands of a parser."""
    convert = commands.add_parser("convert", help="tracks into a file for another program")
    convert.add_argument("tracks", metavar="TRACKS.npz", help="a file that `tapsdk track --save` wrote")
    telling = ", ".join(row.suffix for row in FORMATS.values() if row.telling)
    convert.add_argument("output", metavar="OUT.nk", help=f"{telling}, or .npz, .csv or .json as --save writes them")
    convert.add_argument("--format", choices=tuple(FORMATS), help="where the suffix does not say it")
    convert.add_argument("--size", type=size, metavar="WxH", help="of the video, in pixels, such as 1280x720")
    convert.add_argument("--fps", type=float, metavar="N", help="frames per second (default: as the tracks say)")
    convert.set_defaults(run=_convert)


def _track(args: argparse.Namespace) -> int:
    from tapsdk.commands.track import track

    return track(args)


def _batch(args: argparse.Namespace) -> int:
    from tapsdk.commands.batch import batch

    return batch(args)


def _live(args: argparse.Namespace) -> int:
    from tapsdk.commands.live import live

    return live(args)


def _convert(args: argparse.Namespace) -> int:
    from tapsdk.commands.convert import convert

    return convert(args)


def _doctor(args: argparse.Namespace) -> int:
    from tapsdk.commands.doctor import diagnose, is_well, render

    report = diagnose(anew=args.probe)
    say(json.dumps(report, indent=1) if args.json else render(report))
    return 0 if is_well(report) else 1


def _benchmark(args: argparse.Namespace) -> int:
    from tapsdk.api import check_output
    from tapsdk.commands.benchmark import (
        Row,
        Settings,
        benchmark,
        choose_backends,
        mark_auto,
        open_models,
        render,
        to_report,
    )
    from tapsdk.system.files import AtomicFile
    from tapsdk.system.progress import with_progress

    settings = Settings(args.points, args.frames, args.threads, args.device)
    backends, artifacts = choose_backends(args.backends), open_models(args.models)
    if args.json not in (None, "-"):
        check_output(args.json, *(artifact.directory for artifact in artifacts.values()))
    rows: list[Row] = []
    status = 0
    with ExitStack() as stack:
        # Opened before the work, so that a wrong path shows at once.
        file = stack.enter_context(AtomicFile(args.json)) if args.json not in (None, "-") else None
        try:
            rows.extend(with_progress(benchmark(artifacts, backends, settings), label="benchmark", unit="row"))
        except KeyboardInterrupt as error:
            if not rows:
                raise
            status = exit_status(error)
            tell(f"stopped after {len(rows)} rows")
        rows = mark_auto(artifacts, rows, settings, complete=not status)
        report = json.dumps(to_report(rows, settings, complete=not status), indent=1)
        if file:
            file.write(f"{report}\n".encode())
    say(report if args.json == "-" else render(rows))
    if not status and not any(row.status == "ok" for row in rows):
        tell("error: nothing ran; the last column says why")
        return 1
    return status


def _export(argv: Sequence[str]) -> int:
    from tapsdk.system.imports import ignore_working_folder

    ignore_working_folder(Path(tapsdk.__file__).parents[1])
    try:
        run = importlib.import_module("export.__main__").main
    except ImportError as error:
        return _fail(f"the export package is not installed beside tapsdk ({error}); install tapsdk again")
    return int(run(argv, prog="tapsdk export"))


def _get(args: argparse.Namespace) -> int:
    from tapsdk.commands.get import get

    return get(args, _export)


def _fetch(args: argparse.Namespace) -> int:
    from tapsdk.artifact.fetch import fetch, next_step

    say(str(fetch(args.model, directory=args.directory, url=args.url, progress=not args.quiet)))
    say(next_step(args.model))
    return 0


def _models(args: argparse.Namespace) -> int:
    from tapsdk.commands.models import describe, render

    rows = describe()
    say(json.dumps(rows, indent=1) if args.json else render(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
