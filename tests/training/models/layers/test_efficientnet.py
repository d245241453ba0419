"""EfficientNet-Lite0 as an encoder: one table, two frameworks, any size that the grids allow."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")
jax = pytest.importorskip("jax", reason="needs JAX: pip install '.[jax]'")
pytest.importorskip("equinox", reason="needs Equinox: pip install '.[jax]'")

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from tests.training.models.frameworks import spread  # noqa: E402
from training.models.layers.efficientnet import blocks, encoder_parameters, tap_widths  # noqa: E402
from training.models.layers.efficientnet_jax import EfficientNetLite as JaxEncoder  # noqa: E402
from training.models.layers.efficientnet_torch import EfficientNetLite as TorchEncoder  # noqa: E402
from training.models.layers.modules_jax import from_weights, key_stream, named_parameters  # noqa: E402

HIGH, LOW = 6, 10

SIZES = [(32, 48), (24, 40), (8, 72), (40, 16)]
"""Multiples of 16, and odd multiples of 8, on both axes and on one."""


def torch_encoder() -> TorchEncoder:
    encoder = TorchEncoder(HIGH, LOW)
    weights = spread(encoder.state_dict())
    encoder.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return encoder.eval()


def jax_encoder(encoder: TorchEncoder) -> JaxEncoder:
    """The same in JAX."""
    skeleton = eqx.filter_eval_shape(lambda key: JaxEncoder(HIGH, LOW, key_stream(key)), jax.random.key(0))
    return from_weights(skeleton, {name: tensor.numpy() for name, tensor in encoder.state_dict().items()})


def frames(height: int, width: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, height, width, 3)).astype(np.float32)


def grids_of(encoder: TorchEncoder, video: np.ndarray) -> list[np.ndarray]:
    """[F, h, w, C]."""
    with torch.inference_mode():
        return [grid.permute(0, 2, 3, 1).numpy() for grid in encoder(torch.from_numpy(video).permute(0, 3, 1, 2))]


def test_the_table_is_that_of_the_published_network_to_block_10() -> None:
    rows = list(blocks())
    assert [block.outputs for block in rows] == [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112]
    assert [block.kernel for block in rows] == [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5]
    assert [i for i, block in enumerate(rows) if block.stride == 2] == [1, 3, 5]
    assert [i for i, block in enumerate(rows) if not block.widens] == [0]
    assert [i for i, block in enumerate(rows) if block.adds_input] == [2, 4, 6, 7, 9, 10]
    assert tap_widths() == (24, 40, 112)


def test_both_frameworks_have_the_parameters_that_the_table_names() -> None:
    encoder = torch_encoder()
    names = list(encoder_parameters())
    assert len(set(names)) == len(names)
    assert set(names) == encoder.state_dict().keys() == named_parameters(jax_encoder(encoder)).keys()


@pytest.mark.parametrize("size", SIZES)
def test_grids_are_a_quarter_and_an_eighth_of_the_frame(size: tuple[int, int]) -> None:
    high, low = grids_of(torch_encoder(), frames(*size))
    assert high.shape == (2, size[0] // 4, size[1] // 4, HIGH)
    assert low.shape == (2, size[0] // 8, size[1] // 8, LOW)


@pytest.mark.parametrize("size", SIZES)
def test_grids_are_the_same_in_both_frameworks(size: tuple[int, int]) -> None:
    encoder, video = torch_encoder(), frames(*size)
    for found, expected in zip(jax_encoder(encoder)(video), grids_of(encoder, video), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_gradients_are_the_same_in_both_frameworks() -> None:
    encoder, video = torch_encoder(), frames(24, 40, count=1)
    grids = encoder(torch.from_numpy(video).permute(0, 3, 1, 2))
    sum(grid.square().mean() for grid in grids).backward()

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(twin: JaxEncoder) -> jax.Array:
        return sum(jnp.square(grid).mean() for grid in twin(video))

    found = named_parameters(gradient(jax_encoder(encoder)))
    for name, parameter in encoder.named_parameters():
        expected = parameter.grad.numpy()
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-3 * np.abs(expected).max(), err_msg=name)
        assert np.abs(expected).max() > 0, name


def test_what_is_beyond_an_odd_border_moves_nothing_inside() -> None:
    """A frame that ends at an odd multiple of 8 has the features of a wider one, away from its end."""
    encoder = torch_encoder()
    whole = frames(64, 512, count=1)
    cut = whole[:, :, :504]
    for one, other, cells in zip(grids_of(encoder, whole), grids_of(encoder, cut), (40, 20), strict=True):
        np.testing.assert_allclose(other[:, :, :cells], one[:, :, :cells], rtol=0, atol=1e-4 * np.abs(one).max())
