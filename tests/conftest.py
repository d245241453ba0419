"""Fixtures that several folders share: artifacts, and a video."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from tapsdk.artifact import BUNDLED
from tapsdk.video import VideoWriter
from tests.support import SMALL, import_or_skip, known_model, moving_texture

if TYPE_CHECKING:
    from training.models.configs import TapirConfig


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The artifact that comes with the package."""
    return BUNDLED / "tapir" / "tiny"


@pytest.fixture(scope="session")
def small_config() -> TapirConfig:
    """tapir/tiny with as little of everything as shows each part at work, and not square."""
    from training.models.configs import CONFIGS

    return dataclasses.replace(
        CONFIGS["tapir/tiny"],
        resolution=(64, 96),
        channels=(8, 8, 16, 16),
        blocks=(1, 1, 1, 1),
        head=(4, 4, 4),
        mixer_width=16,
        mixer_blocks=1,
        iterations=2,
    )


@pytest.fixture(scope="session")
def small_model(small_config: TapirConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of SMALL, canonical."""
    torch = import_or_skip("torch")
    from training.checkpoints import Canonical, save_canonical
    from training.models.tapir_torch import Tapir

    torch.manual_seed(0)
    weights = {name: tensor.numpy() for name, tensor in Tapir(small_config).state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_canonical(Canonical(SMALL, small_config, weights, "random", "0" * 64), path)
    return path


@pytest.fixture(scope="session")
def exported(small_config: TapirConfig, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SMALL exported to ONNX. Do not write into it."""
    from export.pipeline import Options, export

    directory = tmp_path_factory.mktemp("artifacts") / "small-onnx"
    with known_model(SMALL, small_config):
        export(SMALL, "onnx", directory, Options(small_model))
    return directory


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Path:
    """The artifact that tests of the runtime track with: SMALL, or the bundled one where PyTorch is missing."""
    return request.getfixturevalue("bundled" if importlib.util.find_spec("torch") is None else "exported")


@pytest.fixture(scope="session")
def video() -> NDArray[np.uint8]:
    """[6, 48, 80, 3]: short, not square, and moving."""
    return moving_texture()


@pytest.fixture(scope="session")
def video_file(video: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video as an mp4 of 25 frames per second."""
    path = tmp_path_factory.mktemp("videos") / "texture.mp4"
    with VideoWriter(path, 25, video.shape[1:3]) as writer:
        for frame in video:
            writer.write(frame)
    return path
