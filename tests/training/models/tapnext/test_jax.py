"""TAPNext in JAX is TAPNext in torch: same names, same numbers, same gradients; and DeepMind's."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")
jax = pytest.importorskip("jax", reason="needs JAX: pip install '.[jax]'")
pytest.importorskip("equinox", reason="needs Equinox: pip install '.[jax]'")

import equinox as eqx  # noqa: E402

from tests.training.models.frameworks import random_clip, spread  # noqa: E402
from tests.training.models.tapnext.golden import (  # noqa: E402
    ROWS,
    assert_golden,
    convert_golden,
    golden_inputs,
    load_golden,
)
from training.models.layers.modules_jax import named_parameters  # noqa: E402
from training.models.rollout import frame_by_frame  # noqa: E402
from training.models.tapnext import losses_jax as tapnext_losses_jax  # noqa: E402
from training.models.tapnext import losses_torch as tapnext_losses_torch  # noqa: E402
from training.models.tapnext.config import TapnextConfig  # noqa: E402
from training.models.tapnext.jax import Tapnext as JaxTapnext  # noqa: E402
from training.models.tapnext.official import as_published  # noqa: E402
from training.models.tapnext.torch import Tapnext as TorchTapnext  # noqa: E402

SMALL = TapnextConfig(
    width=32, depth=2, heads=2, mlp_width=48, grid=(4, 4), bins=32, head_width=16, softargmax_radius=4
)
CONFIGS = {"as in JAX": as_published(SMALL, "jax"), "as in PyTorch": as_published(SMALL, "torch")}


def both(config: TapnextConfig = SMALL) -> tuple[TorchTapnext, JaxTapnext]:
    """The same model in both frameworks."""
    with torch.device("meta"):
        weights = spread(TorchTapnext(config).state_dict())
    torch_tapnext = TorchTapnext(config)
    torch_tapnext.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return torch_tapnext.eval(), JaxTapnext.from_weights(config, weights)


def assert_close(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), np.asarray(tensor), rtol=0, atol=5e-4, err_msg=name)


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (64, 64)])
@pytest.mark.parametrize("config", CONFIGS)
def test_clips_are_torchs(config: str, size: tuple[int, int]) -> None:
    torch_tapnext, jax_tapnext = both(CONFIGS[config])
    video, queries = random_clip(2, 6, *size, points=3)
    with torch.inference_mode():
        expected = torch_tapnext.clip(torch.from_numpy(video), torch.from_numpy(queries))
    assert_close(jax_tapnext.clip(video, queries, chunk=3), expected)


def test_frame_by_frame_is_torchs() -> None:
    torch_tapnext, jax_tapnext = both()
    video, queries = random_clip(2, 6, 32, 48, points=3)
    with torch.inference_mode():
        expected = frame_by_frame(torch_tapnext, torch.from_numpy(video), torch.from_numpy(queries))
    assert_close(frame_by_frame(jax_tapnext, video, queries), expected)


def test_rows_that_only_fill_up_are_torchs() -> None:
    torch_tapnext, jax_tapnext = both()
    video, queries = random_clip(2, 3, 32, 48, points=3)
    active = np.float32([[1, 1, 0], [1, 0, 0]])
    with torch.inference_mode():
        state = torch_tapnext.init(torch.from_numpy(video[:, :1]), torch.from_numpy(queries))
        expected, _ = torch_tapnext.advance(torch.from_numpy(video), state, torch.from_numpy(active))
    found, _ = jax_tapnext.advance(video, jax_tapnext.init(video[:, :1], queries), active)
    assert_close(found, expected)


def test_frames_that_do_not_divide_into_patches_are_refused() -> None:
    video, queries = random_clip(1, 1, 30, 32, points=1)
    with pytest.raises(ValueError, match="do not divide into patches of 8x8"):
        both()[1].init(video, queries)


def random_batch(frames: int = 5, height: int = 32, width: int = 48, points: int = 3) -> dict[str, np.ndarray]:
    """As training has them, with tracks that leave the frame as well, and a picture that is hidden in the second."""
    rng = np.random.default_rng(1)
    video, queries = random_clip(2, frames, height, width, points)
    xy = rng.uniform((-5, -5), (width + 5, height + 5), (2, frames, points, 2)).astype(np.float32)
    visible, known = rng.uniform(size=(2, *xy.shape[:3])) < 0.7
    hidden_from = np.int32([frames, 2])
    return {
        "video": video,
        "queries_tyx": queries,
        "xy": xy,
        "visible": visible,
        "known": known,
        "hidden_from": hidden_from,
    }


def test_losses_of_a_batch_and_their_gradients_are_torchs() -> None:
    """Of every parameter."""
    torch_tapnext, jax_tapnext = both()
    batch = random_batch()
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    expected = tapnext_losses_torch.batch_losses(torch_tapnext, tensors, tensors["visible"].sum())
    sum(expected.values()).backward()

    def losses(tapnext):
        parts = tapnext_losses_jax.batch_losses(tapnext, batch, mixed_precision=False)
        return sum(parts.values()), parts

    gradients, parts = eqx.filter_jit(eqx.filter_grad(losses, has_aux=True))(jax_tapnext)
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(parts[name], value.detach().numpy(), rtol=1e-4, err_msg=name)
    found = named_parameters(gradients)
    for name, parameter in torch_tapnext.named_parameters():
        grad = parameter.grad.numpy()
        np.testing.assert_allclose(found[name], grad, rtol=0, atol=1e-4 * (0.01 + np.abs(grad).max()), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout"), ROWS)
def test_golden(name: str, layout: str, tmp_path: Path) -> None:
    arrays = load_golden(name)
    canonical = convert_golden(layout, int(arrays["seed"]), tmp_path)
    tapnext = JaxTapnext.from_weights(canonical.config, canonical.weights)
    inputs = golden_inputs(arrays)
    if "clip_tracks_yx" in arrays:
        assert_golden(tapnext.clip(*inputs), arrays, "clip")
    assert_golden(frame_by_frame(tapnext, *inputs), arrays, "online")
