"""The ops as PyTorch operators."""

import numpy as np
import pytest

import tapkernels
from tests.kernels.test_ops import mixing

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
ops = pytest.importorskip("tapkernels.torch")

OPS = ["cost_volume_track", "local_correlation", "sample_features"]
SHAPES = [(16, 1, 3, 3), (16,), (1, 16, 3, 3), (20, 16, 3, 3), (20,), (16, 20), (16,), (2, 16), (2,)]


def problem(op, points=5):
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(6, 9, 16, generator=generator)
    weights = [torch.randn(s, generator=generator) / 4 for s in SHAPES]
    query = torch.randn(points, 16, generator=generator)
    xy = torch.rand(points, 2, generator=generator) * 9
    return {
        "cost_volume_track": (grid, query, xy, weights, 5.0, 1.5),
        "local_correlation": (grid, query, xy, 2),
        "sample_features": (grid, xy),
    }[op]


def in_numpy(op, arguments):
    if op != "cost_volume_track":
        return (getattr(tapkernels, op)(*(a.numpy() if hasattr(a, "numpy") else a for a in arguments)),)
    grid, query, xy, weights, *numbers = arguments
    head = tapkernels.CostVolumeHead(*(w.numpy() for w in weights), *numbers)
    return tapkernels.cost_volume_track(grid.numpy(), query.numpy(), None if xy is None else xy.numpy(), head)


def each(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("points", [0, 1, 40])
@pytest.mark.parametrize("op", OPS)
def test_gives_what_the_numpy_function_gives(op, points):
    arguments = problem(op, points)
    for call in (getattr(ops, op), getattr(torch.ops.tapkernels, op)):
        for found, expected in zip(each(call(*arguments)), in_numpy(op, arguments), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_the_previous_positions_may_be_missing():
    grid, query, _, *rest = problem("cost_volume_track")
    found = ops.cost_volume_track(grid, query, None, *rest)
    for one, expected in zip(found, in_numpy("cost_volume_track", (grid, query, None, *rest)), strict=True):
        np.testing.assert_array_equal(one, expected)


@pytest.mark.parametrize("op", OPS)
def test_takes_tensors_that_are_not_contiguous(op):
    grid, *rest = problem(op)
    turned = grid.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    torch.testing.assert_close(getattr(ops, op)(turned, *rest), getattr(ops, op)(grid, *rest))


@pytest.mark.parametrize("op", OPS)
def test_is_registered_as_torch_asks(op):
    torch.library.opcheck(getattr(ops, op), problem(op))


class Doubled(torch.nn.Module):
    """An op in a graph, whose last arguments are fixed."""

    def __init__(self, op, tensors):
        super().__init__()
        self.op, self.rest = op, problem(op)[tensors:]

    def forward(self, *tensors):
        found = getattr(torch.ops.tapkernels, self.op)(*tensors, *self.rest)
        return tuple(one * 2 for one in each(found))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of PyTorch's own code
@pytest.mark.parametrize("decomposed", [False, True], ids=["as it is", "decomposed"])
@pytest.mark.parametrize(
    ("op", "tensors"), [("cost_volume_track", 3), ("local_correlation", 3), ("sample_features", 2)]
)
def test_can_be_exported_with_any_number_of_points(op, tensors, decomposed):
    points = torch.export.Dim("points")
    shapes = ({}, *[{0: points}] * (tensors - 1))
    program = torch.export.export(Doubled(op, tensors), problem(op, 5)[:tensors], dynamic_shapes=(shapes,))
    if decomposed:
        program = program.run_decompositions(ops.DECOMPOSITIONS)
    assert ("tapkernels" in str(program.graph)) is not decomposed
    arguments = problem(op, 11)
    found = program.module()(*arguments[:tensors])
    for one, expected in zip(found, each(getattr(ops, op)(*arguments)), strict=True):
        torch.testing.assert_close(one, expected * 2, rtol=1e-4, atol=1e-4)


def test_decompositions_know_points_that_are_no_place():
    grid, query, xy, radius = problem("local_correlation", 7)
    xy[1, 0], xy[2], xy[3, 1], xy[4, 0], xy[5] = np.nan, np.inf, 1e30, -1e30, -4.0
    for op, arguments in (("local_correlation", (grid, query, xy, radius)), ("sample_features", (grid, xy))):
        plain = ops.DECOMPOSITIONS[getattr(torch.ops.tapkernels, op).default](*arguments)
        torch.testing.assert_close(plain, getattr(ops, op)(*arguments), equal_nan=True, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("op", OPS)
def test_refuses_to_be_differentiated(op, which):
    arguments = problem(op)
    arguments[which].requires_grad_()
    with pytest.raises(RuntimeError, match=rf"{op} has no gradient: call it under torch.no_grad\(\)"):
        getattr(ops, op)(*arguments)
    with torch.no_grad():
        assert len(each(getattr(ops, op)(*arguments))[0]) == 5


@pytest.mark.parametrize("op", OPS)
def test_errors_are_those_of_the_numpy_function(op):
    grid, *rest = problem(op)
    with pytest.raises(tapkernels.ArgumentError, match=r"grid must be float32 \[H, W, C\], got float16"):
        getattr(ops, op)(grid.half(), *rest)


def mixing_tensors(points=5, blocks=2):
    *arrays, weights = mixing(np.random.default_rng(0), (11, 18, blocks, 7), points)
    return *(torch.from_numpy(array) for array in arrays), torch.from_numpy(weights.packed), weights.outputs


class MixerModule(torch.nn.Module):
    def forward(self, x, narrow, wide, weights):
        out, *memory = torch.ops.tapkernels.mixer(x, narrow, wide, weights, 7)
        return out * 2, *memory


@pytest.mark.parametrize("points", [0, 1, 40])
def test_the_mixer_gives_what_the_numpy_function_gives(points):
    *arrays, weights = mixing(np.random.default_rng(0), (11, 18, 2, 7), points)
    for got, expected in zip(ops.mixer(*mixing_tensors(points)), tapkernels.mixer(*arrays, weights), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_mixer_is_registered_as_torch_asks():
    torch.library.opcheck(ops.mixer, mixing_tensors())


def test_the_mixer_refuses_to_be_differentiated():
    x, *others = mixing_tensors()
    with pytest.raises(RuntimeError, match=r"tapkernels.torch.mixer has no gradient"):
        ops.mixer(x.requires_grad_(), *others)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of run_decompositions itself
@pytest.mark.parametrize("blocks", [0, 2])
def test_the_mixer_can_be_exported_with_and_without_the_kernel(blocks):
    axes = ({0: (points := torch.export.Dim("points"))}, {1: points}, {1: points}, {})
    program = torch.export.export(MixerModule(), mixing_tensors(5, blocks)[:-1], dynamic_shapes=axes)
    table = torch.export.default_decompositions()
    table.update(ops.DECOMPOSITIONS)
    decomposed = program.run_decompositions(table)
    assert "tapkernels" in str(program.graph)
    assert "tapkernels" not in str(decomposed.graph)
    arguments = mixing_tensors(11, blocks)[:-1]
    for either in (program, decomposed):
        for got, expected in zip(either.module()(*arguments), MixerModule()(*arguments), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=5e-5)
