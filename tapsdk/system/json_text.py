"""JSON of unknown origin: one error for whatever is wrong with it; strictly, also no two readings of one text."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_LEVELS = 50
"""Lists and tables within each other."""
TOO_DEEP = f"it nests too deeply; at most {MOST_LEVELS} levels are allowed"
DIGITS = 40
"""Of a number that is written out; more than any float or size has."""


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON document. Raises ValueError for all that may be wrong with it, its depth included."""
    return _decoded(text, "it is nested too deeply")


def parse_strict_json(text: bytes | str) -> Any:
    """What a JSON text says. Raises ValueError for one that is not UTF-8, nests too deeply, names an entry twice, or
    holds numbers that JSON does not have (NaN, Infinity) or nobody needs."""
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    hooks = {"parse_int": _integer, "parse_float": _number, "parse_constant": _no_constant}
    value = _decoded(decoded, TOO_DEEP, object_pairs_hook=_table, **hooks)
    _check_depth(value)
    return value


def as_json(value: Any) -> Any:
    """Tables and lists as JSON can have them, which has neither NaN nor infinity: both become None."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decoded(text: bytes | str, too_deep: str, **hooks: Any) -> Any:
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        raise ValueError(too_deep) from None


def _check_depth(value: Any) -> None:
    """What follows, such as writing it again, may go deeper for each level than reading does."""
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = [each for values in inner for each in values]
        if not level:
            return
    raise ValueError(TOO_DEEP)


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
