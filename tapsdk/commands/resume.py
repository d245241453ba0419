"""`tapsdk track --resume`: what it takes to go on after a kill, in a folder beside the result."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tapsdk
from tapsdk.artifact import Artifact
from tapsdk.errors import TapsdkError
from tapsdk.points import QueryPoints
from tapsdk.runtime.budget import Budget
from tapsdk.runtime.journal import NO_JOURNAL, Journal, NoJournal, check_key, read_checkpoint
from tapsdk.runtime.model import Model
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.pace import REAL_TIME
from tapsdk.system.console import tell
from tapsdk.system.files import STDOUT, is_special_file
from tapsdk.system.places import Url, place
from tapsdk.video import FrameSource

SUFFIX = ".resume"
"""Of the folder, after the name of the result."""


class NoResumption:
    """A run that is lost when it is killed."""

    def as_before(self, options: RunOptions) -> RunOptions:
        """The options that it is to run with."""
        return options

    def journal(self, model: Model) -> NoJournal:
        """Of a run with this model. Raises ResumeError, SaveError."""
        return NO_JOURNAL

    def end(self, journal: NoJournal, done: bool) -> None:
        """The run is over. done: nobody will go on."""


class Resumption(NoResumption):
    """A run that may be killed, and what an earlier one left of it."""

    def __init__(self, args: argparse.Namespace, artifact: Artifact, source: FrameSource, query: QueryPoints) -> None:
        """Raises TapsdkError where nobody can go on, ResumeError if what is left is of something else."""
        if source.read_once:
            raise TapsdkError(f"--resume reads the video from its start again, and {args.video} can be read once only")
        if args.pace == REAL_TIME:
            raise TapsdkError("--resume cannot repeat what --pace real-time did: give --pace a number of frames")
        self._folder = _folder_beside(args.save or args.output or args.save_3d[0])
        digest = hashlib.sha256(query.t.tobytes() + query.xy.tobytes()).hexdigest()
        self._key: dict[str, Any] = {
            "tapsdk": tapsdk.__version__,
            "--model": artifact.manifest.model,
            "the model's manifest": hashlib.sha256(artifact.manifest.to_json().encode()).hexdigest(),
            "the points": f"{len(query)}, SHA-256 {digest}",
            "the frames' size": list(source.size),
            **{f"--{name}": None if (at := getattr(args, name)) is None else str(at) for name in ("start", "end")},
            "--device": args.device,
            "--threads": args.threads,
            "--resolution": args.resolution,
            "--pace": args.pace,
        }
        self._before: Mapping[str, Any] = {}
        checkpoint = read_checkpoint(self._folder)
        if checkpoint:
            self._before = checkpoint["key"]
            check_key(self._folder, self._before, self._key)

    def as_before(self, options: RunOptions) -> RunOptions:
        """The options with what was chosen in the earlier run, where nobody chooses now: another backend, or groups of
        another size, would give tracks that are not quite the same."""
        memory = options.memory or self._before.get("--memory") or Budget.of(None).total
        before = self._before.get("--backend")
        return replace(
            options, memory=memory, backend=before if before and options.backend == "auto" else options.backend
        )

    def journal(self, model: Model) -> Journal:
        chosen = {"--backend": f"{model.backend.name}:{model.plan.name}", "--memory": model.options.memory}
        journal = Journal(self._folder, {**self._key, **chosen})
        if self._before:
            tell(f"going on from what {self._folder} holds")
        return journal

    def end(self, journal: NoJournal, done: bool) -> None:
        journal.close()
        if done:
            journal.remove()
        elif self._folder.exists():
            tell(f"to go on from here, run the same command again; {self._folder} holds what that takes")


def _folder_beside(result: str) -> Path:
    """In the working folder for a result in a store."""
    if result == STDOUT or is_special_file(result):
        raise TapsdkError(
            f"--resume keeps what it needs beside the result, and {result} is a device or a pipe: name a file"
        )
    path = place(result)
    name = Path(path.name + SUFFIX)
    return name if isinstance(path, Url) else path.with_name(name.name)
