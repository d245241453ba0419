"""`tapsdk batch`: many videos and points in, a file of tracks for each and a table out."""

from __future__ import annotations

import argparse

from tapsdk.batch import run
from tapsdk.batch.running import SUMMARY
from tapsdk.batch.table import Table
from tapsdk.system.console import on_terminal, say, show_work, tell
from tapsdk.system.places import place

OPTIONS = (
    *("model", "output", "points", "grid", "suffix", "on", "workers", "split", "anew"),
    *("backend", "device", "threads", "memory", "resolution", "strict", "pace"),
)
"""Of the command, those that `tapsdk.batch.run` has by the same names."""
SOME_FAILED = 3
"""Exit status of a batch that came to its end, and has rows that did not."""
MOST_LINES = 20
"""Of videos that failed; the table has all of them."""


def batch(args: argparse.Namespace) -> int:
    """Returns the exit status. Raises TapsdkError for what comes before the first video, and KeyboardInterrupt."""
    if not args.quiet:
        show_work("tapsdk.selection")
    given = {name: getattr(args, name) for name in OPTIONS}
    table = run(args.jobs, progress=not args.quiet and on_terminal(), **given)
    _summarise(table, args)
    return SOME_FAILED if table.failed else 0


def _summarise(table: Table, args: argparse.Namespace) -> None:
    for row in table.failed[:MOST_LINES]:
        tell(f"{row.status}: {row.reason if row.video in row.reason else f'{row.video}: {row.reason}'}")
    if len(table.failed) > MOST_LINES:
        tell(f"and {len(table.failed) - MOST_LINES} more, see {place(args.output) / SUMMARY[-1]}")
    if not args.quiet:
        say(repr(table))
        say(f"wrote {place(args.output)}")
