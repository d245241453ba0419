"""Core ML by coremltools: one .mlpackage per stage, with a function for every number of points.

Graphs are plain operators on tensors of fixed shapes. The functions of a package share their weights, which needs
macOS 15 or iOS 18.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.stages import Stage, Style
from export.targets import Request, Target, compiling
from export.targets.coreml.precision import exact_operations
from tapsdk.artifact.manifest import entry_point
from tapsdk.backends import Backend, open_backend
from tapsdk.backends.coreml import import_coremltools
from tapsdk.system.leftovers import temporary_folder

ct = import_coremltools()

SYSTEM = ct.target.iOS18


class CoreMl:
    format = "coreml"
    style = Style(lookup="dense", any_size=False, padded=True, native=False)
    buckets = (16, 64, 256, 1024)
    precisions: Mapping[str, float] = {"fp32": 0.01, "fp16": 0.25}

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        with temporary_folder() as work:
            return {stage.name: _package(stage, directory, work, request) for stage in compiling(stages)}

    def open_backend(self) -> Backend:
        if sys.platform == "darwin":
            return open_backend("coreml")
        from export.targets.coreml.interpreter import MilInterpreter

        return MilInterpreter()

    def tools(self) -> dict[str, str]:
        return {"torch": torch.__version__, "coremltools": ct.__version__, "system": SYSTEM.name}


def _package(stage: Stage, directory: Path, work: Path, request: Request) -> str:
    """Writes a stage's package and returns its name."""
    name = f"{stage.name}.mlpackage"
    entries = {entry_point(stage.spec, points): points for points in request.buckets}
    functions = ct.utils.MultiFunctionDescriptor()
    for entry, points in entries.items():
        path = work / f"{stage.name}-{entry}.mlpackage"
        _convert(stage, points, request.precision, path)
        functions.add_function(str(path), "main", entry)
    functions.default_function_name = next(iter(entries))
    path = str(work / name)
    with quiet_converter():
        ct.utils.save_multifunction(functions, path)
        model = ct.models.MLModel(path, skip_model_load=True)
    tensors = {t.name: t.role for t in (*stage.spec.inputs, *stage.spec.outputs)}
    model.user_defined_metadata.update(
        {**request.about, "stage": stage.name, "precision": request.precision, "tensors": _listed(tensors)}
    )
    model.license = request.about.get("license", "")
    model.save(str(directory / name))
    return name


def _listed(table: Mapping[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in table.items())


def _convert(stage: Stage, points: int, precision: str, path: Path) -> None:
    """Writes a stage for a number of points as a package of one function, `main`."""
    example = stage.example(points, (0, 0))
    with quiet_converter():
        program = torch.export.export(stage.module.eval(), example).run_decompositions(_decompositions())
        ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[
                ct.TensorType(t.name, tuple(x.shape), np.float32)
                for t, x in zip(stage.spec.inputs, example, strict=True)
            ],
            outputs=[ct.TensorType(t.name, dtype=np.float32) for t in stage.spec.outputs],
            minimum_deployment_target=SYSTEM,
            compute_precision=_half(stage) if precision == "fp16" else ct.precision.FLOAT32,
            package_dir=str(path),
            skip_model_load=True,
        )


def _half(stage: Stage) -> Any:
    """Half precision, but for what must be exact."""
    exact: set[Any] = set()

    def is_half(operation: Any) -> bool:
        if not exact:  # the program is whole when it is asked for the first time
            exact.update(exact_operations(operation.enclosing_block, stage))
        return operation not in exact

    return ct.transform.FP16ComputePrecision(op_selector=is_half)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """For operators of PyTorch that coremltools 9.0 does not know (&), or gets wrong."""
    aten, table = torch.ops.aten, torch.export.default_decompositions()
    return {
        **{op: table[op] for op in (aten.__and__.Tensor, aten.einsum.default)},
        aten.gelu.default: _gelu,
        **dict.fromkeys((aten.arange.default, aten.arange.start, aten.arange.start_step), _arange),
    }


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """The approximation by tanh step by step, which the converter recognises. Asked for by name, it gives the exact
    function without a word."""
    if approximate == "none":
        return NotImplemented
    return 0.5 * x * (torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))) + 1)


def _arange(*range: float, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    """From numbers of the type that is asked for. The converter goes by them alone, and integers are slow."""
    if dtype is None or not dtype.is_floating_point or isinstance(range[-1], float):
        return NotImplemented
    start, end, step = {1: (0, *range, 1), 2: (*range, 1), 3: range}[len(range)]
    return torch.arange(float(start), float(end), float(step), dtype=dtype, **options)


@contextlib.contextmanager
def quiet_converter() -> Iterator[None]:
    """The converter draws progress bars, and warns of how it is made itself; what matters comes as an exception."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("coremltools")
        before = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(before)


TARGET: Target = CoreMl()
