"""LiteRT (TensorFlow Lite) by litert-torch: one file per stage, with a signature for every number of points.

Signatures share their weights, and their tensors have the names that the manifest gives them. Graphs are plain
operators, which run on the CPU and on what phones have beside it. In every precision a graph takes and gives float32:

fp16    weights are stored in half precision, and computed with in single precision by the CPU
int8    layers have weights of eight bits and round what comes in to eight bits as it comes; all else is float32
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from torch import Tensor, nn

from export.stages import Stage, Style
from export.targets import Request, Target, compiling
from tapsdk.artifact.manifest import StageSpec, entry_point
from tapsdk.backends import Backend, open_backend


@contextmanager
def quiet() -> Iterator[None]:
    """The converter tells of its every step; what matters comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


with quiet():
    import litert_torch
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer

LAYERS = (TFLOperationName.CONV_2D, TFLOperationName.DEPTHWISE_CONV_2D, TFLOperationName.FULLY_CONNECTED)
"""Operators whose weights are worth shrinking."""


class Tflite:
    format = "tflite"
    style = Style(lookup="dense", any_size=False, padded=True, native=False)
    buckets = (16, 64, 256, 1024)
    precisions: Mapping[str, float] = {"fp32": 0.01, "fp16": 0.25, "int8": 1.0}

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        return {stage.name: self._lower(stage, directory, request) for stage in compiling(stages)}

    def _lower(self, stage: Stage, directory: Path, request: Request) -> str:
        name = f"{stage.name}.tflite"
        with quiet():
            content = in_precision(graph_of(stage, request.buckets), stage, request.precision)
        (directory / name).write_bytes(content)
        return name

    def open_backend(self) -> Backend:
        return open_backend("litert")

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("torch", "litert-torch", "litert-converter", "ai-edge-quantizer")}


def graph_of(stage: Stage, buckets: Sequence[int]) -> bytes:
    """A stage with an entry point for every number of points, in float32."""
    module = _Named(stage.module, stage.spec).eval()
    converter = litert_torch.Converter()
    for entry, points in {entry_point(stage.spec, n): n for n in buckets}.items():
        example = stage.example(points, (0, 0))
        inputs = {t.name: x for t, x in zip(stage.spec.inputs, example, strict=True)}
        converter.signature(entry, module, sample_kwargs=inputs)
    litert_torch.config.show_progress = False
    return converter.convert().model_content()


def in_precision(content: bytes, stage: Stage, precision: str) -> bytes:
    """The graph of a stage with its layers in a precision."""
    if precision == "fp32":
        return content
    quantizer = Quantizer(content)
    for layer in LAYERS:
        if precision == "fp16":
            quantizer.add_weight_only_config(".*", layer, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
            continue
        quantizer.add_dynamic_config(".*", layer, 8)
        for name in stage.exact:  # what was added last counts
            quantizer.update_quantization_recipe(_scope(name), layer, algorithm_key=AlgorithmName.NO_QUANTIZE)
    result = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _scope(name: str) -> str:
    """What the converter's name of an operator begins with, for operators of a submodule of the stage.

    name: dotted, as `Stage.exact` has it. Modules that were called are parts of the converter's name: the class, "_"
    and the name that its parent knows it by.
    """
    *parents, last = name.split(".")
    called = "".join(f"([^/;]*_{parent}/)?" for parent in parents)
    return f"^[^/;]*/[^/;]*_stage/{called}[^/;]*_{last}[/;]"


class _Named(nn.Module):
    """A stage whose tensors go by their names, which signatures take over."""

    def __init__(self, stage: nn.Module, spec: StageSpec) -> None:
        super().__init__()
        self.stage = _in_plain_operators(stage)
        self.inputs, self.outputs = ([t.name for t in tensors] for tensors in (spec.inputs, spec.outputs))

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        found = self.stage(*(tensors[name] for name in self.inputs))
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))


def _in_plain_operators(module: nn.Module) -> nn.Module:
    """The module with the same parameters, and instance normalisation as sums."""
    if isinstance(module, nn.InstanceNorm2d):
        return _InstanceNorm(module)
    module = copy.copy(module)
    children = module._modules.items()
    module._modules = {name: None if child is None else _in_plain_operators(child) for name, child in children}
    return module


class _InstanceNorm(nn.Module):
    """torch.nn.InstanceNorm2d, which the converter would wrap in transpositions of the whole feature map."""

    def __init__(self, norm: nn.InstanceNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean((2, 3), keepdim=True)
        scale = (x.square().mean((2, 3), keepdim=True) + self.eps).rsqrt() * self.weight.reshape(1, -1, 1, 1)
        return x * scale + self.bias.reshape(1, -1, 1, 1)


TARGET: Target = Tflite()
