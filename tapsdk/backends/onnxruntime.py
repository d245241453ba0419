"""ONNX Runtime on the CPU. Kept tensors are OrtValues, handed over by IO binding without a copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnxruntime as ort

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends import Array, Options, Tensor, check_cpu_only, run_failed
from tapsdk.backends.onnx_graph import whole_graph
from tapsdk.errors import ArtifactError
from tapsdk.system.machine import return_memory

PROVIDER = "CPUExecutionProvider"
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class OnnxSession:
    def __init__(self, session: ort.InferenceSession, stage: StageSpec) -> None:
        self._session = session
        self._outputs = [t.name for t in stage.outputs]

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
            else:
                binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # the engine's own exceptions have no common base
            raise run_failed("onnxruntime", error) from error
        results = zip(self._outputs, binding.get_outputs(), strict=True)
        return {name: value if name in keep else value.numpy() for name, value in results}


class OnnxRuntime:
    name = "onnxruntime"
    formats = ("onnx",)

    def __init__(self, options: Options) -> None:
        check_cpu_only(self.name, options.device)
        self.threads = options.threads
        self._options = ort.SessionOptions()
        self._options.intra_op_num_threads = options.threads or 0
        self._options.log_severity_level = 4  # what goes wrong comes as an exception
        # Threads that spin while they wait slow everything down on a machine that does anything else besides.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # It has a format of its own, too, which nobody looked through.
        self._options.add_session_config_entry("session.load_model_format", "ONNX")

    def describe(self) -> str:
        return f"onnxruntime {ort.__version__} ({PROVIDER})"

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> OnnxSession:
        try:
            session = ort.InferenceSession(whole_graph(file), self._options, providers=[PROVIDER])
        except Exception as error:  # the engine's own exceptions have no common base
            raise ArtifactError(f"onnxruntime cannot load {file.path}: {error}") from error
        session._model_bytes = b""  # it would keep them for as long as it lives, to start again with other providers
        return_memory()  # constants of the graph pass through several times their size
        found = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
        declared = {t.name for t in stage.inputs}, {t.name for t in stage.outputs}
        if found != declared:
            raise ArtifactError(f"{file.path} has inputs and outputs {found}, but the manifest declares {declared}")
        _check_shapes(file, stage, {each.name: each for each in (*session.get_inputs(), *session.get_outputs())})
        return OnnxSession(session, stage)

    def keep(self, array: Array) -> Tensor:
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))

    def fetch(self, tensor: Tensor) -> Array:
        # A view would outlive the array behind a tensor that `keep` made.
        return np.array(tensor.numpy())


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
