"""PyTorch, for programs of torch.export: on CUDA or Apple's Metal where present, else on the CPU."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends import Array, Options, Tensor, run_failed
from tapsdk.errors import ArtifactError, BackendError


class TorchSession:
    def __init__(self, module: torch.nn.Module, stage: StageSpec, backend: Torch) -> None:
        self._module, self._backend = module, backend
        self._inputs = [t.name for t in stage.inputs]
        self._outputs = [t.name for t in stage.outputs]

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        try:
            with torch.inference_mode(), self._backend.exact():
                results = self._module(*(self._on_device(inputs[name]) for name in self._inputs))
        except Exception as error:  # guards of the program and errors of devices have no common base
            raise run_failed("torch", error) from error
        results = results if isinstance(results, tuple) else (results,)
        named = zip(self._outputs, results, strict=True)
        return {name: value if name in keep else self._backend.fetch(value) for name, value in named}

    def _on_device(self, value: Array | Tensor) -> torch.Tensor:
        return self._backend.keep(value) if isinstance(value, np.ndarray) else value


class Torch:
    name = "torch"
    formats = ("torch",)

    def __init__(self, options: Options) -> None:
        self._device = _device(options.device)
        if options.threads and self._device.type == "cpu":
            torch.set_num_threads(options.threads)

    def describe(self) -> str:
        what = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device
        return f"torch {torch.__version__} ({what})"

    def open(self, file: Path, stage: StageSpec, points: int | None = None) -> TorchSession:
        try:
            program = torch.export.load(file)
            module = move_to_device_pass(program, self._device).module()
        except Exception as error:  # whatever the archive makes the reader stumble over
            raise ArtifactError(f"torch cannot load {file}: {error}") from error
        signature = program.graph_signature
        found = f"{len(signature.user_inputs)} inputs and {len(signature.user_outputs)} outputs"
        declared = f"{len(stage.inputs)} inputs and {len(stage.outputs)} outputs"
        if found != declared:
            raise ArtifactError(f"{file} has {found}, but the manifest declares {declared}")
        return TorchSession(module, stage, self)

    def exact(self) -> AbstractContextManager[None]:
        """Float32 as it is written: cuDNN would round what it multiplies to ten bits."""
        if self._device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # type: ignore[no-any-return]

    def keep(self, array: Array) -> Tensor:
        # PyTorch has no tensors that must not be written to, and warns of arrays that are so.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def fetch(self, tensor: Tensor) -> Array:
        return np.array(tensor.cpu().numpy(), order="C")


def _device(asked: str | None) -> torch.device:
    """The device that is asked for, else the best one."""
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(asked or best)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch was built without it
        raise BackendError(f"torch has no device {asked or best!r} here: {error}") from error
    return device


def open(options: Options) -> Torch:
    return Torch(options)
