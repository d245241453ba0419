"""The ops as PyTorch operators."""

import numpy as np
import pytest

import tapkernels
from tests.kernels.test_ops import mixing

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
ops = pytest.importorskip("tapkernels.torch")


def problem(points=5):
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(6, 9, 16, generator=generator)
    query = torch.randn(points, 16, generator=generator)
    return grid, query, torch.rand(points, 2, generator=generator) * 9


@pytest.mark.parametrize("points", [0, 1, 40])
def test_gives_what_the_numpy_function_gives(points):
    arguments = problem(points)
    expected = tapkernels.local_correlation(*(each.numpy() for each in arguments), 2)
    np.testing.assert_array_equal(ops.local_correlation(*arguments, radius=2), expected)
    np.testing.assert_array_equal(torch.ops.tapkernels.local_correlation(*arguments, 2), expected)


def test_takes_tensors_that_are_not_contiguous():
    grid, query, xy = problem()
    turned = grid.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    torch.testing.assert_close(ops.local_correlation(turned, query, xy), ops.local_correlation(grid, query, xy))


def test_is_registered_as_torch_asks():
    torch.library.opcheck(ops.local_correlation, (*problem(), 3))


def test_can_be_exported_with_any_number_of_points():
    class Module(torch.nn.Module):
        def forward(self, grid, query, xy):
            return torch.ops.tapkernels.local_correlation(grid, query, xy) * 2

    points = torch.export.Dim("points")
    program = torch.export.export(Module(), problem(5), dynamic_shapes=({}, {0: points}, {0: points}))
    arguments = problem(11)
    torch.testing.assert_close(program.module()(*arguments), ops.local_correlation(*arguments) * 2)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_refuses_to_be_differentiated(which):
    arguments = problem()
    arguments[which].requires_grad_()
    with pytest.raises(RuntimeError, match=r"has no gradient: call it under torch.no_grad\(\)"):
        ops.local_correlation(*arguments)
    with torch.no_grad():
        assert ops.local_correlation(*arguments).shape == (5, 49)


def test_errors_are_those_of_the_numpy_function():
    grid, query, xy = problem()
    with pytest.raises(tapkernels.ArgumentError, match=r"grid must be float32 \[H, W, C\], got float16"):
        ops.local_correlation(grid.half(), query, xy)


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
    for each in (program, decomposed):
        for got, expected in zip(each.module()(*arguments), MixerModule()(*arguments), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=5e-5)
