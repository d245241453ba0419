"""OpenVINO, which also runs ONNX. Kept tensors are ov.Tensors; every run writes into new ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.artifact.weights import Weights
from tapsdk.backends import Array, Options, Tensor, run_failed
from tapsdk.backends.onnx_graph import whole_graph
from tapsdk.errors import ArtifactError, BackendError

MODEL = "model.xml"
"""A stage is a file like this, with its weights in the artifact's, or a folder with both of these."""
WEIGHTS = "model.bin"
XML = (b"<?xml", b"<net")
TELEMETRY = "openvino_telemetry"


def _import_openvino() -> Any:
    """The package. Its import would report to its maker and leave an identifier in the user's home folder."""
    if TELEMETRY in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # then it cannot be imported, and OpenVINO does without
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[TELEMETRY]


ov = _import_openvino()


class OpenVinoSession:
    def __init__(self, compiled: Any, stage: StageSpec) -> None:
        self._compiled = compiled
        # Of requests nobody uses now. They share the weights; a thread that finds none makes one more.
        self._idle: list[Any] = []
        self._inputs = {t.name: compiled.input(t.name) for t in stage.inputs}
        self._outputs = {t.name: compiled.output(t.name) for t in stage.outputs}

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        # Left to itself a request writes into the same memory every time, under whatever was handed out before. Open
        # axes begin at zero and become as long as they must.
        outputs = {n: ov.Tensor(p.element_type, p.partial_shape.get_min_shape()) for n, p in self._outputs.items()}
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            for name, value in inputs.items():
                request.set_tensor(self._inputs[name], _shared(value))
            for name, tensor in outputs.items():
                request.set_tensor(self._outputs[name], tensor)
            request.infer()
        except RuntimeError as error:
            raise run_failed("openvino", error) from error
        finally:
            self._idle.append(request)
        return {name: tensor if name in keep else tensor.data for name, tensor in outputs.items()}


class OpenVino:
    name = "openvino"
    formats = ("openvino", "onnx")

    def __init__(self, options: Options) -> None:
        self._core = ov.Core()
        self.threads = options.threads
        self._weights = WeakKeyDictionary[Weights, Tensor]()
        self._device = (options.device or "CPU").upper()
        if self._device not in self._core.available_devices:
            found = ", ".join(self._core.available_devices)
            raise BackendError(f"openvino has no device {self._device!r} here; it has {found}")
        # By default it computes in half precision where that is faster, and a recurrent state then drifts away.
        self._config = {"INFERENCE_PRECISION_HINT": "f32"}
        if options.threads:
            self._config["INFERENCE_NUM_THREADS"] = str(options.threads)

    def describe(self) -> str:
        return f"openvino {ov.get_version().split('-')[0]} ({self._device})"

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> OpenVinoSession:
        try:
            compiled = self._core.compile_model(self._core.read_model(*self._whole(file)), self._device, self._config)
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"openvino cannot load {file.path}: {error}") from error
        found = tuple({name for port in ports for name in port.names} for ports in (compiled.inputs, compiled.outputs))
        declared = {t.name for t in stage.inputs}, {t.name for t in stage.outputs}
        # A tensor may have more names than one.
        if not all(few <= many for few, many in zip(declared, found, strict=True)):
            raise ArtifactError(f"{file.path} has inputs and outputs {found}, but the manifest declares {declared}")
        return OpenVinoSession(compiled, stage)

    def _whole(self, file: Content) -> tuple[bytes, Tensor]:
        """The model and its weights: of the artifact, or of a folder; an ONNX graph has them inside.

        Raises ValueError for anything else; the engine would try it as a file of every other format that it knows.
        """
        model = file.parts.get("", file.parts.get(MODEL, b""))
        if model.lstrip().startswith(XML):
            shared = file.weights if "" in file.parts else None
            return model, file.parts.get(WEIGHTS, b"") if shared is None else self._in_memory(shared)
        if "" in file.parts:
            return whole_graph(file), b""
        raise ValueError(f"it has no {MODEL}, or one that is no XML")

    def _in_memory(self, weights: Weights) -> Tensor:
        """The whole file, in memory that is the engine's, once for all stages that are opened one after the other."""
        if weights not in self._weights:
            tensor = self._weights[weights] = ov.Tensor(ov.Type.u8, [len(weights.content.data)])
            tensor.data[:] = np.frombuffer(weights.content.data, np.uint8)
        return self._weights[weights]

    def keep(self, array: Array) -> Tensor:
        return _shared(array)

    def fetch(self, tensor: Tensor) -> Array:
        return np.array(tensor.data)


def _shared(value: Array | Tensor) -> Tensor:
    """The memory of an array as a tensor, a copy of it where it must not be written to; a tensor as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return ov.Tensor(np.require(value, requirements=["C", "W"]), shared_memory=True)


def open(options: Options) -> OpenVino:
    return OpenVino(options)
