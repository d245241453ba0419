"""OpenVINO, which also runs ONNX: on the processor, on GPUs and NPUs. Every run writes into new tensors.

On the processor a graph is compiled once, for all sizes; elsewhere for each that comes. Kept tensors are ov.Tensors, or
the device's own where it has some.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.artifact.weights import Weights
from tapsdk.backends import PROCESSOR, Array, Options, Place, Tensor, run_failed
from tapsdk.backends.onnx_graph import whole_graph
from tapsdk.errors import ArtifactError, BackendError
from tapsdk.system.cache import cache_folder

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


Shapes: TypeAlias = tuple[tuple[int, ...], ...]
MOST_SIZES = 16
"""For which a graph is compiled at the same time, where each wants that; what was used longest ago goes."""


@dataclass(frozen=True)
class Kind:
    """Devices by the first part of their names.

    fixed: whether graphs are compiled for the sizes that come. stays: whether tensors can stay there.
    precision: what fp32 artifacts are computed in; those in half precision are in f16, but on the processor.
    """

    fixed: bool = False
    stays: bool = False
    precision: str = "f32"


KINDS = {
    # By default it computes in half precision where that is faster, and a recurrent state then drifts away.
    "CPU": Kind(),
    "GPU": Kind(fixed=True, stays=True),
    "NPU": Kind(fixed=True, precision="f16"),
}


@dataclass(frozen=True)
class Kept:
    """A tensor on the device; it does not say itself what it is made of."""

    tensor: Any
    dtype: Any
    shape: Any


class OpenVinoSession:
    """A stage, compiled for the sizes that come, or once for all of them."""

    def __init__(self, compiled: Callable[[Shapes | None], Compiled], stage: StageSpec, fixed: bool) -> None:
        self._fixed = fixed
        self._inputs = [t.name for t in stage.inputs]
        self._ready: OrderedDict[Shapes | None, Compiled] = OrderedDict()
        self._lock = threading.Lock()
        if fixed:
            self._compiled = compiled
        else:  # then the graph itself need not stay in memory
            self._ready[None] = compiled(None)

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        shapes = tuple(tuple(inputs[name].shape) for name in self._inputs) if self._fixed else None
        with self._lock:
            if shapes not in self._ready:
                self._ready[shapes] = self._compiled(shapes)
            self._ready.move_to_end(shapes)
            ready = self._ready[shapes]
            while len(self._ready) > MOST_SIZES:
                self._ready.popitem(last=False)
        return ready.run(inputs, keep)


class Compiled:
    """A graph that is ready to run."""

    def __init__(self, compiled: Any, stage: StageSpec, backend: OpenVino) -> None:
        self._compiled, self._backend = compiled, backend
        # Of requests nobody uses now. They share the weights; a thread that finds none makes one more.
        self._idle: list[Any] = []
        self._inputs = {t.name: compiled.input(t.name) for t in stage.inputs}
        self._outputs = {t.name: compiled.output(t.name) for t in stage.outputs}

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        # Left to itself a request writes into the same memory every time, under whatever was handed out before. Open
        # axes begin at zero and become as long as they must.
        outputs = {
            name: self._backend.new(port.element_type, port.partial_shape.get_min_shape(), stays=name in keep)
            for name, port in self._outputs.items()
        }
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            for name, value in inputs.items():
                request.set_tensor(self._inputs[name], _bare(_shared(value)))
            for name, tensor in outputs.items():
                request.set_tensor(self._outputs[name], _bare(tensor))
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
        self._device = (options.device or "CPU").upper().replace(":", ".")
        kind = self._device.partition(".")[0]
        # A device that is the only one of its kind has no number.
        names = {*self._core.available_devices, *(name.partition(".")[0] for name in self._core.available_devices)}
        if self._device not in names or kind not in KINDS:
            found = ", ".join(self._core.available_devices)
            raise BackendError(
                f"openvino has no device {options.device!r} here; it has {found}, and would have others with the "
                "drivers of an Intel GPU or NPU"
            )
        self._kind = KINDS[kind]
        self._context = self._core.get_default_context(self._device) if self._kind.stays else None
        on_processor = kind == "CPU"
        self.place = PROCESSOR if on_processor else Place(on_processor=False, few_shapes=True)
        self._config = {"INFERENCE_PRECISION_HINT": self._kind.precision}
        if options.threads and on_processor:
            self._config["INFERENCE_NUM_THREADS"] = str(options.threads)
        if not on_processor:  # what is compiled there takes seconds for each size
            self._config["CACHE_DIR"] = str(cache_folder("engines/openvino"))

    def describe(self) -> str:
        return f"openvino {ov.get_version().split('-')[0]} ({self._device})"

    def devices(self) -> tuple[str, ...]:
        return tuple(self._core.available_devices)

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> OpenVinoSession:
        config = dict(self._config)
        if file.precision == "fp16" and not self.place.on_processor:
            config["INFERENCE_PRECISION_HINT"] = "f16"

        def compiled(shapes: Shapes | None) -> Compiled:
            sized = model.clone() if shapes else model
            try:
                if shapes:
                    sized.reshape({t.name: list(shape) for t, shape in zip(stage.inputs, shapes, strict=True)})
                return Compiled(self._core.compile_model(sized, self._device, config), stage, self)
            except RuntimeError as error:
                where = f" for {list(shapes)}" if shapes else ""
                raise ArtifactError(f"openvino cannot load {file.path}{where}: {error}") from error

        try:
            model = self._core.read_model(*self._whole(file))
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"openvino cannot load {file.path}: {error}") from error
        found = tuple({name for port in ports for name in port.names} for ports in (model.inputs, model.outputs))
        declared = {t.name for t in stage.inputs}, {t.name for t in stage.outputs}
        # A tensor may have more names than one.
        if not all(few <= many for few, many in zip(declared, found, strict=True)):
            raise ArtifactError(f"{file.path} has inputs and outputs {found}, but the manifest declares {declared}")
        return OpenVinoSession(compiled, stage, self._kind.fixed)

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

    def new(self, dtype: Any, shape: Any, stays: bool) -> Tensor:
        """Memory for a tensor, on the device if it stays there."""
        if not stays or self._context is None:
            return ov.Tensor(dtype, shape)
        return Kept(self._context.create_tensor(dtype, ov.Shape(shape), {}), dtype, shape)

    def keep(self, array: Array) -> Tensor:
        ours = _shared(array)
        if self._context is None:
            return ours
        try:
            kept = self.new(ours.element_type, ours.shape, stays=True)
            kept.tensor.copy_from(ours)
        except RuntimeError as error:  # a device may have no room
            raise run_failed("openvino", error) from error
        return kept

    def fetch(self, tensor: Tensor) -> Array:
        if isinstance(tensor, Kept):
            ours = ov.Tensor(tensor.dtype, tensor.shape)
            tensor.tensor.copy_to(ours)
            return np.array(ours.data)
        return np.array(tensor.data)


def _shared(value: Array | Tensor) -> Tensor:
    """The memory of an array as a tensor, a copy of it where it must not be written to; a tensor as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return ov.Tensor(np.require(value, requirements=["C", "W"]), shared_memory=True)


def _bare(tensor: Tensor) -> Any:
    """As the engine takes it."""
    return tensor.tensor if isinstance(tensor, Kept) else tensor


def open(options: Options) -> OpenVino:
    return OpenVino(options)
