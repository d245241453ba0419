"""`tapsdk get MODEL`: a published model from its publisher to what tapsdk runs, in one step, kept in the cache."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tapsdk.artifact import got_folder, open_artifact
from tapsdk.artifact.fetch import fetch
from tapsdk.artifact.registry import ALIASES, OFFICIAL
from tapsdk.errors import ArtifactError, ModelError
from tapsdk.system.console import say

Export = Callable[[Sequence[str]], int]
"""Runs `tapsdk export` with these arguments."""


def get(args: argparse.Namespace, export: Export) -> int:
    """Fetches, exports and verifies unless that was done before. Returns the exit status. Raises TapsdkError."""
    name = ALIASES.get(args.model, args.model)
    if name not in OFFICIAL or OFFICIAL[name].use:
        open_artifact(args.model)  # raises for what is unknown, or tracks no video
        say(f"{name} comes with tapsdk: there is nothing to get")
        return 0
    folder = got_folder(name, args.target)
    if not args.anew and _is_there(folder, name):
        say(f"{name} is there already: {folder}")
        return 0
    began = time.monotonic()
    if args.weights is None:
        say(f"1 of 2: the official file of {name}, {OFFICIAL[name].title}, {OFFICIAL[name].licence}")
        weights = str(fetch(name, url=args.url, progress=not args.quiet))
    else:
        weights = str(args.weights)
    say(f"2 of 2: export to {args.target} and comparison with PyTorch; a large model takes some minutes")
    status = export([name, "--target", args.target, "--weights", weights, "-o", str(folder), "--force"])
    if status == 0:
        say(f"got {name} in {time.monotonic() - began:.0f} s; use it by its name: tapsdk track VIDEO --model {name}")
    return status


def _is_there(folder: Path, name: str) -> bool:
    """Whether there is a whole artifact of this model."""
    try:
        artifact = open_artifact(folder)
        artifact.verify()
    except (ArtifactError, ModelError):
        return False
    return artifact.manifest.model == name
