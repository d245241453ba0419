"""From a program of torch.export to an ONNX graph, by torch's exporter without what it does in vain.

The exporter has a program decomposed before it translates it, which traces all of it anew, and takes longer than the
translation itself. Nearly all operators that our models call have a translation of their own, though. Those that do not
are replaced here, one by one, by what the decomposition would make of them.

Of the rules by which it then simplifies a graph, one takes longer than all the others, and finds nothing here.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules
from torch import fx
from torch.export import ExportedProgram

from export.stages import Stage
from export.targets.dynamic_shapes import dynamic_shapes

OPSET = 20

RULES = (
    rules.add_0_rule,
    rules.cast_cast_rule,
    rules.cast_constant_of_shape_rule,
    rules.cast_constant_of_shape_without_value_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.div_by_1_rule,
    rules.flatten_to_reshape_rule,
    rules.fuse_pad_into_conv_rule,
    rules.materialize_reshape_shape_rule,
    rules.max_max_rule,
    rules.min_min_rule,
    rules.mul_by_1_rule,
    rules.no_op_cast_rule,
    rules.no_op_expand_rule,
    rules.no_op_transpose_rule,
    rules.normalize_pad_format_conv_rule,
    rules.one_reshape_matmul_reshape_rule,
    rules.remove_optional_bias_from_conv_rule,
    rules.reshape_reshape_rule,
    rules.squeeze_reshape_1d_rule,
    rules.sub_0_rule,
    rules.successive_relu_rule,
    rules.transpose_transpose_rule,
    rules.two_reshapes_matmul_reshape_rule,
    rules.unsqueeze_unsqueeze_rule,
)
"""Of those that torch's exporter goes by, all that may apply to our models."""

aten = torch.ops.aten

CHECKS = {aten._assert_tensor_metadata.default, aten._assert_scalar.default}
"""Of what cannot be otherwise once the inputs' shapes are right."""


def translate(program: ExportedProgram, stage: Stage) -> onnx.ModelProto:
    """The program of a stage as an ONNX graph, simplified, with the exporter's notes at its nodes. Changes the
    program."""
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")
        if _decompose(program):
            try:
                return _simplified(_translated(program, stage))
            except torch.onnx.OnnxExporterError:  # of an operator that our models did not call before
                del program.run_decompositions
        return _simplified(_translated(program, stage))


def _translated(program: ExportedProgram, stage: Stage) -> onnx_ir.Model:
    translated = torch.onnx.export(
        program,
        (),
        dynamo=True,
        opset_version=OPSET,
        input_names=[t.name for t in stage.spec.inputs],
        output_names=[t.name for t in stage.spec.outputs],
        dynamic_shapes=dynamic_shapes(stage),  # for their names
        verbose=False,
        optimize=False,
    )
    assert translated is not None
    return translated.model


def _simplified(model: onnx_ir.Model) -> onnx.ModelProto:
    passes.InlinePass()(model)
    optimizer.fold_constants(model, onnx_shape_inference=True)
    rewriter.RewritePass(RULES)(model)
    # Once more, for what the rules have made constant.
    optimizer.fold_constants(model, onnx_shape_inference=True)
    for each in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        each(model)
    return onnx_ir.to_proto(model)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter logs each of its passes; what matters comes as an exception."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _decompose(program: ExportedProgram) -> bool:
    """Decomposes what has to be, so that `run_decompositions` gives the program back as it is. Whether it did: not
    where the program writes into tensors, which only tracing can undo."""
    graph = program.graph
    if any(_writes(node) for node in graph.nodes):
        return False
    for node in list(graph.nodes):
        if node.target in CHECKS:
            graph.erase_node(node)
        elif node.target in _REPLACEMENTS:
            made = _replace(node, _REPLACEMENTS[node.target])
            program.graph_signature.replace_all_uses(node.name, made.name)
    program.graph_module.recompile()
    program.run_decompositions = lambda decomp_table=None: program  # type: ignore[method-assign]
    return True


def _writes(node: fx.Node) -> bool:
    target: Any = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _replace(node: fx.Node, make: Callable[..., fx.Node]) -> fx.Node:
    """Traces `make` with the arguments of the node into the place of the node, and returns what it gives."""
    graph = node.graph
    with graph.inserting_before(node):

        def call(target: Any, *args: Any, **kwargs: Any) -> fx.Node:
            made = graph.call_function(target, args, kwargs)
            made.meta = {**node.meta, "val": target(*fx.map_arg(args, _value), **fx.map_arg(kwargs, _value))}
            return made

        value = _value(node.args[0])
        with value.fake_mode:
            found = make(call, *node.args, **node.kwargs)
    node.replace_all_uses_with(found)
    graph.erase_node(node)
    return found


def _value(argument: Any) -> Any:
    return argument.meta["val"]


def _and(call: Callable[..., fx.Node], x: fx.Node, y: fx.Node) -> fx.Node:
    is_bool = _value(x).dtype == torch.bool
    return call(aten.logical_and.default if is_bool else aten.bitwise_and.Tensor, x, y)


def _rsub(call: Callable[..., fx.Node], x: fx.Node, other: float, alpha: float = 1) -> fx.Node:
    scaled = x if alpha == 1 else call(aten.mul.Tensor, x, alpha)
    return call(aten.sub.Tensor, call(aten.scalar_tensor.default, other, dtype=_value(x).dtype), scaled)


def _square(call: Callable[..., fx.Node], x: fx.Node) -> fx.Node:
    return call(aten.pow.Tensor_Scalar, x, 2)


def _to(call: Callable[..., fx.Node], x: fx.Node, dtype: torch.dtype, *options: Any) -> fx.Node:
    return x if _value(x).dtype == dtype else call(aten._to_copy.default, x, dtype=dtype)


_REPLACEMENTS: dict[Any, Callable[..., fx.Node]] = {
    aten.__and__.Tensor: _and,
    aten.rsub.Scalar: _rsub,
    aten.square.default: _square,
    aten.to.dtype: _to,
}
