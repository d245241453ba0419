"""ONNX Runtime on the CPU. Kept tensors are OrtValues, handed over by IO binding without a copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends import Array, Options, Tensor, check_cpu_only, run_failed
from tapsdk.errors import ArtifactError

PROVIDER = "CPUExecutionProvider"


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
        self._options = ort.SessionOptions()
        self._options.intra_op_num_threads = options.threads or 0
        self._options.log_severity_level = 4  # what goes wrong comes as an exception
        # Threads that spin while they wait slow everything down on a machine that does anything else besides.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    def describe(self) -> str:
        return f"onnxruntime {ort.__version__} ({PROVIDER})"

    def open(self, file: Path, stage: StageSpec, points: int | None = None) -> OnnxSession:
        try:
            session = ort.InferenceSession(str(file), self._options, providers=[PROVIDER])
        except Exception as error:  # the engine's own exceptions have no common base
            raise ArtifactError(f"onnxruntime cannot load {file}: {error}") from error
        found = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
        declared = {t.name for t in stage.inputs}, {t.name for t in stage.outputs}
        if found != declared:
            raise ArtifactError(f"{file} has inputs and outputs {found}, but the manifest declares {declared}")
        return OnnxSession(session, stage)

    def keep(self, array: Array) -> Tensor:
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))

    def fetch(self, tensor: Tensor) -> Array:
        # A view would outlive the array behind a tensor that `keep` made.
        return np.array(tensor.numpy())


def open(options: Options) -> OnnxRuntime:
    return OnnxRuntime(options)
