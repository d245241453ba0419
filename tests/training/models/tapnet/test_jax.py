"""TAP-Net in JAX is TAP-Net in torch: same names, same numbers, same gradients. Its goldens are in test_golden."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")
jax = pytest.importorskip("jax", reason="needs JAX: pip install '.[jax]'")
pytest.importorskip("equinox", reason="needs Equinox: pip install '.[jax]'")

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from tests.training.models.frameworks import random_clip  # noqa: E402
from tests.training.models.tapnet.small import SMALL, random_weights  # noqa: E402
from training.models.layers.modules_jax import named_parameters  # noqa: E402
from training.models.tapnet.jax import Tapnet as JaxTapnet  # noqa: E402
from training.models.tapnet.torch import Tapnet as TorchTapnet  # noqa: E402


def both() -> tuple[TorchTapnet, JaxTapnet]:
    """The same model in both frameworks."""
    torch_model = TorchTapnet(SMALL)
    weights = random_weights(torch_model.state_dict())
    torch_model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return torch_model.eval(), JaxTapnet.from_weights(SMALL, weights)


@pytest.mark.parametrize("frames, size", [(5, (40, 56)), (1, (25, 33))])
def test_clips_are_torchs(frames: int, size: tuple[int, int]) -> None:
    torch_model, jax_model = both()
    video, queries = random_clip(2, frames, *size, points=3)
    with torch.inference_mode():
        expected = torch_model.clip(torch.from_numpy(video), torch.from_numpy(queries))
    found = jax_model.clip(video, queries)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=2e-3, err_msg=name)


def test_gradients_are_torchs() -> None:
    """Of every parameter; what batch normalisation has counted has none."""
    torch_model, jax_model = both()
    video, queries = random_clip(1, 3, 24, 40, points=2)
    outputs = torch_model.clip(torch.from_numpy(video), torch.from_numpy(queries))
    sum(value.square().mean() for value in outputs.values()).backward()

    @eqx.filter_grad
    def gradient(model):
        return sum(jnp.square(value).mean() for value in model.clip(video, queries).values())

    found = named_parameters(gradient(jax_model))
    for name, parameter in torch_model.named_parameters():
        expected = parameter.grad.numpy()
        np.testing.assert_allclose(
            found[name], expected, rtol=0, atol=1e-4 * (1 + np.abs(expected).max()), err_msg=name
        )


def test_no_points_have_no_tracks() -> None:
    outputs = both()[1].clip(*random_clip(1, 2, 24, 40, points=1)[:1], np.zeros((1, 0, 3), np.float32))
    assert outputs["tracks"].shape == (1, 0, 2, 2)
    assert outputs["occlusion"].shape == (1, 0, 2)


def test_a_point_is_at_its_query_in_its_querys_frame() -> None:
    video, queries = random_clip(1, 4, 24, 40, points=2)
    queries[0, :, 0] = 0.5, 1.5
    tracks = np.asarray(both()[1].clip(video, queries)["tracks"])
    assert tracks[0, 0, 0].tolist() == queries[0, 0, :0:-1].tolist()
    assert tracks[0, 1, 2].tolist() == queries[0, 1, :0:-1].tolist()
