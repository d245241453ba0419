"""Engines that run compiled stages, one file each, behind two protocols.

A backend knows formats and devices and nothing of models. Its `Tensor`s stay where the engine computes: the runtime
hands them from one call to the next without looking inside.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends.devices import DEVICES
from tapsdk.backends.providers import PROVIDERS
from tapsdk.errors import BackendError
from tapsdk.geometry import Size

Tensor = Any
"""What a backend keeps on its side; opaque to everyone else."""
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to start an engine.

    device: as the engine names it, such as "cpu", "cuda:1" or "GPU"; None for its own choice.
    threads: of the CPU; None for its own choice.
    """

    device: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Place:
    """Where a backend computes, as far as a plan has to know.

    on_processor: whether that is the processor, so that arrays go in and out for nothing, and kernels between stages
        are worth their while.
    few_shapes: whether sizes that come for the first time cost it time or memory, so that numbers of points are better
        rounded up.
    resize: makes of an image [H, W, 3], uint8 or float32 in [0, 1], a kept tensor [1, h, w, 3] of (height, width) in a
        range, where that is done best on the backend's side; None: tapkernels does it on ours.
    """

    on_processor: bool = True
    few_shapes: bool = False
    resize: Callable[[Array, Size, tuple[float, float]], Tensor] | None = None


PROCESSOR = Place()


class Session(Protocol):
    """A compiled stage. Several threads may run it at the same time; what they run with it is the engine's business."""

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        """Named arrays or kept tensors in; every output by name, as a kept tensor where `keep` names it."""


class Backend(Protocol):
    """An engine."""

    name: str
    formats: tuple[str, ...]
    threads: int | None
    """Of the CPU, as it was asked for; what else computes for the same model keeps to it, too."""
    place: Place

    def describe(self) -> str:
        """Engine, version and device, for reports."""

    def devices(self) -> tuple[str, ...]:
        """What `device=` may name of what is here."""

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> Session:
        """A stage ready to run, from the bytes that were checked and nothing else.

        points: the bucket, in formats with an entry point for each; None: any number. Raises ArtifactError for a file
        that cannot be loaded, or that is not all there is to it.
        """

    def keep(self, array: Array) -> Tensor:
        """Moves an array to the backend's side, which may go on using the same memory."""

    def fetch(self, tensor: Tensor) -> Array:
        """Copies a kept tensor into an array."""


@dataclass(frozen=True)
class EngineInfo:
    """What is known of an engine before it is imported."""

    module: str
    engine: str
    """The package that is imported, for the error when it is missing."""
    install: str
    formats: tuple[str, ...] = ("onnx",)
    """As the backend itself says."""
    platforms: tuple[str, ...] = ()
    """Where the engine exists, as `sys.platform` names them; none: everywhere."""
    device_variable: str = ""
    """Environment variable with the device to take unless one is asked for; none: there is a single one."""
    devices: tuple[str, ...] = ()
    """What `device=` may begin with, in small letters, wherever it is installed; none: nobody knows."""

    def may_have(self, device: str | None) -> bool:
        """Whether the engine knows such a device, which need not be here; None: its own choice."""
        return not (device and self.devices) or re.split(r"[:.]", device.lower())[0] in self.devices


BACKENDS: dict[str, EngineInfo] = {
    "onnxruntime": EngineInfo(
        "tapsdk.backends.onnxruntime",
        "onnxruntime",
        "pip install tapsdk",
        ("onnx",),
        device_variable="TAPSDK_ONNXRUNTIME_DEVICE",
        devices=tuple(PROVIDERS),
    ),
    "openvino": EngineInfo(
        "tapsdk.backends.openvino",
        "openvino",
        "pip install 'tapsdk[openvino]'",
        ("openvino", "onnx"),
        device_variable="TAPSDK_OPENVINO_DEVICE",
        devices=tuple(DEVICES["openvino"]),
    ),
    "litert": EngineInfo(
        "tapsdk.backends.litert",
        "ai_edge_litert",
        "pip install 'tapsdk[litert]'",
        ("tflite",),
        devices=tuple(DEVICES["litert"]),
    ),
    "coreml": EngineInfo(
        "tapsdk.backends.coreml",
        "coremltools",
        "pip install 'tapsdk[coreml]'",
        ("coreml",),
        platforms=("darwin",),
        device_variable="TAPSDK_COREML_UNITS",
        devices=tuple(DEVICES["coreml"]),
    ),
    "torch": EngineInfo(
        "tapsdk.backends.torch",
        "torch",
        "pip install 'tapsdk[torch]'",
        ("torch",),
        device_variable="TAPSDK_TORCH_DEVICE",
        devices=tuple(DEVICES["torch"]),
    ),
}


def with_defaults(name: str, options: Options) -> Options:
    """The options with the device that the environment names for this backend, where none is asked for."""
    variable = BACKENDS[name].device_variable
    device = options.device or (os.environ.get(variable) if variable else None) or None
    return replace(options, device=device)


def open_backend(name: str, options: Options = Options()) -> Backend:
    """Starts the named engine. Raises BackendError that says why it cannot run here and what to install."""
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; use one of auto, {', '.join(BACKENDS)}")
    row, wanted = BACKENDS[name], with_defaults(name, options)
    try:
        module = importlib.import_module(row.module)
        return module.open(wanted)  # type: ignore[no-any-return]
    except BackendError as error:
        if wanted.device == options.device:
            raise
        raise BackendError(f"{error}. {row.device_variable} asks for {wanted.device!r}") from error
    except ImportError as error:
        raise BackendError(
            f"backend {name!r} cannot be used: importing {row.engine} failed ({error}). Install it with: {row.install}"
        ) from error


_OUT_OF_MEMORY = re.compile(
    r"(enough|of|of host|of device|allocate) memory|bad alloc|resource exhausted|alloc\w* fail|fail\w* to alloc",
    re.IGNORECASE,
)


def run_failed(engine: str, error: Exception) -> BackendError:
    """What an engine raised while it ran, as a BackendError; where memory is short it says what to do."""
    said = str(error) or type(error).__name__
    short = isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(said.replace("_", " "))
    hint = "; there is not enough memory: track fewer points at once, or at a smaller resolution" if short else ""
    return BackendError(f"{engine} failed: {said}{hint}")


def check_cpu_only(name: str, device: str | None) -> None:
    """For engines that run on the processor alone. Raises BackendError for another device."""
    if device is not None and device.lower() != "cpu":
        raise BackendError(f"backend {name!r} has no device {device!r}: it runs on the processor alone, device 'cpu'")
