"""LiteRT, formerly TensorFlow Lite, on the CPU by its XNNPACK delegate.

Its Python interface copies arrays in and out of the engine's memory. So a kept tensor is the copy that came out of one
call, and goes into the next as it is. When the engine starts it says so on stderr, once per process; it has no switch
for that.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection, Mapping
from importlib.metadata import version
from weakref import WeakValueDictionary

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec, entry_point
from tapsdk.backends import PROCESSOR, Array, Options, Tensor, check_cpu_only, run_failed
from tapsdk.errors import ArtifactError, BackendError
from tapsdk.system.machine import cores

IDENTIFIER = b"TFL3"
EXTERNAL = (8, 9)
"""Fields of the model's table that name other files, and what to read there."""


class LitertSession:
    def __init__(self, runner: SignatureRunner, stage: StageSpec, lock: threading.Lock) -> None:
        """lock: of the interpreter, which has one set of tensors for everyone."""
        self._runner, self._lock = runner, lock
        self._shapes = {name: tuple(details["shape"]) for name, details in runner.get_input_details().items()}
        self._outputs = [t.name for t in stage.outputs]

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        shapes = {name: array.shape for name, array in inputs.items()}
        if shapes != self._shapes:  # the engine would try to take other ones, and break
            raise BackendError(f"litert failed: it got inputs of {shapes}, but takes {self._shapes}")
        try:
            with self._lock:
                found = self._runner(**inputs)
        except (RuntimeError, ValueError) as error:
            raise run_failed("litert", error) from error
        return {name: found[name] for name in self._outputs}


class Litert:
    name = "litert"
    formats = ("tflite",)
    place = PROCESSOR

    def __init__(self, options: Options) -> None:
        check_cpu_only(self.name, options.device)
        self.threads = options.threads
        # Left to itself the engine takes a single thread.
        self._threads = options.threads or cores()
        # The entry points of a file share an interpreter, which holds the weights.
        self._lock = threading.Lock()
        self._interpreters: WeakValueDictionary[str, Interpreter] = WeakValueDictionary()

    def describe(self) -> str:
        return f"litert {version('ai-edge-litert')} (CPU, XNNPACK)"

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> LitertSession:
        interpreter, entry = self._interpreter(file), entry_point(stage, points or 0)
        entries = interpreter.get_signature_list()
        if entry not in entries:
            raise ArtifactError(f"{file.path} has no entry point {entry!r}; it has {', '.join(sorted(entries))}")
        found = {kind: set(names) for kind, names in entries[entry].items()}
        declared = {"inputs": {t.name for t in stage.inputs}, "outputs": {t.name for t in stage.outputs}}
        if found != declared:
            raise ArtifactError(f"{file.path} has {found} in {entry!r}, but the manifest declares {declared}")
        return LitertSession(interpreter.get_signature_runner(entry), stage, self._lock)

    def _interpreter(self, file: Content) -> Interpreter:
        interpreter = self._interpreters.get(file.sha256)
        if interpreter is None:
            try:
                check_whole(file.data)
                interpreter = Interpreter(model_content=file.data, num_threads=self._threads)
            except (RuntimeError, ValueError, struct.error) as error:
                raise ArtifactError(f"litert cannot load {file.path}: {error}") from error
            self._interpreters[file.sha256] = interpreter
        return interpreter

    def keep(self, array: Array) -> Tensor:
        return np.ascontiguousarray(array)

    def fetch(self, tensor: Tensor) -> Array:
        # What is kept may be the array that was given.
        return np.array(tensor)


def check_whole(model: bytes) -> None:
    """Raises ValueError for a model with buffers in other files, ValueError or struct.error for none at all."""
    if model[4:8] != IDENTIFIER:
        raise ValueError("it is not a TFLite model")
    (root,) = struct.unpack_from("<I", model)
    (back,) = struct.unpack_from("<i", model, root)
    table = root - back
    if table < 0:
        raise ValueError("it is damaged")
    (size,) = struct.unpack_from("<H", model, table)
    for field in EXTERNAL:
        place = 4 + 2 * field
        if place + 2 <= size and struct.unpack_from("<H", model, table + place) != (0,):
            raise ValueError("it keeps buffers in other files, where nobody checks them")


def open(options: Options) -> Litert:
    return Litert(options)
