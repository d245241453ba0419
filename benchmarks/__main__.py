"""python -m benchmarks [--quick] [--only PART ...] [-o RUN.json] | setup | report RUN.json | check"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import models
from benchmarks.check import BASELINE, TOLERANCE, BaselineError, confirmed, measure, read_baseline, write_baseline
from benchmarks.comparing import Effort
from benchmarks.measuring import load
from benchmarks.parts import MATRICES, NEEDS, PARTS
from benchmarks.report import table_of, write_report
from benchmarks.rows import Row, Run, RunFileError, read_run
from benchmarks.runners import RUNNERS
from tapsdk.errors import TapsdkError
from tapsdk.system.console import console, say, tell
from tapsdk.system.signals import exit_status, signals_as_interrupts

SECONDS, QUICK_SECONDS = 3.0, 2.0
"""Of turns for each pair of runners."""
RUN_FILE = models.FOLDER / "run.json"
PAGE = models.ROOT / "docs" / "performance.md"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="tapsdk beside its peers on this machine; without a command: measure."
    )
    parser.add_argument("--quick", action="store_true", help="two minutes' worth")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--resume", action="store_true", help="leave out parts that the file already holds")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=RUN_FILE,
        metavar="RUN.json",
        help="--only and --resume add to it",
    )
    parser.set_defaults(go=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    setup = commands.add_parser("setup", help="make what runs need, and say which peers are missing")
    setup.set_defaults(go=_setup)
    report = commands.add_parser("report", help="tables and drawings of a run")
    report.add_argument("run_file", type=Path, metavar="RUN.json")
    report.add_argument("-o", "--output", type=Path, default=PAGE, metavar="PAGE.md")
    report.set_defaults(go=_report)
    check = commands.add_parser("check", help="is anything slower than in the baseline?")
    check.add_argument("baseline", type=Path, nargs="?", default=BASELINE, metavar="BASELINE.json")
    check.add_argument("--tolerance", type=float, default=TOLERANCE, help="share of a ratio that may be lost")
    check.add_argument("--write", action="store_true", help="make this machine's ratios the baseline")
    check.set_defaults(go=_check)
    return parser


def _run(args: argparse.Namespace) -> int:
    run = _begun(args)
    parts = [part for part in args.only or PARTS if not (args.resume and part in run.done)]
    if not parts:
        say(f"{args.output} holds every part already")
        return 0
    if not args.quick:
        models.prepare(_Progress(), dict.fromkeys(need for part in parts for need in NEEDS.get(part, ())))
    ran, progress = 0, _Progress()
    for number, part in enumerate(parts, 1):
        progress = progress.at(f"{number}/{len(parts)} {part}")
        rows = _measured(run, part, progress, args)
        if rows:
            say(f"\n{part}: {(PARTS[part].__doc__ or '').strip()}\n" + "\n".join(table_of(part, rows)) + "\n")
        ran += sum(not row.reason for row in rows)
    say(f"{args.output}: {ran} rows measured")
    return 0 if ran else 1


def _begun(args: argparse.Namespace) -> Run:
    """The run in the file, if it is to be added to, else a new one. Raises RunFileError for one of another machine."""
    here = Run.here(args.quick)
    if not (args.output.exists() and (args.only or args.resume)):
        return here
    run = read_run(args.output)
    if (run.machine, run.quick) != (here.machine, here.quick):
        raise RunFileError(
            f"{args.output} was measured on another machine, with other versions, or not in the same haste; rows of "
            "one file are from one machine: name another with -o"
        )
    return run


def _measured(run: Run, part: str, progress: _Progress, args: argparse.Namespace) -> list[Row]:
    """The rows of a part, which go into the file as they come."""
    run.begin(part, load())
    effort = Effort(QUICK_SECONDS if args.quick else SECONDS, _matrix(run), progress)
    for rows in PARTS[part](effort, args.quick):
        run.rows += rows
        run.save(args.output)
    run.done.append(part)
    run.save(args.output)
    return run.of(part)


class _Progress:
    """Says what is being done, how far that is, and how long it took so far, on stderr."""

    def __init__(self, place: str = "", began: float | None = None) -> None:
        self._place, self._began = place, time.monotonic() if began is None else began

    def at(self, place: str) -> _Progress:
        """The same from another place on."""
        return _Progress(place, self._began)

    def __call__(self, message: str) -> None:
        minutes = (time.monotonic() - self._began) / 60
        tell(f"[{self._place}, {minutes:.1f} min] {message}" if self._place else message)


def _matrix(run: Run) -> str:
    """The runner of the faster matrix product, as far as the run knows."""
    rates = {row.runner: row.gigaflops or 0.0 for row in run.of("roofline") if row.threads == 1}
    return max(rates, key=lambda name: rates[name], default=MATRICES[0])


def _setup(args: argparse.Namespace) -> int:
    failures = models.prepare(_Progress())
    for runner in RUNNERS.values():
        say(f"{runner.title}: {runner.absent() or 'ready'}")
    return 1 if failures else 0


def _report(args: argparse.Namespace) -> int:
    for path in write_report(read_run(args.run_file), args.output):
        say(f"wrote {path}")
    return 0


def _check(args: argparse.Namespace) -> int:
    run = Run.here()
    baseline = {} if args.write else read_baseline(args.baseline, str(run.machine["isa"]))
    effort = Effort(SECONDS, MATRICES[0], _Progress())
    run.rows = measure(effort)
    say("\n".join(table_of("tiny", run.rows)))
    if not any(row.ratio for row in run.rows):
        tell("nothing ran")
        return 1
    if args.write:
        write_baseline(args.baseline, run)
        say(f"wrote {args.baseline}")
        return 0
    slower = confirmed(baseline, run.rows, lambda: measure(effort), args.tolerance)
    for sentence in slower:
        tell(sentence)
    if not slower:
        say("nothing is slower than in the baseline")
    return 1 if slower else 0


@console()
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0 if it is done; 1 if nothing ran or something got slower."""
    args = _parser().parse_args(argv)
    try:
        with signals_as_interrupts():
            return int(args.go(args))
    except (BaselineError, RunFileError, TapsdkError) as error:
        tell(f"error: {error}")
        return 2
    except KeyboardInterrupt as error:
        tell("stopped; what was measured is in the file")
        return exit_status(error)


if __name__ == "__main__":
    sys.exit(main())
