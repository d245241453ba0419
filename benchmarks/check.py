"""Is ours slower than it was? By ratios to peers on the same machine, not by times."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparing import Effort, compare
from benchmarks.parts import MANY, TINY
from benchmarks.rows import Row, Run
from benchmarks.runners import RUNNERS
from tapsdk.system.files import AtomicFile

BASELINE = Path(__file__).parent / "baseline.json"
TOLERANCE = 0.15
"""Share of a ratio that may be lost. More is a complaint if even the upper quartile of all pairs has lost it: with a
noisy machine quartiles are far apart."""
PAIRS = (
    (TINY, ("native", "torch", "literal", "opencv-lk")),
    (MANY, ("native", "torch", "literal", "opencv-lk")),
    (TINY, ("fused", "literal")),
)


class BaselineError(Exception):
    """There is nothing to compare with."""


def measure(effort: Effort) -> list[Row]:
    return [row for workload, runners in PAIRS for row in compare("check", workload, runners, effort)]


def name_of(row: Row) -> str:
    """Of a comparison, for people and as a key."""
    return f"{RUNNERS[row.beside].title} beside {RUNNERS[row.runner].title}: {row.key}"


def comparisons(rows: Sequence[Row]) -> dict[str, Row]:
    """Those that say something of our speed, by name."""
    return {name_of(row): row for row in rows if row.ratio and row.runner != row.beside}


def complaints(baseline: Mapping[str, float], rows: Sequence[Row], tolerance: float = TOLERANCE) -> dict[str, str]:
    """A sentence for everything that got slower, by name. What is not in both is passed over."""
    found = {}
    for name, row in comparisons(rows).items():
        if name not in baseline or row.ratio is None:
            continue
        least = baseline[name] * (1 - tolerance)
        if max(row.ratio, row.high or 0.0) < least:
            lost = 1 - row.ratio / baseline[name]
            found[name] = (
                f"slower by {lost:.0%}: {name}. It was {baseline[name]:.2f} times as fast, it is {row.ratio:.2f} times "
                f"(quartiles {row.low or row.ratio:.2f} to {row.high or row.ratio:.2f}, {row.pairs} pairs)"
            )
    return found


def confirmed(
    baseline: Mapping[str, float], rows: Sequence[Row], again: Callable[[], Sequence[Row]], tolerance: float = TOLERANCE
) -> list[str]:
    """Complaints that a second measurement, made only if there are any, has too."""
    first = complaints(baseline, rows, tolerance)
    second = complaints(baseline, again(), tolerance) if first else {}
    return [sentence for name, sentence in second.items() if name in first]


def read_baseline(path: Path, isa: str) -> dict[str, float]:
    """Ratios by name, of machines with this instruction set. Raises BaselineError."""
    kinds = _read(path)
    if isa not in kinds:
        raise BaselineError(
            f"{path} knows no machine with {isa} (only {', '.join(kinds) or 'none'}), and ratios differ between "
            "instruction sets; `python -m benchmarks check --write` adds this one"
        )
    return dict(kinds[isa]["ratios"])


def write_baseline(path: Path, run: Run) -> None:
    """Puts the ratios in the place of those of machines with the same instruction set."""
    kinds = _read(path) if path.exists() else {}
    ratios = {name: round(row.ratio or 0.0, 3) for name, row in comparisons(run.rows).items()}
    about = {name: run.machine[name] for name in ("processor", "cores", "versions")}
    kinds[str(run.machine["isa"])] = {**about, "ratios": ratios}
    with AtomicFile(path) as file:
        file.write((json.dumps(kinds, indent=1, sort_keys=True) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"{path} is no baseline ({error}); `python -m benchmarks check --write` makes one"
        ) from error
