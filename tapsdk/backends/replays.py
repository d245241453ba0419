"""Work that is recorded once for every size of what goes in, and replayed from then on, as CUDA graphs are.

A recording reads from memory of its own, and writes to the same memory each time. So what goes in is copied there, and
what comes out is copied from there, for one caller at a time. A size is recorded when it comes for the third time:
points that come and go should not each leave a recording behind.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

logger = logging.getLogger(__name__)

Tensors: TypeAlias = Sequence[Any]
"""Of an engine that gives them `shape`, `clone` and `copy_`, as PyTorch does."""
Work: TypeAlias = Callable[..., Tensors]
Record: TypeAlias = Callable[[Work, Tensors], tuple[Callable[[], object], Tensors]]
"""Takes work and the tensors that it will always read; gives what does it again, and the tensors that it writes."""
Sizes: TypeAlias = tuple[tuple[int, ...], ...]

BEFORE = 2
"""Times that a size is worked on without a recording."""
MOST = 8
"""Recordings; what was used longest ago goes. Each holds the memory of all that it computes."""
MOST_COUNTED = 1024
"""Sizes whose times are counted."""


@dataclass(frozen=True)
class Recording:
    inputs: Tensors
    replay: Callable[[], object]
    outputs: Tensors

    def __call__(self, inputs: Tensors) -> list[Any]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.replay()
        return [each.clone() for each in self.outputs]


class Replays:
    """Does some work, by recordings where it can. What fails to be recorded is done without, and logged once."""

    def __init__(self, work: Work, record: Record) -> None:
        self._work, self._record = work, record
        self._recordings: OrderedDict[Sizes, Recording] = OrderedDict()
        self._times: dict[Sizes, int] = {}
        self._lock = threading.Lock()
        self._able = True

    @property
    def recordings(self) -> int:
        """How many there are."""
        return len(self._recordings)

    def __call__(self, inputs: Tensors) -> Tensors:
        sizes = tuple(tuple(each.shape) for each in inputs)
        with self._lock:
            recording = self._recording(sizes, inputs) if self._able else None
            if recording is not None:
                return recording(inputs)
        return self._work(*inputs)

    def _recording(self, sizes: Sizes, inputs: Tensors) -> Recording | None:
        if sizes not in self._recordings:
            if len(self._times) >= MOST_COUNTED:
                self._times.clear()
            self._times[sizes] = self._times.get(sizes, 0) + 1
            if self._times[sizes] <= BEFORE:
                return None
            try:
                own = [each.clone() for each in inputs]
                self._recordings[sizes] = Recording(own, *self._record(self._work, own))
            except Exception as error:  # whatever it is, the work can be done without
                logger.warning("what is computed cannot be recorded and replayed, and takes longer: %s", error)
                self._able = False
                self._recordings.clear()
                return None
            del self._times[sizes]
            while len(self._recordings) > MOST:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(sizes)
        return self._recordings[sizes]
