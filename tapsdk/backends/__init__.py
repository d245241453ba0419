"""Engines that run compiled stages, one file each, behind two protocols.

A backend knows formats and devices and nothing of models. Its `Tensor`s stay where the engine computes: the runtime
hands them from one call to the next without looking inside.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tapsdk.artifact.manifest import StageSpec
from tapsdk.errors import BackendError

Tensor = Any
"""What a backend keeps on its side; opaque to everyone else."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Options:
    """How to run: threads of the CPU, None for the engine's own choice."""

    threads: int | None = None


class Session(Protocol):
    """A compiled stage."""

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        """Named arrays or kept tensors in; every output by name, as a kept tensor where `keep` names it."""


class Backend(Protocol):
    """An engine."""

    name: str
    formats: tuple[str, ...]

    def describe(self) -> str:
        """Engine, version and device, for reports."""

    def open(self, file: Path, stage: StageSpec, points: int | None = None) -> Session:
        """A stage ready to run. points: the bucket, in formats with an entry point for each; None: any number."""

    def keep(self, array: Array) -> Tensor:
        """Moves an array to the backend's side, which may go on using the same memory."""

    def fetch(self, tensor: Tensor) -> Array:
        """Copies a kept tensor into an array."""


@dataclass(frozen=True)
class Row:
    """What is known of an engine before it is imported."""

    module: str
    engine: str
    """The package that is imported, for the error when it is missing."""
    install: str
    formats: tuple[str, ...] = ("onnx",)
    """As the backend itself says."""
    platforms: tuple[str, ...] = ()
    """Where the engine exists, as `sys.platform` names them; none: everywhere."""


BACKENDS: dict[str, Row] = {
    "onnxruntime": Row("tapsdk.backends.onnxruntime", "onnxruntime", "pip install tapsdk", ("onnx",)),
    "openvino": Row("tapsdk.backends.openvino", "openvino", "pip install 'tapsdk[openvino]'", ("openvino", "onnx")),
    "litert": Row("tapsdk.backends.litert", "ai_edge_litert", "pip install 'tapsdk[litert]'", ("tflite",)),
    "coreml": Row(
        "tapsdk.backends.coreml", "coremltools", "pip install 'tapsdk[coreml]'", ("coreml",), platforms=("darwin",)
    ),
    "torch": Row("tapsdk.backends.torch", "torch", "pip install 'tapsdk[torch]'", ("torch",)),
}


def open_backend(name: str, options: Options | None = None) -> Backend:
    """Starts the named engine. Raises BackendError that says why it cannot run here and what to install."""
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; use one of auto, {', '.join(BACKENDS)}")
    row = BACKENDS[name]
    try:
        module = importlib.import_module(row.module)
        return module.open(options or Options())  # type: ignore[no-any-return]
    except ImportError as error:
        raise BackendError(
            f"backend {name!r} cannot be used: importing {row.engine} failed ({error}). Install it with: {row.install}"
        ) from error


def as_array(value: Array | Tensor, backend: Backend) -> Array:
    return value if isinstance(value, np.ndarray) else backend.fetch(value)
