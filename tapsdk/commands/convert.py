"""`tapsdk convert TRACKS.npz OUT.nk`: tracks into a file for another program."""

from __future__ import annotations

import argparse
from pathlib import Path

from tapsdk.system.files import check_not_input
from tapsdk.tracks import Tracks
from tapsdk.tracks_files import SUFFIXES


def convert(args: argparse.Namespace) -> int:
    """Returns the exit status. Raises TapsdkError."""
    check_not_input(args.output, [args.tracks])
    tracks = Tracks.load(args.tracks)
    if args.format is None and Path(args.output).suffix.lower() in SUFFIXES:
        tracks.save(args.output)
    else:
        tracks.export(args.output, args.format, size=args.size, fps=args.fps)
    return 0
