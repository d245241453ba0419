"""Progress bars for long work, on stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def with_progress(
    items: Iterable[Item],
    *,
    total: int | None = None,
    label: str = "",
    unit: str = "frame",
    force: bool = False,
) -> Iterator[Item]:
    """The same items, with a bar on stderr while they are taken.

    total: how many there are, None if unknown. The bar shows only on a terminal, unless `force`: then it shows wherever
    stderr goes, in a notebook as the notebook's own.
    """
    if sys.stderr is None:
        yield from items
        return
    options: dict[str, Any] = {"total": total, "desc": label or None, "unit": unit}
    with _forced_bar(items, options) if force else _terminal_bar(items, options) as bar:
        yield from bar


def _terminal_bar(items: Iterable[Item], options: dict[str, Any]) -> Any:
    from tqdm import tqdm

    return tqdm(items, disable=None, **options)


def _forced_bar(items: Iterable[Item], options: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            # A notebook without widgets gets the bar in text, without being told to install them.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm

            return tqdm(items, disable=False, **options)
    except Exception:  # widgets that do not fit their notebook fail in many ways
        from tqdm.std import tqdm

        return tqdm(items, disable=False, **options)
