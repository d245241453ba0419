"""What a run found: rows, and the file that holds them, which grows part by part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tapsdk
from tapsdk.system.files import AtomicFile
from tapsdk.system.machine import describe_machine

SCHEMA = 1
REST = "Python"
"""Of a frame's time, what is in no stage and in no kernel."""
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch", "jax", "opencv-python-headless")


class RunFileError(Exception):
    """A file that does not hold a run."""


@dataclass(frozen=True)
class Row:
    """One runner on one workload; None is what there is not.

    part: of the run. runner: as in `RUNNERS`. key: the workload in words. axis: where the part is a curve, its x.
    beside: the runner of ours that it took turns with.
    reason: why there is nothing else in the row.
    milliseconds: of a frame, the median of all turns: the processor's time where one thread runs, else the wall's.
    ratio, low, high: how many times longer than ours it took, the median of pairs and its quartiles.
    gigaflops: a second. share: of what the matrix product reaches, by turns taken next to ours.
    pixels: by how much positions differ from ours, in pixels of the frame.
    """

    part: str
    runner: str
    key: str
    axis: float | None = None
    beside: str = ""
    reason: str = ""
    milliseconds: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    gigaflops: float | None = None
    share: float | None = None
    peak_megabytes: float | None = None
    pixels: float | None = None
    threads: int = 1
    points: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of a frame by where they go, of rows that tell."""


@dataclass
class Run:
    """The rows of all parts so far, and what they were measured on."""

    machine: Mapping[str, Any]
    rows: list[Row] = field(default_factory=list)
    load: dict[str, float | None] = field(default_factory=dict)
    """By part: the processes that wanted to run, on average of a minute, when it began."""
    quick: bool = False
    done: list[str] = field(default_factory=list)
    """Parts that are complete."""

    @staticmethod
    def here(quick: bool = False) -> Run:
        """An empty run of this machine."""
        known = describe_machine()
        kept = {name: known[name] for name in ("processor", "cores", "isa", "available_isas", "python")}
        return Run({**kept, "versions": versions()}, quick=quick)

    def begin(self, part: str, load: float | None = None) -> None:
        """What was known of the part is forgotten."""
        self.rows = [row for row in self.rows if row.part != part]
        self.done = [each for each in self.done if each != part]
        self.load[part] = load

    def of(self, part: str) -> list[Row]:
        return [row for row in self.rows if row.part == part]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        table = {**asdict(self), "schema": SCHEMA}
        with AtomicFile(path) as file:
            file.write((json.dumps(table, indent=1) + "\n").encode())


def versions() -> dict[str, str]:
    """Of what measures and is measured, as far as it is installed."""
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return {"tapsdk": tapsdk.__version__, **found}


def read_run(path: Path) -> Run:
    """Raises RunFileError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table.pop("schema") != SCHEMA:
            raise RunFileError(f"{path} was written by another version of the benchmarks; run them again")
        known = {each.name for each in fields(Row)}
        rows = [Row(**{name: value for name, value in row.items() if name in known}) for row in table.pop("rows")]
        return Run(**table, rows=rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFileError(
            f"{path} does not hold a run ({error}); `python -m benchmarks -o {path}` makes one"
        ) from error
