"""ONNX Runtime, on the processor or by another of its execution providers.

Kept tensors are OrtValues where the provider computes, handed over by IO binding without a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import onnxruntime as ort

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.artifact.protobuf import bytes_field
from tapsdk.backends import PROCESSOR, Array, Options, Place, Tensor, run_failed
from tapsdk.backends.onnx_graph import whole_graph
from tapsdk.backends.providers import PROVIDERS, check_available, parse_device
from tapsdk.errors import ArtifactError, BackendError
from tapsdk.system.cache import cache_folder
from tapsdk.system.machine import return_memory

DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class OnnxSession:
    def __init__(self, session: ort.InferenceSession, stage: StageSpec, memory: tuple[str, int], alone: bool) -> None:
        """memory: (device, number) where kept tensors are. alone: whether only one thread may run it at a time."""
        self._session, self._memory = session, memory
        self._outputs = [t.name for t in stage.outputs]
        self._turn: AbstractContextManager[object] = threading.Lock() if alone else nullcontext()

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
            else:
                binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, *(self._memory if name in keep else ("cpu",)))
        try:
            with self._turn:
                self._session.run_with_iobinding(binding)
        except Exception as error:  # the engine's own exceptions have no common base
            raise run_failed("onnxruntime", error) from error
        results = zip(self._outputs, binding.get_outputs(), strict=True)
        return {name: value if name in keep else value.numpy() for name, value in results}


class OnnxRuntime:
    name = "onnxruntime"
    formats = ("onnx",)

    def __init__(self, options: Options) -> None:
        self._word, self._which = parse_device(options.device)
        check_available(self._word, ort.get_available_providers(), ort.__version__)
        self._provider = PROVIDERS[self._word]
        self.threads = options.threads
        on_processor = self._word == "cpu"
        self.place = PROCESSOR if on_processor else Place(on_processor=False, few_shapes=True)
        number = self._which or self._provider.usual
        self._memory = self._provider.memory, int(number) if number.isdigit() else 0
        self._options = ort.SessionOptions()
        self._options.intra_op_num_threads = options.threads or 0
        self._options.log_severity_level = 4  # what goes wrong comes as an exception
        # Threads that spin while they wait slow everything down on a machine that does anything else besides.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # It has a format of its own, too, which nobody looked through.
        self._options.add_session_config_entry("session.load_model_format", "ONNX")
        if self._memory[0] == "dml":  # asks for both
            self._options.enable_mem_pattern = False
            self._options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        if not on_processor:
            self._start()

    def _start(self) -> None:
        """Raises BackendError if the provider does not start; ONNX Runtime would go on without it in silence."""
        preload = getattr(ort, "preload_dlls", None)
        if preload and "cuda" in (self._word, *self._provider.rest):
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
                preload()
        try:
            self._session(_smallest_graph(), "fp32")
        except Exception as error:  # the engine's own exceptions have no common base
            known = isinstance(error, BackendError)
            told = "ONNX Runtime would compute on the processor in its place" if known else str(error).strip()
            raise BackendError(
                f"backend 'onnxruntime' has {self._provider.name}, but on device {self._told()!r} it does not start; "
                f"it needs {self._provider.needs} ({told})"
            ) from error

    def _told(self) -> str:
        return f"{self._word}:{self._which}" if self._which else self._word

    def _session(self, graph: bytes, precision: str) -> ort.InferenceSession:
        """Raises BackendError if the provider that was asked for is not the one that computes."""
        rows = [self._provider, *(PROVIDERS[word] for word in self._provider.rest)]
        providers = [(row.name, row.started_with(self._which, self._cache(), precision)) for row in rows]
        if self._provider.name != PROVIDERS["cpu"].name:
            providers.append((PROVIDERS["cpu"].name, {}))
        session = ort.InferenceSession(graph, self._options, providers=providers, enable_fallback=0)
        session.disable_fallback()  # it would print, and compute elsewhere
        found = session.get_providers()
        if found[:1] != [self._provider.name]:
            raise BackendError(f"onnxruntime took {', '.join(found)} in place of {self._provider.name}")
        return session

    def _cache(self) -> str:
        """A folder for what the provider compiles, which other versions of it cannot read."""
        if not any("{cache}" in text for text in self._provider.options.values()):
            return ""
        about = hashlib.sha256(f"{ort.__version__} {self._told()}".encode()).hexdigest()[:16]
        return str(cache_folder(f"engines/{self._word}-{about}"))

    def describe(self) -> str:
        device = "" if self._word == "cpu" else f", {self._told()}"
        return f"onnxruntime {ort.__version__} ({self._provider.name}{device})"

    def devices(self) -> tuple[str, ...]:
        here = ort.get_available_providers()
        return tuple(word for word, row in PROVIDERS.items() if row.name in here)

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> OnnxSession:
        try:
            session = self._session(whole_graph(file), file.precision)
        except BackendError:
            raise
        except Exception as error:  # the engine's own exceptions have no common base
            raise ArtifactError(f"onnxruntime cannot load {file.path}: {error}") from error
        session._model_bytes = b""  # it would keep them for as long as it lives, to start again with other providers
        return_memory()  # constants of the graph pass through several times their size
        found = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
        declared = {t.name for t in stage.inputs}, {t.name for t in stage.outputs}
        if found != declared:
            raise ArtifactError(f"{file.path} has inputs and outputs {found}, but the manifest declares {declared}")
        _check_shapes(file, stage, {each.name: each for each in (*session.get_inputs(), *session.get_outputs())})
        return OnnxSession(session, stage, self._memory, self._provider.one_at_a_time)

    def keep(self, array: Array) -> Tensor:
        try:
            return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *self._memory)
        except RuntimeError as error:  # a device may have no room
            raise run_failed("onnxruntime", error) from error

    def fetch(self, tensor: Tensor) -> Array:
        # A view would outlive the array behind a tensor that `keep` made.
        return np.array(tensor.numpy())


def _smallest_graph() -> bytes:
    """y = x of one float, in the fields of onnx.proto."""

    def message(*fields: tuple[int, bytes]) -> bytes:
        return b"".join(b"".join(bytes_field(number, [value])) for number, value in fields)

    def number(field: int, value: int) -> bytes:
        return bytes([field << 3, value])

    shape = message((1, number(1, 1)))
    kind = message((1, number(1, 1) + message((2, shape))))
    node = message((1, b"x"), (2, b"y"), (4, b"Identity"))
    graph = message((1, node), (2, b"start"), (11, message((1, b"x"), (2, kind))), (12, message((1, b"y"), (2, kind))))
    return number(1, 8) + message((7, graph), (8, message((1, b"")) + number(2, 17)))


def _check_shapes(file: Content, stage: StageSpec, found: Mapping[str, ort.NodeArg]) -> None:
    """Raises ArtifactError for a tensor that the graph fixes otherwise than the manifest does."""
    for tensor in (*stage.inputs, *stage.outputs):
        shape, dtype = found[tensor.name].shape, DTYPES.get(found[tensor.name].type)
        sizes = zip(shape, tensor.shape, strict=False)
        differ = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes)
        if differ or len(shape) != len(tensor.shape) or dtype != tensor.dtype:
            raise ArtifactError(
                f"{file.path} has {tensor.name!r} as {dtype} {shape}, but the manifest declares {tensor.dtype} "
                f"{list(tensor.shape)}"
            )


def open(options: Options) -> OnnxRuntime:
    return OnnxRuntime(options)
