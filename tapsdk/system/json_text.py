"""JSON of unknown origin: one error for whatever is wrong with it, and no two readings of one text."""

from __future__ import annotations

import json
from typing import Any

DIGITS = 40
"""Of a number that is written out; more than any float or size has."""


def parse_json(text: bytes | str) -> Any:
    """What a JSON text says. Raises ValueError for one that is not UTF-8, nests too deeply, names an entry twice, or
    holds numbers that JSON does not have (NaN, Infinity) or nobody needs."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(
            decoded, object_pairs_hook=_table, parse_int=_integer, parse_float=_number, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in table if names.count(name) > 1)
        raise ValueError(f"it has the entry {twice[:80]!r} twice")
    return table


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"it has the number {text[:DIGITS]}, which is too large")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"it has {name}, which is no number")
