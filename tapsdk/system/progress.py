"""Progress bars for long work, on stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Wrap = Callable[[Iterable[Any], int | None, str], Iterable[Any]]
"""Puts a progress bar around frames: (frames, total, label)."""
Report = Callable[[str, int, int | None], None]
"""Is told what is being done, how many frames of it are done, and how many there are, if that is known."""


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
    # Of a stream that is not sys.stderr itself, tqdm looks for the width only if told.
    options: dict[str, Any] = {"total": total, "desc": label or None, "unit": unit, "dynamic_ncols": True}
    options["file"] = _Forgiving(sys.stderr)
    with _forced_bar(items, options) if force else _terminal_bar(items, options) as bar:
        yield from bar


def no_progress(frames: Iterable[Any], total: int | None, label: str) -> Iterable[Any]:
    return frames


def progress_bars(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    """Wherever stderr goes."""
    return with_progress(frames, total=total, label=label, force=True)


def terminal_bars(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
    """Only where stderr is a terminal."""
    return with_progress(frames, total=total, label=label)


def reports_to(report: Report) -> Wrap:
    """Tells a function what was done."""

    def wrap(frames: Iterable[Any], total: int | None, label: str) -> Iterator[Any]:
        for done, frame in enumerate(frames, 1):
            yield frame
            report(label, done, total)

    return wrap


def wrap_of(progress: bool | Report, bars: Wrap = progress_bars) -> Wrap:
    """What a caller's `progress` asks for: a function that is told, bars, or nothing."""
    return reports_to(progress) if callable(progress) else bars if progress else no_progress


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


class _Forgiving:
    """A stream that does not mind if nobody is there to read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return bool(self._stream.isatty())
        return False

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class ByteBar:
    """A bar in bytes that may be set back, on a terminal and if `show`; a context manager."""

    def __init__(self, label: str, show: bool) -> None:
        from tqdm import tqdm

        hidden = None if show and sys.stderr is not None else True
        file = _Forgiving(sys.stderr)
        self._bar = tqdm(desc=label, unit="B", unit_scale=True, unit_divisor=1024, disable=hidden, file=file)

    def at(self, done: int, total: int | None) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> ByteBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
