"""PyTorch, for graphs as `torch_graph` has them: on CUDA or Apple's Metal where present, else on the CPU."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import safetensors.torch
import torch

from tapkernels.reference import triangle_weights
from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import StageSpec
from tapsdk.backends import Array, Options, Place, Tensor, run_failed
from tapsdk.backends.devices import DEVICES
from tapsdk.backends.replays import Record, Replays, Tensors, Work
from tapsdk.backends.torch_graph import Argument, Graph, Word, read_graph
from tapsdk.errors import ArtifactError, BackendError
from tapsdk.geometry import Size

WARM_UPS = 3
"""Runs before one is recorded, in which libraries choose how they compute and take the memory that they need."""


class TorchSession:
    def __init__(self, module: torch.nn.Module, graph: Graph, backend: Torch) -> None:
        self._graph, self._backend = graph, backend
        self._module = module
        self._replays = Replays(module, backend.record) if backend.record else None

    @property
    def recordings(self) -> int:
        """For how many sizes what it computes is replayed."""
        return self._replays.recordings if self._replays else 0

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        try:
            with torch.inference_mode(), self._backend.exact():
                tensors = [self._on_device(inputs[name]) for name in self._graph.inputs]
                self._graph.check_shapes([tuple(tensor.shape) for tensor in tensors])
                results = self._replays(tensors) if self._replays else self._module(*tensors)
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
        cuda, on_processor = self._device.type == "cuda", self._device.type == "cpu"
        self.place = Place(on_processor, few_shapes=cuda, resize=None if on_processor else self.resized)
        self.record: Record | None = self._record if cuda else None
        """How work is recorded, to be replayed; None where it is not."""
        if options.threads and self._device.type == "cpu":
            torch.set_num_threads(options.threads)

    def describe(self) -> str:
        what = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device
        return f"torch {torch.__version__} ({what})"

    def devices(self) -> tuple[str, ...]:
        others = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        others += [kind for kind in ("mps", "xpu") if getattr(torch, kind).is_available()]
        return ("cpu", *others)

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

    def resized(self, image: Array, size: Size, limits: tuple[float, float]) -> Tensor:
        """`tapkernels.resize_normalize` where the device is, to which the image goes as it is."""
        down, across = (_weights(*sides, self._device) for sides in zip(image.shape[:2], size, strict=True))
        white, (low, high) = 255 if image.dtype == np.uint8 else 1, limits
        with torch.inference_mode():
            pixels = self.keep(image).to(torch.float32)
            found = across @ (down @ pixels.flatten(1)).unflatten(1, pixels.shape[1:])
            return (found * ((high - low) / white) + low)[None]

    def _record(self, work: Work, inputs: Tensors) -> tuple[Callable[[], object], Tensors]:
        """As a CUDA graph. Other threads may use the device meanwhile."""
        graph, aside = torch.cuda.CUDAGraph(), torch.cuda.Stream(self._device)
        with torch.cuda.device(self._device):
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    work(*inputs)
            torch.cuda.current_stream().wait_stream(aside)
            # On that stream: PyTorch's own one for recordings is of the device that was first used for one.
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                outputs = work(*inputs)
        return graph.replay, outputs

    def keep(self, array: Array) -> Tensor:
        # PyTorch has no tensors that must not be written to, and warns of arrays that are so.
        ours = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        try:
            return ours.to(self._device)
        except RuntimeError as error:  # a device may have no room
            raise run_failed("torch", error) from error

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
    name = (asked or best).lower()
    kind = name.partition(":")[0]
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch was built without it
        needs = DEVICES["torch"][kind].needs if kind in DEVICES["torch"] else ", ".join(DEVICES["torch"])
        said = str(error).splitlines()[0].rstrip(".")
        raise BackendError(
            f"torch has no device {asked or best!r} here: {said} (PyTorch {torch.__version__}); "
            f"{'it needs' if kind in DEVICES['torch'] else 'it knows'} {needs}"
        ) from error
    return device


@lru_cache(maxsize=16)
def _weights(size: int, out_size: int, device: torch.device) -> torch.Tensor:
    """[out_size, size] by which pixels become those of another size."""
    return torch.from_numpy(triangle_weights(size, out_size).astype(np.float32)).to(device)


def open(options: Options) -> Torch:
    return Torch(options)
