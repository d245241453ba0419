"""Whether parameters are those of a model: all that is at fault, at once and by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.checkpoints.errors import CheckpointError

Arrays = Mapping[str, NDArray[np.float32]]
Shapes = Mapping[str, tuple[int, ...]]

SHOWN = 5
"""Names of a long list that a message shows."""


@dataclass(frozen=True)
class Entry:
    """Where one of our parameters lies in a file."""

    ours: str
    theirs: str
    turn: Callable[[NDArray], NDArray]
    """From the file's layout to ours."""


@dataclass(frozen=True)
class Table:
    """One entry for each of our parameters; several may lie in the same tensor of the file."""

    entries: tuple[Entry, ...]
    ignored: frozenset[str] = frozenset()
    """Tensors of the file that hold no parameter."""

    @property
    def names(self) -> set[str]:
        """As the file has them."""
        return {entry.theirs for entry in self.entries}

    @classmethod
    def of_ours(cls, names: Collection[str]) -> Table:
        """For files that hold our parameters as they are."""
        return cls(tuple(Entry(name, name, np.asarray) for name in names))


@dataclass(frozen=True)
class Fit:
    """How the parameters of a file fit a model."""

    weights: dict[str, NDArray[np.float32]]
    """By our names; complete if nothing is at fault."""
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: Mapping[str, str]
    """By name in the file: what is wrong, for people."""

    @property
    def is_exact(self) -> bool:
        return not (self.missing or self.unexpected or self.wrong_shape)

    def error(self, subject: str, hint: str = "") -> CheckpointError:
        """What is at fault, as an error: "`subject`: 2 missing (...); 1 unexpected (...)`hint`"."""
        rows: Mapping[str, Collection[str]] = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of the wrong shape": [f"{name} {what}" for name, what in self.wrong_shape.items()],
        }
        faults = [f"{len(names)} {fault} ({shortened(names)})" for fault, names in rows.items() if names]
        return CheckpointError(
            f"{subject}: {'; '.join(faults)}{hint}",
            missing=self.missing,
            unexpected=self.unexpected,
            wrong_shape=tuple(self.wrong_shape),
        )


def fit(table: Table, found: Arrays, shapes: Shapes) -> Fit:
    """Turns every parameter of a file into ours, and notes all that is at fault.

    shapes: what those of our parameters must be.
    """
    weights, wrong = {}, {}
    for entry in table.entries:
        if entry.theirs not in found:
            continue
        raw = found[entry.theirs]
        turned, wanted = _turn(entry, raw), shapes[entry.ours]
        if turned is not None and turned.shape == wanted:
            weights[entry.ours] = turned
        else:
            wrong[entry.theirs] = _difference(raw, turned, wanted)
    missing = sorted(table.names - found.keys())
    unexpected = sorted(found.keys() - table.names - table.ignored)
    return Fit(weights, tuple(missing), tuple(unexpected), wrong)


def _turn(entry: Entry, raw: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """None for an array whose axes the layout cannot turn."""
    try:
        turned = entry.turn(raw)
    except (ValueError, IndexError):
        return None
    return np.ascontiguousarray(turned, np.float32).reshape(turned.shape)


def _difference(raw: NDArray, turned: NDArray | None, wanted: tuple[int, ...]) -> str:
    """Both shapes; and, where the file has another layout, what its shape becomes in ours."""
    if turned is None or turned.shape == raw.shape:
        return f"{list(raw.shape)} instead of {list(wanted)}"
    return f"{list(raw.shape)}, which becomes {list(turned.shape)} instead of {list(wanted)}"


def shortened(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(list(names)[:SHOWN]) + (f" and {more} more" if more > 0 else "")
