"""The options of `tapsdk live`. Without numpy: --help is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from tapsdk.commands.options import add_model, add_points, positive, size


def add_live(commands: Any, statuses: str, run: Callable[[argparse.Namespace], int]) -> None:
    """Adds `live` to the subcommands of a parser. statuses: what its exit statuses mean."""
    live = commands.add_parser(
        "live",
        help="track points on a camera, now, on a page of this machine",
        epilog=statuses,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    live.add_argument("source", help="a camera's number, a URL such as rtsp://..., or a file to play like a camera")
    add_points(live, required=False)
    live.set_defaults(at=None, memory=None)
    add_model(live)
    live.add_argument("--threads", type=positive, metavar="N", help="of the processor; default: the engine's choice")
    live.add_argument("--size", type=size, metavar="WxH", help="pixels to ask a camera for, such as 1280x720")
    live.add_argument("--fps", type=float, metavar="N", help="to ask a camera for; of a file, whatever it says")
    live.add_argument("--paused", action="store_true", help="begin with a file's first frame, and wait there")
    live.add_argument("--record", action="store_true", help="record from the first frame on")
    live.add_argument("--folder", default=".", metavar="DIR", help="where recordings and tracks go (default: here)")
    live.add_argument("--save", metavar="OUT.npz", help="all tracks, in the end (default: live-DATE-TIME.npz)")
    live.add_argument("--headless", action="store_true", help="no page: JSON on stdout, a line a frame")
    page = live.add_argument_group("the page")
    host = "address to be bound to; any but this machine's own wants the token in the page's address"
    page.add_argument("--host", default="127.0.0.1", metavar="H", help=f"{host} (default: 127.0.0.1)")
    page.add_argument("--port", type=_port, metavar="N", help="0: any that is free (default: 8750, if that is free)")
    page.add_argument("--open", action="store_true", help="open it in the browser")
    live.add_argument("--quiet", action="store_true", help="say nothing but errors, and where files are")
    live.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, from 0 to 65535")
    return int(text)
