"""The options of `tapsdk batch`. Without numpy: --help is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from tapsdk.commands.options import add_model, grid, memory_size, positive

STATUSES = """exit status:
  0    all videos have their tracks, as the table says
  1    an error before the first video, or the table could not be written
  2    the command was not understood
  3    some videos failed, or end early; the table says which, and why
  130  ended by Ctrl-C; the same command goes on. 143 and 129: the same by SIGTERM and SIGHUP
"""


def add_batch(commands: Any, run: Callable[[argparse.Namespace], int]) -> None:
    """Adds `batch` to the subcommands of a parser."""
    parser = commands.add_parser(
        "batch",
        help="track points through many videos, on this machine or on a Ray cluster",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "jobs",
        help="a folder, a pattern, a .txt file with a video a line, or a .csv, .json or .parquet table with columns "
        "video and, if need be, points, grid and output; a path or a URL",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--points", metavar="'X,Y;X,Y'", help="in videos that name none; or a file of them")
    which.add_argument("--grid", type=grid, metavar="N", help="in videos that name none; or COLUMNSxROWS such as 10x6")
    add_model(parser)
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="of each worker (default: 1)")
    parser.add_argument(
        "--memory", type=memory_size, default="2GB", metavar="M", help="of each worker, beside the model (default: 2GB)"
    )
    parser.add_argument(
        "-o", "--output", default="tracks", metavar="DIR", help="the folder of the tracks, or its URL (default: tracks)"
    )
    parser.add_argument("--suffix", default=".npz", help="of the tracks: .npz, .json or .csv (default: .npz)")
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="at once (default: as many as there are cores and memory for)"
    )
    parser.add_argument("--on", metavar="WHERE", help="ray, or a cluster's ray://HOST:PORT (default: this machine)")
    parser.add_argument(
        "--split", type=positive, metavar="N", help="spread videos with more than N points over workers, N by N"
    )
    parser.add_argument("--anew", action="store_true", help="compute again what is there already")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    parser.set_defaults(run=run)
