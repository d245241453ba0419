"""How fast this machine multiplies matrices: the most that one can hope for. A turn is one product."""

from __future__ import annotations

import numpy as np

from benchmarks.runners import Turns
from benchmarks.workloads import Workload

SIDE = 1024
FLOPS = 2 * SIDE**3


def in_numpy(workload: Workload) -> Turns:
    """The threads of its BLAS are those of the environment."""
    a, b = _matrices()
    out = np.empty_like(a)
    yield None
    while True:
        np.matmul(a, b, out=out)
        yield None


def in_torch(workload: Workload) -> Turns:
    import torch

    torch.set_num_threads(workload.threads)
    a, b = map(torch.from_numpy, _matrices())
    out = torch.empty_like(a)
    yield None
    while True:
        torch.mm(a, b, out=out)
        yield None


def _matrices() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((SIDE, SIDE), np.float32), rng.random((SIDE, SIDE), np.float32)
