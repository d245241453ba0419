"""Core ML on a Mac: CPU, GPU and Neural Engine.

coremltools gives arrays and takes arrays, so a kept tensor is the array that came out of one call and goes into the
next as it is.
"""

from __future__ import annotations

import importlib
import logging
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec, entry_point
from tapsdk.backends import PROCESSOR, Array, Options, Tensor, run_failed
from tapsdk.backends.coreml_package import unpack
from tapsdk.errors import ArtifactError, BackendError

COMPUTE_UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "cpu+gpu": "CPU_AND_GPU", "cpu+ane": "CPU_AND_NE"}
"""Devices: which of a Mac's processors to use; all of them unless told otherwise."""

NOISE = (
    # It names the last version that its makers tested. What it makes of ours is verified at every export.
    "Torch version ",
    # Parts that exist on macOS alone; whoever needs them is told so.
    "Failed to load _ML",
    # Shapes and axes, all of them small numbers.
    "Saving value type of int64 into a builtin type of int32",
)


def _tells_something(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(NOISE)


def import_coremltools() -> Any:
    """The package, without what it logs to no one's use."""
    logger = logging.getLogger("coremltools")
    logger.removeFilter(_tells_something)
    logger.addFilter(_tells_something)
    return importlib.import_module("coremltools")


class CoreMlSession:
    def __init__(self, model: Any, stage: StageSpec) -> None:
        self._model = model
        # Its documentation promises nothing of predictions at the same time.
        self._lock = threading.Lock()
        self._outputs = [t.name for t in stage.outputs]

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        try:
            with self._lock:
                found = self._model.predict(dict(inputs))
        except Exception as error:  # its own exceptions have no common base
            raise run_failed("coreml", error) from error
        return {name: np.asarray(found[name], np.float32) for name in self._outputs}


class CoreMl:
    name = "coreml"
    formats = ("coreml",)
    place = PROCESSOR
    """As far as a plan has to know: its tensors are arrays."""

    def __init__(self, coremltools: Any, units: str) -> None:
        self._coremltools, self._units = coremltools, units

    def describe(self) -> str:
        return f"coreml (coremltools {self._coremltools.__version__}, {self._units})"

    def devices(self) -> tuple[str, ...]:
        return tuple(COMPUTE_UNITS)

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> CoreMlSession:
        entry = entry_point(stage, points or 0)
        units = getattr(self._coremltools.ComputeUnit, COMPUTE_UNITS[self._units])
        # It takes nothing but paths, so it gets a copy that nobody else can change.
        folder = tempfile.mkdtemp(prefix="tapsdk-")
        try:
            path = unpack(file, Path(folder))
            model = self._coremltools.models.MLModel(str(path), compute_units=units, function_name=entry)
        except Exception as error:  # its own exceptions have no common base
            shutil.rmtree(folder, ignore_errors=True)
            raise ArtifactError(f"coreml cannot load {file.path}, function {entry!r}: {error}") from error
        session = CoreMlSession(model, stage)
        weakref.finalize(session, shutil.rmtree, folder, ignore_errors=True)
        return session

    def keep(self, array: Array) -> Tensor:
        return np.ascontiguousarray(array)

    def fetch(self, tensor: Tensor) -> Array:
        # What is kept may be the array that was given.
        return np.array(tensor)


def open(options: Options) -> CoreMl:
    if sys.platform != "darwin":
        raise BackendError("backend 'coreml' cannot be used: Core ML runs on macOS, from version 15 on")
    units = (options.device or "all").lower()
    if units not in COMPUTE_UNITS:
        raise BackendError(f"coreml has no device {units!r}; use one of {', '.join(COMPUTE_UNITS)}")
    return CoreMl(import_coremltools(), units)
