"""PyTorch, for graphs as `torch_graph` has them: on CUDA or Apple's Metal where present, else on the CPU."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import safetensors.torch
import torch

from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends import Array, Options, Tensor, run_failed
from tapsdk.backends.torch_graph import Argument, Graph, Word, read_graph
from tapsdk.errors import ArtifactError, BackendError


class TorchSession:
    def __init__(self, module: torch.nn.Module, graph: Graph, backend: Torch) -> None:
        self._module, self._graph, self._backend = module, graph, backend

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        try:
            with torch.inference_mode(), self._backend.exact():
                tensors = [self._on_device(inputs[name]) for name in self._graph.inputs]
                self._graph.check_shapes([tuple(tensor.shape) for tensor in tensors])
                results = self._module(*tensors)
        except Exception as error:  # errors of operators and of devices have no common base
            raise run_failed("torch", error) from error
        named = zip(self._graph.outputs, results, strict=True)
        return {name: value if name in keep else self._backend.fetch(value) for name, value in named}

    def _on_device(self, value: Array | Tensor) -> torch.Tensor:
        return self._backend.keep(value) if isinstance(value, np.ndarray) else value


class Torch:
    name = "torch"
    formats = ("torch",)

    def __init__(self, options: Options) -> None:
        self._device = _device(options.device)
        self.threads = options.threads
        if options.threads and self._device.type == "cpu":
            torch.set_num_threads(options.threads)

    def describe(self) -> str:
        what = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device
        return f"torch {torch.__version__} ({what})"

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> TorchSession:
        try:
            graph = read_graph(file.data)
            module = _module(graph, safetensors.torch.load(file.data), self._device)
        except ArtifactError:
            raise
        except Exception as error:  # whatever the file makes its readers stumble over
            raise ArtifactError(f"torch cannot load {file.path}: {error}") from error
        found = list(graph.inputs), list(graph.outputs)
        declared = [t.name for t in stage.inputs], [t.name for t in stage.outputs]
        if found != declared:
            raise ArtifactError(f"{file.path} has inputs and outputs {found}, but the manifest declares {declared}")
        return TorchSession(module, graph, self)

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


def _module(graph: Graph, weights: Mapping[str, torch.Tensor], device: torch.device) -> torch.nn.Module:
    """The graph as a module that gives a tuple. Raises ValueError if it wants other weights."""
    if set(weights) != set(graph.weights):
        raise ValueError(f"its graph wants {len(graph.weights)} weights, and it holds {len(weights)} others")
    root, traced = torch.nn.Module(), torch.fx.Graph()
    # Names in the module are ours: of those in the file, Python code would be made.
    values = [traced.placeholder(f"input_{i}") for i in range(len(graph.inputs))]
    for i, name in enumerate(graph.weights):
        root.register_buffer(f"weight_{i}", weights[name].to(device))
        values.append(traced.get_attr(f"weight_{i}"))

    def resolved(argument: Argument) -> Any:
        if isinstance(argument, list):
            return [resolved(each) for each in argument]
        if not isinstance(argument, Word):
            return argument
        known = {"value": lambda: values[argument.what], "dtype": lambda: getattr(torch, argument.what)}
        return known.get(argument.kind, lambda: device)()

    for call in graph.calls:
        named = {name: resolved(value) for name, value in call.named.items()}
        values.append(traced.call_function(_operator(call.operator), tuple(map(resolved, call.arguments)), named))
    traced.output(tuple(resolved(value) for value in graph.outputs.values()))
    return torch.fx.GraphModule(root, traced)


def _operator(name: str) -> Callable[..., Any]:
    """One of `torch_graph.OPERATORS`."""
    package, _, rest = name.partition(".")
    found: Any = {"operator": operator, "torch": torch, "aten": torch.ops.aten}[package]
    for part in rest.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


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
