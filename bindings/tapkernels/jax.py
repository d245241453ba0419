"""The ops for JAX, under ``jit`` and ``vmap``, through XLA's foreign function interface.

CPU arrays, inference only: JAX says so to whoever asks for a gradient. What the ops take and give is said at the
functions of the same names in `tapkernels`, which check the same things in the same words, when a function is traced.
Under ``vmap`` the calls run one after the other, and each may use all threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from tapkernels import _ext
from tapkernels.cost_volume import CostVolumeHead
from tapkernels.mixer_weights import MixerWeights

__all__ = [
    "cost_volume_track",
    "local_correlation",
    "lucas_kanade",
    "mixer",
    "resize_normalize",
    "sample_features",
]

TARGET = "tapkernels"


def cost_volume_track(
    grid: jax.Array,
    features: jax.Array,
    previous: jax.Array | None,
    head: CostVolumeHead,
    *,
    threads: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    known = jnp.zeros((0, 2), jnp.float32) if previous is None else previous
    xy, logits = _call("cost_volume_track", (grid, features, known, *head.arrays()), (), threads)
    return xy, logits


def local_correlation(
    grid: jax.Array, query: jax.Array, xy: jax.Array, radius: int = 3, *, threads: int | None = None
) -> jax.Array:
    return _call("local_correlation", (grid, query, xy), (radius,), threads)[0]


def lucas_kanade(
    before: jax.Array,
    after: jax.Array,
    xy: jax.Array,
    radius: int = 4,
    levels: int = 4,
    *,
    threads: int | None = None,
) -> jax.Array:
    return _call("lucas_kanade", (before, after, xy), (radius, levels), threads)[0]


def mixer(
    x: jax.Array, narrow: jax.Array, wide: jax.Array, weights: MixerWeights, *, threads: int | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    arrays = (x, narrow, wide, weights.packed)
    out, next_narrow, next_wide = _call("mixer", arrays, (weights.outputs,), threads)
    return out, next_narrow, next_wide


def resize_normalize(image: jax.Array, height: int, width: int, *, threads: int | None = None) -> jax.Array:
    return _call("resize_normalize", (image,), (height, width), threads)[0]


def sample_features(grid: jax.Array, xy: jax.Array, *, threads: int | None = None) -> jax.Array:
    return _call("sample_features", (grid, xy), (), threads)[0]


@lru_cache(maxsize=1)
def _register() -> None:
    jax.ffi.register_ffi_target(TARGET, _ext.xla_handler(), platform="cpu")


def _call(
    op: str, inputs: Sequence[jax.Array | np.ndarray], attributes: tuple[int, ...], threads: int | None
) -> list[jax.Array]:
    _register()
    threads = _ext.default_threads() if threads is None else threads
    shapes = _ext.output_shapes(op, inputs, attributes, threads)
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]  # type: ignore[no-untyped-call]
    call = jax.ffi.ffi_call(TARGET, results, vmap_method="sequential")
    # Never without elements, which JAX could not hand over.
    numbers = np.array([*attributes, 0], np.int64)
    return list(call(*inputs, op=op, attributes=numbers, threads=np.int64(threads)))
