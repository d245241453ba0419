"""Embeddings are computed in single precision, whatever is around them; and what the constants are."""

from typing import Any

import numpy as np
import pytest

from tests.training.models.trajan.small import SMALL, small, some_latents, some_queries, some_tracks
from training.models.trajan.constants import LEVELS, dither_noise, scales, threefry_uniform

NUMBERS = np.random.default_rng(0).random((50, 2)).astype(np.float32)


def embedded(numbers: np.ndarray) -> np.ndarray:
    """In numpy and single precision, [..., C] to [..., 64 C]."""
    angles = numbers[..., None] * scales(32)
    return np.sin(np.concatenate([angles, angles + np.float32(np.pi / 2)], -1)).reshape(len(numbers), -1)


def test_scales_rise_by_thirds_of_an_octave() -> None:
    assert scales(32).dtype == np.float32
    np.testing.assert_allclose(scales(32)[::3], 2.0 ** np.arange(11))


def test_torch_embeds_in_single_precision() -> None:
    torch = pytest.importorskip("torch")
    from training.models.trajan.torch import embed

    numbers = torch.from_numpy(NUMBERS)
    expected = embed(numbers, 32)
    np.testing.assert_allclose(expected, embedded(NUMBERS), rtol=0, atol=1e-6)
    assert torch.equal(embed(numbers.double(), 32), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(embed(numbers, 32), expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(embed(numbers, 32), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_jax_embeds_in_single_precision() -> None:
    jax = pytest.importorskip("jax")
    from training.models.trajan.jax import embed

    expected = np.asarray(embed(jax.numpy.asarray(NUMBERS), 32))
    np.testing.assert_allclose(expected, embedded(NUMBERS), rtol=0, atol=1e-6)
    jax.config.update("jax_enable_x64", True)  # the fixture `single_precision` turns it back
    found = np.asarray(embed(jax.numpy.asarray(NUMBERS, "float64"), 32))
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


@pytest.mark.slow  # it compiles
def test_jax_in_double_precision_gives_the_same() -> None:
    model = small("jax")
    import jax

    tracks, visible, frames = some_tracks()
    arguments = (tracks.astype(np.float64), visible, frames, some_queries().astype(np.float64))
    expected = model.reconstruct(*arguments)
    jax.config.update("jax_enable_x64", True)
    found = model.reconstruct(*arguments)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(np.asarray(found[name]), np.asarray(array), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_torch_model_of_another_precision_gives_nearly_the_same(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    import copy

    model = small("torch")
    other = copy.deepcopy(model).to(getattr(torch, dtype))
    expected, found = (each.reconstruct(*some_tracks(), some_queries()) for each in (model, other))
    difference = (found["tracks"] - expected["tracks"]).abs().max()
    assert difference < (1e-4 if dtype == "float64" else 0.5)


def test_under_autocast_a_torch_model_gives_nearly_the_same() -> None:
    torch = pytest.importorskip("torch")
    model = small("torch")
    expected = model.reconstruct(*some_tracks(), some_queries())
    with torch.autocast("cpu", torch.bfloat16):
        found = model.reconstruct(*some_tracks(), some_queries())
    assert found["tracks"].dtype == torch.float32
    assert 0 < (found["tracks"] - expected["tracks"]).abs().max() < 0.5


# Dither


def test_the_dither_is_jaxs() -> None:
    jax = pytest.importorskip("jax")
    with jax.threefry_partitionable(True):
        expected = np.asarray(jax.random.uniform(jax.random.PRNGKey(0), (1, 128, 64)))
    assert np.array_equal(threefry_uniform(128 * 64).reshape(1, 128, 64), expected)
    np.testing.assert_allclose(dither_noise(128, 64), expected[0] / 128 - 1 / 256, rtol=0, atol=1e-9)


def test_the_dither_is_half_a_step_at_most_and_cannot_be_changed() -> None:
    noise = dither_noise(SMALL.latents, SMALL.channels)
    assert noise.shape == (SMALL.latents, SMALL.channels)
    assert np.abs(noise).max() <= 0.5 / LEVELS
    with pytest.raises(ValueError, match="read-only"):
        noise[0] = 0


def test_gradients_pass_the_rounding_but_not_the_border() -> None:
    torch = pytest.importorskip("torch")
    latents = torch.from_numpy(some_latents()).requires_grad_()
    small("torch").decode(latents, some_queries())["tracks"].sum().backward()
    inside = latents.detach().abs() < 1
    assert inside.any() and not inside.all()
    assert torch.equal(latents.grad != 0, inside)


@pytest.mark.slow  # it compiles
def test_gradients_are_the_same_in_jax() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    latents = torch.from_numpy(some_latents()).requires_grad_()
    small("torch").decode(latents, some_queries())["tracks"].sum().backward()

    def total(latents: Any) -> Any:
        return small("jax").decode(latents, some_queries())["tracks"].sum()

    found = jax.grad(total)(jax.numpy.asarray(some_latents()))
    np.testing.assert_allclose(np.asarray(found), latents.grad, rtol=0, atol=1e-4)
