"""Progress bars for long work, on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

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

    total: how many there are, None if unknown. The bar shows only on a terminal, unless `force`.
    """
    from tqdm import tqdm

    with tqdm(items, total=total, desc=label or None, unit=unit, disable=False if force else None) as bar:
        yield from bar
