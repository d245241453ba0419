"""make fuzz: spoilt inputs at every surface for some seconds each, in a process of its own that may die.

Inputs are numbered: the same number makes the same input, so that a finding is a surface and a number. What was found
is printed and kept as files; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
import warnings
import zlib
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tapsdk.errors import TapsdkError
from tests.fuzz.mutators import Payload
from tests.fuzz.surfaces import SURFACES, Surface

MEMORY = 12 << 30
"""Bytes of address space: what asks for more than any sane input needs meets a MemoryError, not the whole machine."""
GRACE = 30.0
"""Seconds beyond a surface's own after which a process that answers no more is ended."""


def spoilt(surface: Surface, name: str, seeds: Path, number: int, folder: Path) -> Path:
    """Makes input `number` in `folder`, which is emptied; returns the spoilt file."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), number])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = sorted(seeds.iterdir())
    chosen = [file for file in files if file.suffix in surface.spoil]
    victim = chosen[int(rng.integers(len(chosen)))]
    for file in files:
        if file != victim:
            os.link(file, folder / file.name)
    mutators = surface.spoil[victim.suffix]
    content = mutators[int(rng.integers(len(mutators)))](victim.read_bytes(), rng)
    (folder / victim.name).write_bytes(content)
    return folder / victim.name


def verdict(surface: Surface, folder: Path) -> str | None:
    """What is wrong with how a spoilt folder is read; None where it is taken or refused as it should be."""
    began = time.monotonic()
    problem = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            surface.read(folder)
    except TapsdkError:
        pass
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{type(error).__name__}: {str(error)[:100]!r} ({Path(last.filename).name}:{last.lineno})"
    if Path(Payload.MARK).exists():
        Path(Payload.MARK).unlink()
        problem = "code of the file ran"
    took = time.monotonic() - began
    return problem or (f"took {took:.0f} seconds" if took > surface.seconds else None)


def _work(surface: Surface, name: str, seeds: Path, folder: Path, first: int, pipe: Connection) -> None:
    """Inputs from `first` on: sends (number, None) before each, and (number, problem) after it."""
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chdir(folder.parent)
    number = first
    while True:
        pipe.send((number, None))
        spoilt(surface, name, seeds, number, folder)
        pipe.send((number, verdict(surface, folder) or ""))
        number += 1


def fuzz(
    name: str, seconds: float, work: Path, first: int = 0, inputs: int | None = None
) -> tuple[int, dict[int, str]]:
    """Tries inputs of a surface from number `first` on, for so long or so many: how many, and what was found."""
    surface = SURFACES[name]
    seeds, folder = work / f"{name}-seeds", work / name / "input"
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir(parents=True)
    surface.make(seeds)
    surface.read(seeds)
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    found: dict[int, str] = {}
    number, until = first, time.monotonic() + seconds
    while time.monotonic() < until and (inputs is None or number < first + inputs):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(surface, name, seeds, folder, number, there), daemon=True)
        process.start()
        there.close()
        ended = "was too slow"
        while time.monotonic() < until and (inputs is None or number < first + inputs):
            if not here.poll(surface.seconds + GRACE):
                break
            try:
                number, problem = here.recv()
            except EOFError:
                process.join()
                ended = f"ended the process ({process.exitcode})"
                break
            if problem:
                found[number] = problem
            number += problem is not None
        else:
            ended = ""
        process.kill()
        process.join()
        if ended:
            found[number] = ended
            number += 1
    return number - first, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surfaces", nargs="*", help=f"of {', '.join(SURFACES)}; all unless told")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each surface")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--inputs", type=int, help="no more than so many for each surface")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/fuzz"), help="where findings are kept")
    options = parser.parse_args()
    unknown = set(options.surfaces) - set(SURFACES)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(SURFACES)}")
    failed = False
    for name in options.surfaces or SURFACES:
        with tempfile.TemporaryDirectory() as work:
            tried, found = fuzz(name, options.seconds, Path(work), options.first, options.inputs)
            print(f"{name}: {tried} inputs, {len(found)} findings", flush=True)
            for number, problem in found.items():
                path = spoilt(SURFACES[name], name, Path(work) / f"{name}-seeds", number, Path(work) / "again")
                kept = options.output / name / f"{number}{path.suffix}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, kept)
                print(f"  {number} ({path.name}): {problem}", flush=True)
            failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
