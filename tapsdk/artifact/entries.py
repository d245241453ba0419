"""Entries of a table that somebody else wrote, each asked for by name, type and range.

What is wrong with one is said in a ValueError: where it is, what is there, and what is allowed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Of a table; it becomes part of messages."""
SHOWN = 60
"""Characters of a wrong value that are shown."""
ANYTHING = 1e9
"""The largest number that is taken anywhere."""


def wrong(where: str, value: Any, allowed: str) -> ValueError:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return ValueError(f"{where} is {shown}; allowed is {allowed}")


class Entry:
    """A value, and where it is."""

    def __init__(self, where: str, value: Any) -> None:
        self.where, self.value = where, value

    def wrong(self, allowed: str) -> ValueError:
        return wrong(self.where, self.value, allowed)

    @property
    def is_none(self) -> bool:
        return self.value is None

    def text(self, pattern: re.Pattern[str], allowed: str) -> str:
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self.wrong(allowed)
        return self.value

    def name(self) -> str:
        return self.text(NAME, "a name of letters, digits and underscores")

    def one_of(self, choices: Iterable[str]) -> Any:
        choices = tuple(choices)
        if not isinstance(self.value, str) or self.value not in choices:
            raise self.wrong(f"one of {', '.join(choices)}")
        return self.value

    def whole(self, low: int, high: int) -> int:
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return self.value

    def number(self, low: float = -ANYTHING, high: float = ANYTHING) -> float:
        if type(self.value) not in (int, float) or not math.isfinite(self.value) or not low <= self.value <= high:
            raise self.wrong(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def rows(self, fewest: int, most: int) -> list[Entry]:
        if not isinstance(self.value, list) or not fewest <= len(self.value) <= most:
            many = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self.wrong(f"a list of {many} entries")
        return [Entry(f"{self.where}[{i}]", value) for i, value in enumerate(self.value)]

    def pair(self, read: Callable[[Entry], T]) -> tuple[T, T]:
        first, second = self.rows(2, 2)
        return read(first), read(second)

    def growing(self, low: float = -ANYTHING, high: float = ANYTHING) -> tuple[float, float]:
        """Two numbers, the second larger."""
        pair = self.pair(lambda entry: entry.number(low, high))
        if not pair[0] < pair[1]:
            raise self.wrong("two numbers of which the second is larger")
        return pair

    def table(self, most: int = 1000) -> dict[str, Entry]:
        """Entries by any names."""
        if not isinstance(self.value, dict) or len(self.value) > most:
            raise self.wrong(f"a table of up to {most} entries")
        for name in self.value:
            if not KEY.fullmatch(name):
                told = ascii(name)[:SHOWN]
                raise ValueError(f"{self.where} has an entry called {told}; allowed are letters, digits, '.', '_', '-'")
        return {name: Entry(f"{self.where}.{name}", value) for name, value in self.value.items()}

    def fields(self, needed: Iterable[str], others: Iterable[str] = ()) -> Fields:
        """Entries by names that are known."""
        needed, others = tuple(needed), tuple(others)
        table = self.table()
        known = ", ".join([*needed, *others])
        for name in needed:
            if name not in table:
                raise ValueError(f"{self.where} has no entry {name!r}, which it needs; its entries are {known}")
        for name in table:
            if name not in (*needed, *others):
                raise ValueError(f"{self.where} has an unknown entry {name[:SHOWN]!r}; its entries are {known}")
        return Fields(table)


class Fields:
    """The entries of a table that there are."""

    def __init__(self, table: dict[str, Entry]) -> None:
        self._table = table

    def __getitem__(self, name: str) -> Entry:
        return self._table[name]

    def get(self, name: str, read: Callable[[Entry], T], default: T) -> T:
        """An entry, read; the default if there is none."""
        return read(self._table[name]) if name in self._table else default

    def optional(self, name: str, read: Callable[[Entry], T]) -> T | None:
        """An entry, read; None if there is none, or it is null."""
        entry = self._table.get(name)
        return None if entry is None or entry.is_none else read(entry)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)
