"""The ops for JAX: what they give under `jit` and `vmap` is what the numpy functions give."""

import subprocess
import sys

import numpy as np
import pytest

import tapkernels
from tapkernels import ArgumentError
from tests.kernels.test_ops import ROWS

jax = pytest.importorskip("jax", reason="JAX is not installed")
ops = pytest.importorskip("tapkernels.jax")

FIRST = {row.op: next(iter(row.calls(np.random.default_rng(0))))[1] for row in ROWS}
POINTS = {"cost_volume_track": (1, 2), "local_correlation": (1, 2), "lucas_kanade": (2,), "sample_features": (1,)}
"""Which arguments have a row for every point, if others have none."""


def each(found):
    return found if isinstance(found, (tuple, list)) else (found,)


def split(arguments):
    """Arrays, and how to call an op with other ones in their places."""
    where = [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray)]

    def put(arrays):
        given = dict(zip(where, arrays, strict=True))
        return [given.get(i, a) for i, a in enumerate(arguments)]

    return [arguments[i] for i in where], put


def expect_same(op, found, arguments):
    for one, expected in zip(each(found), each(getattr(tapkernels, op)(*arguments)), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, expected)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.op)
def test_gives_what_the_numpy_function_gives(row):
    calls = [arguments for _, arguments in row.calls(np.random.default_rng(3))]
    for arguments in calls[:: max(len(calls) // 12, 1)]:
        arrays, put = split(arguments)
        expect_same(row.op, jax.jit(lambda *a: getattr(ops, row.op)(*put(a)))(*arrays), arguments)  # noqa: B023
        expect_same(row.op, getattr(ops, row.op)(*arguments, threads=1), arguments)


def test_every_op_is_there():
    assert sorted(ops.__all__) == sorted(tapkernels.info()["ops"])


@pytest.mark.parametrize("op", POINTS)
def test_can_be_mapped_over_groups_of_points(op):
    arguments = FIRST[op]
    arrays, put = split(arguments)
    arrays = [np.stack([a, a[::-1], a]) if i in POINTS[op] else a for i, a in enumerate(arrays)]
    axes = [0 if i in POINTS[op] else None for i in range(len(arrays))]
    found = jax.jit(jax.vmap(lambda *a: getattr(ops, op)(*put(a)), in_axes=axes))(*arrays)
    for group in range(3):
        some = put([np.ascontiguousarray(a[group]) if axis == 0 else a for a, axis in zip(arrays, axes, strict=True)])
        expect_same(op, [one[group] for one in each(found)], some)


def test_frames_of_a_video_can_be_mapped_over():
    video = np.random.default_rng(0).integers(0, 256, size=(4, 20, 30, 3), dtype=np.uint8)
    found = jax.vmap(lambda frame: ops.resize_normalize(frame, 8, 9))(video)
    np.testing.assert_array_equal(found, [tapkernels.resize_normalize(frame, 8, 9) for frame in video])


@pytest.mark.parametrize("traced", [False, True])
def test_errors_are_those_of_the_numpy_function(traced):
    grid, xy = FIRST["sample_features"]
    for arguments, message in [
        ((grid.astype(np.float16), xy), r"sample_features: grid must be float32 \[H, W, C\], got float16 \[9, 13, 1\]"),
        ((grid, xy[0]), r"sample_features: xy must be float32 \[N, 2\], got float32 \[2\]"),
        ((grid[:0], xy), "sample_features: the grid has no cells"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            (jax.jit(ops.sample_features) if traced else ops.sample_features)(*arguments)
    with pytest.raises(ArgumentError, match="radius must be from 0 to 15, got 16"):
        ops.local_correlation(*FIRST["local_correlation"][:3], 16)
    with pytest.raises(ArgumentError, match="threads must be from 1 to 256, got 0"):
        ops.sample_features(grid, xy, threads=0)


def test_refuses_to_be_differentiated():
    grid, xy = FIRST["sample_features"]
    with pytest.raises(ValueError, match="cannot be differentiated"):
        jax.grad(lambda grid: ops.sample_features(grid, xy).sum())(grid)


def test_what_xla_hands_over_is_checked():
    """Whoever calls the handler by itself, with results of other shapes."""
    grid, xy = FIRST["sample_features"]
    ops.sample_features(grid, xy)
    call = jax.ffi.ffi_call(ops.TARGET, [jax.ShapeDtypeStruct((3, 1), np.float32)])
    numbers = {"attributes": np.array([0], np.int64), "threads": np.int64(1)}
    for op, arrays, message in [
        ("sample_features", (grid, xy), "sample_features: XLA expects results of other shapes"),
        ("sample_features", (grid,), "sample_features: XLA must be given 2 arguments"),
        ("no_such_op", (grid, xy), "unknown op 'no_such_op'"),
    ]:
        with pytest.raises(Exception, match=message):
            call(*arrays, op=op, **numbers)
    with pytest.raises(Exception, match="lacks the attribute 'op'"):
        call(grid, xy, **numbers)


def test_importing_tapkernels_does_not_import_jax():
    code = "import tapkernels, sys; assert not {'jax', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
