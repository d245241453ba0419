"""The layouts of official files: DeepMind's PyTorch and JAX code name and arrange parameters differently."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from training.checkpoints.fit import Entry, Table
from training.models.registry import config_of, family_of


def layouts(model: str) -> dict[str, Table]:
    """Of the model's files, by the code that wrote them: "torch" or "jax"."""
    family = family_of(model)
    rows = list(family.official_names(config_of(model)))
    torch = tuple(Entry(ours, name, turn) for ours, name, turn, _, _ in rows)
    jax = tuple(Entry(ours, name, turn) for ours, _, _, name, turn in rows)
    return {"torch": Table(torch, family.ignored_names), "jax": Table(jax, family.ignored_names)}


def best_layout(tables: Mapping[str, Table], found: Collection[str]) -> str | None:
    """The layout that has most names in common with a file, None if none has any."""
    present = set(found)
    best = max(tables, key=lambda layout: len(tables[layout].names & present))
    return best if tables[best].names & present else None
