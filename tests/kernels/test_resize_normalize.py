"""What makes a resized frame right, whatever the instruction set."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapkernels import resize_normalize

SIZES = st.integers(1, 60)
# An instruction set stays chosen over the examples of a property, which is what is wanted here.
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=(height, width, 3), dtype=np.uint8)


def normalized(image):
    return image.astype(np.float32) / np.float32(255) * 2 - 1


@PROPERTY
@given(height=SIZES, width=SIZES, out_height=SIZES, out_width=SIZES, value=st.integers(0, 255))
def test_keeps_a_constant(isa, height, width, out_height, out_width, value):
    image = np.full((height, width, 3), value, np.uint8)
    result = resize_normalize(image, out_height, out_width)
    assert result.shape == (out_height, out_width, 3)
    np.testing.assert_allclose(result, value / 255 * 2 - 1, atol=1e-6)


@PROPERTY
@given(height=SIZES, width=SIZES, seed=st.integers(0, 1000))
def test_is_exact_at_the_same_size(isa, height, width, seed):
    image = noise(height, width, seed)
    np.testing.assert_array_equal(resize_normalize(image, height, width), normalized(image))
    scaled = (image / 255).astype(np.float32)
    np.testing.assert_array_equal(resize_normalize(scaled, height, width), scaled * 2 - 1)


@PROPERTY
@given(height=SIZES, width=SIZES, out_height=SIZES, out_width=SIZES)
def test_commutes_with_mirrors_and_transposition(isa, height, width, out_height, out_width):
    """No side is favoured: the pixel centres of both sizes are where they should be."""
    image = noise(height, width)
    result = resize_normalize(image, out_height, out_width)
    mirrored = resize_normalize(image[::-1, ::-1], out_height, out_width)
    np.testing.assert_allclose(mirrored, result[::-1, ::-1], atol=1e-6)
    turned = resize_normalize(image.transpose(1, 0, 2), out_width, out_height)
    np.testing.assert_allclose(turned, result.transpose(1, 0, 2), atol=1e-6)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda image: image[::2], id="every other row"),
        pytest.param(lambda image: image[5:40, 7:50], id="crop"),
        pytest.param(lambda image: image[:, :, ::-1], id="BGR"),
        pytest.param(lambda image: image[::-1], id="upside down"),
        pytest.param(lambda image: image[:, ::-3], id="mirrored, every third column"),
        pytest.param(lambda image: image.transpose(2, 0, 1).copy().transpose(1, 2, 0), id="planar"),
        pytest.param(lambda image: image[:, :1], id="one column"),
        pytest.param(lambda image: np.broadcast_to(image[:1, :1], (9, 8, 3)), id="broadcast"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_takes_any_strides(isa, view, dtype):
    image = view(noise(61, 67).astype(dtype) if dtype == np.uint8 else (noise(61, 67) / 255).astype(dtype))
    expected = resize_normalize(image.copy(), 20, 31)
    np.testing.assert_array_equal(resize_normalize(image, 20, 31), expected)


def test_does_not_alias_when_it_shrinks(isa):
    """Every pixel counts: a fine checkerboard becomes grey, where plain bilinear sampling keeps it black."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    result = resize_normalize(np.stack([board] * 3, axis=-1), 8, 8)
    np.testing.assert_allclose(result[1:-1, 1:-1], 0, atol=1e-6)


def test_maps_black_to_minus_one_and_white_to_one(isa):
    image = np.array([[[0, 255, 51]]], np.uint8)
    np.testing.assert_array_equal(resize_normalize(image, 1, 1), [[[-1, 1, np.float32(51 / 127.5) - 1]]])


@pytest.mark.parametrize("size", [(36, 64), (256, 256), (300, 500), (91, 160), (1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_agrees_with_interpolate(isa, size, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    image = noise(90, 160)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).double().permute(2, 0, 1)[None],
        size=size,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    if dtype == np.float32:
        image = (image / 255).astype(np.float32)
    np.testing.assert_allclose(
        resize_normalize(image, *size), expected[0].permute(1, 2, 0) / 127.5 - 1, rtol=0, atol=2e-6
    )
