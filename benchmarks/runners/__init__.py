"""Who does the work: ours and its peers, by name. A runner is a generator function of a workload.

It yields None when all is open, and then after every turn, which is a frame, or a whole clip where the workload has
one: positions [N, 2] in pixels of that frame (of the clip's last one), or None where it does not track.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import Workload

Turns: TypeAlias = Iterator[NDArray[np.float32] | None]


@dataclass(frozen=True)
class Runner:
    """title: for tables. function: "module:name" of the generator function. needs: packages that it imports.

    install: how to get them. same: whether it computes what ours computes, so that positions can be compared.
    """

    title: str
    function: str
    needs: tuple[str, ...] = ()
    install: str = ""
    same: bool = True

    def absent(self) -> str:
        """Why it cannot run here, with the command that helps; "" if it can."""
        missing = [package for package in self.needs if find_spec(package) is None]
        return f"needs {', '.join(missing)}: {self.install}" if missing else ""

    def open(self, workload: Workload) -> Turns:
        module, _, name = self.function.partition(":")
        function: Callable[[Workload], Turns] = getattr(importlib.import_module(module), name)
        return function(workload)


TORCH = (("torch", "safetensors"), "pip install '.[export-onnx]'")
JAX = (("jax", "equinox"), "pip install '.[jax]'")
TAPNET = (
    ("torch", "tapnet", "tree", "einshape"),
    "pip install dm-tree einshape, and a checkout of github.com/google-deepmind/tapnet in PYTHONPATH",
)
OPENCV = (("cv2",), "pip install opencv-python-headless")

RUNNERS: dict[str, Runner] = {
    "native": Runner("tapsdk, native plan", "benchmarks.runners.ours:native"),
    "fused": Runner("tapsdk, fused plan", "benchmarks.runners.ours:fused"),
    "clip": Runner("tapsdk, whole clip", "benchmarks.runners.ours:clip"),
    "stream": Runner("tapsdk, `track` of a generator", "benchmarks.runners.ours:stream"),
    "matrix-numpy": Runner("matrix product, numpy", "benchmarks.runners.matrix:in_numpy", same=False),
    "matrix-torch": Runner("matrix product, PyTorch", "benchmarks.runners.matrix:in_torch", *TORCH, same=False),
    "torch": Runner("our module, PyTorch eager", "benchmarks.runners.frameworks:eager", *TORCH),
    "torch-compile": Runner("our module, torch.compile", "benchmarks.runners.frameworks:compiled", *TORCH),
    "literal": Runner("literal form, PyTorch eager", "benchmarks.runners.frameworks:literal", *TORCH),
    "tapnet": Runner("tapnet itself, PyTorch eager", "benchmarks.runners.tapnet:online", *TAPNET, same=False),
    "tapnet-clip": Runner(
        "tapnet itself, PyTorch eager, whole clip", "benchmarks.runners.tapnet:clip", *TAPNET, same=False
    ),
    "jax": Runner("our module, JAX jit", "benchmarks.runners.frameworks:in_jax", *JAX),
    "plain-onnxruntime": Runner(
        "literal form, plain ONNX on ONNX Runtime", "benchmarks.runners.plain:onnxruntime", *TORCH
    ),
    "plain-openvino": Runner(
        "literal form, plain ONNX on OpenVINO",
        "benchmarks.runners.plain:openvino",
        (*TORCH[0], "openvino"),
        "pip install '.[export-openvino]'",
    ),
    "literal-clip": Runner(
        "literal form, PyTorch eager, whole clip", "benchmarks.runners.frameworks:literal_clip", *TORCH
    ),
    "torch-clip": Runner("our module, PyTorch eager, whole clip", "benchmarks.runners.frameworks:eager_clip", *TORCH),
    "opencv-lk": Runner(
        "OpenCV pyramidal Lucas-Kanade, there and back", "benchmarks.runners.opencv:lucas_kanade", *OPENCV, same=False
    ),
    "opencv-dis": Runner("OpenCV DIS flow", "benchmarks.runners.opencv:dis", *OPENCV, same=False),
}
