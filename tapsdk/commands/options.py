"""Options that commands share, and how values are read. Without numpy: --help is quick."""

from __future__ import annotations

import argparse
from typing import Any

from tapsdk.errors import TapsdkError
from tapsdk.points_text import grid_of_text


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds which model runs, and on what."""
    parser.add_argument(
        "--model", default="tapir", help="a model's name, an artifact directory or its URL (default: tapir)"
    )
    parser.add_argument("--backend", default="auto", help="auto, or one that `tapsdk doctor` lists")
    parser.add_argument("--device", metavar="D", help="to run on, as the backend names it: cpu, cuda:1, ...")
    parser.add_argument("--strict", action="store_true", help="fail if any backend that is installed does not work")
    parser.add_argument(
        "--resolution", type=positive, metavar="N", help="work at the area of a square of this side, in pixels"
    )
    seldom = "look at every K-th frame only and follow the picture between, or as seldom as keeps up with the video"
    parser.add_argument("--pace", type=pace, default=1, metavar="K|real-time", help=f"{seldom} (default: 1)")


def add_points(parser: argparse.ArgumentParser, required: bool) -> None:
    """Adds which points are tracked. required: whether any have to be named."""
    which = parser.add_mutually_exclusive_group(required=required)
    which.add_argument("--points", metavar="'X,Y;X,Y'", help="points in pixels, x,y or t,x,y; or a file of them")
    which.add_argument("--points-file", metavar="FILE", help="points in a .csv, .json or .npy file: x,y or t,x,y")
    which.add_argument("--grid", type=grid, metavar="N", help="an N x N grid of points, or COLUMNSxROWS such as 10x6")
    which.add_argument("--random", type=int, metavar="N", help="N points anywhere")
    parser.add_argument("--mask", metavar="IMAGE", help="of these points, those where this picture is not black")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="other random points (default: 0)")


def positive(text: str) -> int:
    """A whole number from 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def pace(text: str) -> Any:
    """As `tapsdk.runtime.pace.Pace`."""
    from tapsdk.runtime.pace import REAL_TIME

    try:
        return text if text == REAL_TIME else positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor {REAL_TIME}") from None


def grid(text: str) -> tuple[int, int]:
    """(columns, rows) of N or COLUMNSxROWS."""
    try:
        return grid_of_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> tuple[int, int]:
    """(height, width) of WIDTHxHEIGHT."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 1280x720")
    return int(height), int(width)


def frame(text: str) -> int:
    """The number of a frame, from 0."""
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a frame, from 0")
    return int(text)


def moment(text: str) -> Any:
    """A frame or a time of a video, as `tapsdk.video.part` has it."""
    from tapsdk.video.part import parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def memory_size(text: str) -> int:
    """Bytes, of a number or such as 2GB."""
    from tapsdk.system.memory import parse_bytes

    try:
        return parse_bytes(text)
    except TapsdkError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
