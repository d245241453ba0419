"""Measurements on disk, so that they are made once: one small file each, whole or not there."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from tapsdk.errors import SaveError
from tapsdk.system.cache import cache_directory
from tapsdk.system.files import AtomicFile
from tapsdk.system.reading import read_json

logger = logging.getLogger(__name__)

FOLDER = "probes"
VERSION = 1
VARIABLE = "TAPSDK_PROBE"
"""Environment variable; "anew" measures again and replaces what was kept."""

Key = Mapping[str, Any]
"""Everything that a measurement depends on, as JSON has it."""


@dataclass(frozen=True)
class Measurement:
    """A backend with a plan: milliseconds per frame and pixels off the reference, or why it was refused."""

    backend: str
    plan: str
    milliseconds: float | None = None
    pixel_error: float | None = None
    refused: str = ""

    @property
    def name(self) -> str:
        """As `backend=` takes it."""
        return f"{self.backend}:{self.plan}"


_remembered: dict[str, list[Measurement]] = {}
"""By name of the file: what this process measured or read, also where nothing can be kept."""


def load(key: Key) -> list[Measurement] | None:
    """What was kept for a key; None if there is nothing, or nothing that can be read."""
    name = _name(key)
    if name not in _remembered and os.environ.get(VARIABLE) != "anew":
        found = _read(name, key)
        if found is not None:
            _remembered[name] = found
    return _remembered.get(name)


def _read(name: str, key: Key) -> list[Measurement] | None:
    try:
        path = cache_directory() / FOLDER / name
        table = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError) as error:
        logger.warning("a measurement that was kept cannot be read, and is made again: %s", error)
        return None
    try:
        if table["key"] != key:
            raise ValueError("it is of something else")
        return [_measurement(row) for row in table["measurements"]]
    except Exception as error:
        logger.warning("%s is damaged, and is made again: %s", path, error)
        return None


def save(key: Key, measurements: Sequence[Measurement]) -> None:
    """Keeps measurements for a key, if the cache can be written to."""
    name = _name(key)
    _remembered[name] = list(measurements)
    table = {"key": key, "measurements": [asdict(each) for each in measurements]}
    try:
        path = cache_directory() / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(path) as file:
            file.write(json.dumps(table, indent=1).encode())
    except (OSError, SaveError, RuntimeError) as error:
        logger.info("the measurement is not kept, and will be made again: %s", error)


def forget() -> int:
    """Removes everything that was kept, as far as possible; returns how many measurements that were."""
    _remembered.clear()
    gone = 0
    with suppress(OSError, RuntimeError):
        for path in (cache_directory() / FOLDER).glob("*.json"):
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def _name(key: Key) -> str:
    text = json.dumps([VERSION, key], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _measurement(row: Mapping[str, Any]) -> Measurement:
    unknown = set(row) - {f.name for f in fields(Measurement)}
    measured = Measurement(**row)
    numbers = measured.milliseconds, measured.pixel_error
    texts = measured.backend, measured.plan, measured.refused
    if unknown or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{dict(row)} is not a measurement")
    if not all(number is None or type(number) in (int, float) for number in numbers):
        raise ValueError(f"{dict(row)} has no numbers where they should be")
    if measured.milliseconds is not None and not 0 <= measured.milliseconds < math.inf:
        raise ValueError(f"{measured.name} took {measured.milliseconds} ms")
    if measured.milliseconds is None and not measured.refused:
        raise ValueError(f"{measured.name} was neither measured nor refused")
    return measured
