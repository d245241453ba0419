"""What makes a mixer that of TAPIR, and how its weights and its memory are handed over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tapkernels
from tapkernels import ArgumentError, MixerWeights, reference
from tapkernels.mixer_weights import parameter_shapes

F = np.float32
INPUTS, WIDTH, BLOCKS, OUTPUTS = SIZES = 11, 18, 3, 7


def parameters(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    shapes = parameter_shapes(*sizes).items()
    return {name: (rng.normal(size=shape) / np.prod(shape[1:]) ** 0.5).astype(F) for name, shape in shapes}


def problem(points=5, sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    inputs, width, blocks, _ = sizes
    shapes = (points, inputs), (blocks, points, 2, width), (blocks, points, 2, 4 * width)
    return *(rng.normal(size=shape).astype(F) for shape in shapes), MixerWeights.pack(parameters(sizes, seed))


@pytest.mark.parametrize(("width", "blocks"), [(16, 2), (37, 1), (128, 5)])
def test_computes_what_the_model_in_torch_does(isa, width, blocks):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from training.models.registry import CONFIGS
    from training.models.tapir.torch import Mixer, MixerState

    torch.manual_seed(0)
    config = replace(CONFIGS["tapir/tiny"], mixer_width=width, mixer_blocks=blocks)
    module = Mixer(config).eval()
    for parameter in module.parameters():  # biases and norms begin as zeros and ones, which would hide mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    weights = MixerWeights.pack({f"mixer.{name}": p for name, p in module.state_dict().items()}, "mixer.")
    state = MixerState(torch.zeros(blocks, 9, 2, width), torch.zeros(blocks, 9, 2, 4 * width))
    memory = tuple(tensor.numpy() for tensor in state)
    for _ in range(4):
        x = torch.randn(9, weights.inputs)
        with torch.no_grad():
            expected, state = module(x[:, None], state)
        out, *memory = tapkernels.mixer(x.numpy(), *memory, weights)
        np.testing.assert_allclose(out, expected[:, 0], atol=2e-5)
        for got, wanted in zip(memory, state, strict=True):
            np.testing.assert_allclose(got, wanted, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_may_be_updated_where_it_is(isa, threads):
    x, narrow, wide, weights = problem(points=40)
    expected = tapkernels.mixer(x, narrow, wide, weights)
    out, next_narrow, next_wide = tapkernels.mixer(
        x, narrow, wide, weights, next_memory=(narrow, wide), threads=threads
    )
    assert next_narrow is narrow and next_wide is wide
    for got, wanted in zip((out, narrow, wide), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_memory_may_be_written_to_arrays_that_are_given():
    x, narrow, wide, weights = problem()
    others = np.full_like(narrow, 9), np.full_like(wide, 9)
    before = narrow.copy(), wide.copy()
    out, *memory = tapkernels.mixer(x, narrow, wide, weights, next_memory=others)
    assert memory[0] is others[0] and memory[1] is others[1]
    for got, wanted in zip((out, *others), tapkernels.mixer(x, narrow, wide, weights), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(narrow, before[0])
    np.testing.assert_array_equal(wide, before[1])


def test_memory_holds_the_last_two_frames(isa):
    x, narrow, wide, weights = problem()
    _, next_narrow, next_wide = tapkernels.mixer(x, narrow, wide, weights)
    np.testing.assert_array_equal(next_narrow[:, :, 0], narrow[:, :, 1])
    np.testing.assert_array_equal(next_wide[:, :, 0], wide[:, :, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_a_point_that_is_no_number_touches_no_other(isa, value):
    x, narrow, wide, weights = problem(points=20)
    expected = tapkernels.mixer(x, narrow, wide, weights, threads=1)
    x[3], narrow[:, 7], wide[:, 11, 1] = value, value, value
    results = tapkernels.mixer(x, narrow, wide, weights, threads=1)
    for got, wanted, axis in zip(results, expected, (0, 1, 1), strict=True):
        np.testing.assert_array_equal(np.delete(got, [3, 7, 11], axis), np.delete(wanted, [3, 7, 11], axis))
    if np.isnan(value):
        assert np.isnan(results[0][[3, 7, 11]]).all()


def test_gelu_is_exact_over_its_whole_range(isa):
    """Without taps, what the second convolution sees is the gelu of the first one's bias."""
    width = 512
    arrays = {name: np.zeros_like(array) for name, array in parameters((1, width, 1, 1)).items()}
    bias = np.concatenate([np.linspace(-12, 12, 4 * width - 6), [0, -0.0, 1e-30, -1e-30, 1e30, -1e30]]).astype(F)
    arrays["blocks.0.time.up_bias"] = bias
    nothing = np.zeros((1, 1), F), np.zeros((1, 1, 2, width), F), np.zeros((1, 1, 2, 4 * width), F)
    _, _, wide = tapkernels.mixer(*nothing, MixerWeights.pack(arrays))
    x = bias.astype(np.float64)
    exponent = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    with np.errstate(over="ignore"):
        expected = x / (1 + np.exp(-exponent))
    error = abs(wide[0, 0, 1] - expected)
    # exp adds 2e-7 of itself, and magnifies what rounding did to its argument.
    assert (error <= 3e-7 * (1 + np.fmin(abs(exponent), 100)) * abs(expected) + 1e-37).all()


def test_weights_come_back_as_they_were():
    arrays = parameters()
    unpacked = MixerWeights.pack(arrays).unpack()
    assert list(unpacked) == list(parameter_shapes(*SIZES))
    for name, array in arrays.items():
        np.testing.assert_array_equal(unpacked[name], array)


def test_weights_may_be_of_any_precision_and_among_others():
    arrays = {f"mixer.{name}": array.astype(np.float16) for name, array in parameters().items()}
    weights = MixerWeights.pack({**arrays, "head.shared.bias": np.zeros(3)}, "mixer.")
    assert (weights.inputs, weights.width, weights.blocks, weights.outputs) == SIZES
    np.testing.assert_array_equal(weights.unpack()["norm.weight"], arrays["mixer.norm.weight"].astype(F))


def test_packed_weights_begin_at_a_line_of_the_cache():
    assert all(MixerWeights.pack(parameters(seed=seed)).packed.ctypes.data % 64 == 0 for seed in range(8))


def spoilt(**changes):
    arrays = parameters()
    for name, value in changes.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "embed.weight must be a matrix, and is not there"),
        (spoilt(**{"out.weight": np.zeros(3, F)}), "out.weight must be a matrix, got [3]"),
        (spoilt(**{"norm.weight": None}), "norm.weight must be [18], and is not there"),
        (
            spoilt(**{"blocks.1.time.up_weight": np.zeros((72, 5), F)}),
            "blocks.1.time.up_weight must be [72, 3], got [72, 5]",
        ),
        (spoilt(**{"blocks.0.gate": np.zeros(3, F)}), "blocks.0.gate is no parameter of a mixer of 3 blocks"),
        (spoilt(**{"blocks.4.gate": np.zeros(3, F)}), "blocks.3.norm_time.weight must be [18], and is not there"),
    ],
)
def test_weights_that_are_no_mixer_are_refused(arrays, message):
    with pytest.raises(ArgumentError) as error:
        MixerWeights.pack(arrays)
    assert str(error.value) == f"MixerWeights.pack: {message}"


X, NARROW, WIDE, WEIGHTS = problem()
BUFFER = np.zeros(NARROW.size + 1, F)
OVERLAPPING = BUFFER[:-1].reshape(NARROW.shape), BUFFER[1:].reshape(NARROW.shape)
FROZEN = np.zeros_like(NARROW)
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    ("arguments", "next_memory", "message"),
    [
        ((X[0], NARROW, WIDE), None, "x must be float32 [N, F], got float32 [11]"),
        (
            (X, NARROW[:, :4].copy(), WIDE),
            None,
            "narrow must be float32 [B, N, 2, C] with N = 5 as in x, got float32 [3, 4, 2, 18]",
        ),
        ((X, NARROW, WIDE[..., :70].copy()), None, "wide must have H = 4 C = 72, got 70"),
        (
            (X[:, :9].copy(), NARROW, WIDE),
            None,
            "weights for F = 9, C = 18, B = 3 and O = 7 are 14336 floats, got 14400; "
            "tapkernels.MixerWeights.pack makes them",
        ),
        (
            (X, NARROW, WIDE),
            (NARROW[:2], WIDE),
            "next_narrow must be float32 [3, 5, 2, 18], got float32 [2, 5, 2, 18]",
        ),
        (
            (X, NARROW, WIDE),
            (NARROW.astype(np.float64), WIDE),
            "next_narrow must be float32 [B, N, 2, C], got float64 [3, 5, 2, 18]",
        ),
        (
            (X, NARROW, WIDE),
            (NARROW.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2), WIDE),
            "next_narrow must be C-contiguous; numpy.ascontiguousarray(next_narrow) makes it so",
        ),
        ((X, NARROW, WIDE), (FROZEN, WIDE), "next_narrow must be writable; a copy is"),
        (
            (X, OVERLAPPING[0], WIDE),
            (OVERLAPPING[1], WIDE),
            "next_narrow overlaps narrow; give it memory of its own",
        ),
    ],
)
def test_says_what_it_takes(arguments, next_memory, message):
    with pytest.raises(ArgumentError) as error:
        tapkernels.mixer(*arguments, WEIGHTS, next_memory=next_memory)
    assert str(error.value) == f"mixer: {message}"


def test_the_reference_leaves_its_arguments_alone():
    arguments = problem()
    before = [array.copy() for array in arguments[:3]]
    reference.mixer(*arguments)
    for array, copy in zip(arguments[:3], before, strict=True):
        np.testing.assert_array_equal(array, copy)
