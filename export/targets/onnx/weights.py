"""ONNX graphs with smaller weights. Inputs, outputs and everything that makes positions stay float32."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor

from export.stages import Stage
from tapsdk.system.leftovers import temporary_folder

LAYERS = ("Conv", "Gemm", "MatMul")
HALF_FROM = 1024
"""Smallest number of weights in a matrix that is worth halving."""


def halve(model: onnx.ModelProto) -> None:
    """Stores matrices in float16, to be cast as the graph is loaded: half the size, and arithmetic as before."""
    for tensor in list(model.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < HALF_FROM:
            continue
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}_float16")
        cast = helper.make_node("Cast", [half.name], [tensor.name], f"{tensor.name}/Cast", to=TensorProto.FLOAT)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(half)
        model.graph.node.insert(0, cast)


def quantize(model: onnx.ModelProto, stage: Stage, samples: Sequence[tuple[Tensor, ...]]) -> onnx.ModelProto:
    """A graph whose layers compute in eight bits, except for the stage's exact ones and for products of two
    activations. samples: inputs of real calls, for the ranges of activations."""
    weights = {tensor.name for tensor in model.graph.initializer}
    layers = [node.name for node in model.graph.node if _is_quantized(node, weights, stage.exact)]
    if not layers:
        return model
    with temporary_folder() as folder:
        given, made = folder / "float.onnx", folder / "quantized.onnx"
        onnx.save(model, given)
        logging.disable(logging.WARNING)  # it advises the root logger to do what was done to the graph already
        try:
            quantize_static(
                given,
                made,
                _Samples(stage, samples),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=LAYERS,
                nodes_to_quantize=layers,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                # Seven bits for weights: sums of pairs overflow 16 bits on processors without instructions for it.
                reduce_range=True,
                # What follows a product is computed in float anyway.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(made)


def _is_quantized(node: onnx.NodeProto, weights: Collection[str], exact: Sequence[str]) -> bool:
    """Is it a layer of a module (`export.targets.onnx.target` names nodes after them) that need not be exact?"""
    module = node.name.rpartition("/")[0]
    if node.op_type not in LAYERS or node.input[1] not in weights or not module:
        return False
    return not any(f"{module}.".startswith(f"{name}.") for name in exact)


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, stage: Stage, samples: Sequence[tuple[Tensor, ...]]) -> None:
        self._names = [t.name for t in stage.spec.inputs]
        self._rest = iter(samples)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        sample = next(self._rest, None)
        return None if sample is None else {n: x.numpy() for n, x in zip(self._names, sample, strict=True)}
