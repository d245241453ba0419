"""TAPIR in JAX is TAPIR in torch: same names, same numbers, same gradients. Its goldens are in test_tapir_golden."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")
jax = pytest.importorskip("jax", reason="needs JAX: pip install '.[jax]'")
pytest.importorskip("equinox", reason="needs Equinox: pip install '.[jax]'")

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from tests.training.models.frameworks import random_clip, spread  # noqa: E402
from training.models.layers import sampling_jax, sampling_torch  # noqa: E402
from training.models.layers.modules_jax import named_parameters  # noqa: E402
from training.models.registry import CONFIGS  # noqa: E402
from training.models.rollout import frame_by_frame  # noqa: E402
from training.models.tapir.config import TapirConfig  # noqa: E402
from training.models.tapir.jax import Tapir as JaxTapir  # noqa: E402
from training.models.tapir.torch import Tapir as TorchTapir  # noqa: E402

VARIANTS = [name for name in CONFIGS if name.startswith("tapir/")]
CAUSAL = [name for name in VARIANTS if CONFIGS[name].causal]


def small(variant: str) -> TapirConfig:
    """What sets a variant apart, on as little as shows it."""
    config = CONFIGS[variant]
    return replace(
        config,
        channels=(4, 8, 8, 12),
        blocks=(1, 1, 2, 1) if variant == "tapir/boots" else (1, 1, 1, 1),
        extra_convs=min(config.extra_convs, 1),
        head=(4, 4, 4),
        mixer_width=16,
        mixer_blocks=2,
        iterations=2,
        resolution=(32, 32),
    )


def both(config: TapirConfig, correlate: str = "gather") -> tuple[TorchTapir, JaxTapir]:
    """The same model in both frameworks."""
    with torch.device("meta"):
        weights = spread(TorchTapir(config).state_dict())
    torch_tapir = TorchTapir(config, correlate)
    torch_tapir.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return torch_tapir.eval(), JaxTapir.from_weights(config, weights, correlate)


def assert_close(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), np.asarray(tensor), rtol=0, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("size", [pytest.param((32, 32), marks=pytest.mark.slow), (24, 40)])  # it compiles
@pytest.mark.parametrize("variant", VARIANTS)
def test_clips_are_torchs(variant: str, size: tuple[int, int]) -> None:
    torch_tapir, jax_tapir = both(small(variant))
    video, queries = random_clip(2, 4, *size, points=3)
    with torch.inference_mode():
        expected = torch_tapir.clip(torch.from_numpy(video), torch.from_numpy(queries))
    assert_close(jax_tapir.clip(video, queries), expected)


@pytest.mark.parametrize("variant", CAUSAL)
def test_frame_by_frame_is_torchs(variant: str) -> None:
    torch_tapir, jax_tapir = both(small(variant))
    video, queries = random_clip(2, 4, 32, 48, points=3)
    with torch.inference_mode():
        expected = frame_by_frame(torch_tapir, torch.from_numpy(video), torch.from_numpy(queries))
    assert_close(frame_by_frame(jax_tapir, video, queries), expected)


@pytest.mark.parametrize("correlate", ["dense", pytest.param("gather", marks=pytest.mark.slow)])
def test_gradients_are_torchs(correlate: str) -> None:
    """Of every parameter, over two resolutions."""
    torch_tapir, jax_tapir = both(small("tapir/boots"), correlate)
    video, queries = random_clip(1, 3, 32, 48, points=2)
    outputs = torch_tapir.clip(torch.from_numpy(video), torch.from_numpy(queries))
    sum(value.square().mean() for value in outputs.values()).backward()

    @eqx.filter_grad
    def gradient(tapir):
        return sum(jnp.square(value).mean() for value in tapir.clip(video, queries).values())

    found = named_parameters(gradient(jax_tapir))
    for name, parameter in torch_tapir.named_parameters():
        expected = parameter.grad.numpy()
        np.testing.assert_allclose(
            found[name], expected, rtol=0, atol=1e-4 * (1 + np.abs(expected).max()), err_msg=name
        )


def test_points_do_not_see_one_another() -> None:
    _, tapir = both(small("tapir/causal"))
    video, queries = random_clip(1, 3, 32, 32, points=3)
    assert_close(tapir.clip(video, queries, chunk=2), tapir.clip(video, queries))


def test_no_points_have_no_tracks() -> None:
    _, tapir = both(small("tapir/base"))
    outputs = tapir.clip(*random_clip(1, 2, 32, 32, points=0))
    assert outputs["tracks"].shape == (1, 0, 2, 2)
    assert outputs["occlusion"].shape == outputs["expected_dist"].shape == (1, 0, 2)


def test_offline_variants_refuse_frame_by_frame() -> None:
    _, tapir = both(small("tapir/base"))
    video, queries = random_clip(1, 1, 32, 32, points=1)
    with pytest.raises(ValueError, match="causal"):
        tapir.init(video, queries)


def test_weights_that_do_not_fit_are_named() -> None:
    config = small("tapir/base")
    weights = {name: np.zeros(leaf.shape, np.float32) for name, leaf in named_parameters(both(config)[1]).items()}
    weights["extra"] = weights.pop("mixer.out.bias")
    weights["resnet.stem.weight"] = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"mixer\.out\.bias is missing") as error:
        JaxTapir.from_weights(config, weights)
    assert "extra is unknown" in str(error.value)
    assert "resnet.stem.weight is [1, 2] instead of [4, 3, 7, 7]" in str(error.value)


@pytest.mark.parametrize("name", ["correlate_dense", "correlate_gather"])
@pytest.mark.parametrize("size", [(1, 1), (5, 9)])
def test_lookups_are_torchs(size: tuple[int, int], name: str) -> None:
    rng = np.random.default_rng(0)
    shapes = ((2, *size, 7), (2, 30, 7))
    grid, query = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    xy = rng.uniform(-6, 15, (2, 30, 2)).astype(np.float32)
    expected = getattr(sampling_torch, name)(*map(torch.from_numpy, (grid, query, xy)), 3)
    found = getattr(sampling_jax, name)(*map(jnp.asarray, (grid, query, xy)), 3)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)


def test_samples_are_torchs() -> None:
    rng = np.random.default_rng(0)
    grid = rng.standard_normal((2, 3, 5, 9, 4)).astype(np.float32)
    tyx = rng.uniform((-1, -1, -1), (4, 6, 10), (2, 30, 3)).astype(np.float32)
    expected = sampling_torch.sample_clip(torch.from_numpy(grid), torch.from_numpy(tyx))
    np.testing.assert_allclose(sampling_jax.sample_clip(jnp.asarray(grid), jnp.asarray(tyx)), expected, atol=2e-5)
    expected = sampling_torch.sample_frame(torch.from_numpy(grid[:, 0]), torch.from_numpy(tyx[..., 1:]))
    found = sampling_jax.sample_frame(jnp.asarray(grid[:, 0]), jnp.asarray(tyx[..., 1:]))
    np.testing.assert_allclose(found, expected, atol=2e-5)
