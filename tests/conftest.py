"""Fixtures that several folders share: artifacts, and a video."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tapsdk.artifact import BUNDLED
from tapsdk.system.places import Url
from tapsdk.video import VideoWriter
from tests.stores import STORES, Front, google_behind_a_front, new_folder_in
from tests.support import BUCKETS, SMALL, SMALL_CLIP, import_or_skip, known_model, moving_texture

if TYPE_CHECKING:
    from training.models.tapir.config import TapirConfig


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is kept among the user's files."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAPSDK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> None:
    """As in a terminal. `nohup`, and a shell that starts the tests in the background, have them ignore signals that
    tests send to themselves and to their children."""
    for name, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="module", params=STORES)
def any_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a store, of each kind."""
    with STORES[request.param]() as url:
        yield url


@pytest.fixture
def stored(any_store: str) -> Url:
    """A URL in a store, of each kind, under which there is nothing."""
    return new_folder_in(any_store)


@pytest.fixture
def in_memory() -> Iterator[Url]:
    """A URL in the memory of this process under which there is nothing."""
    with STORES["memory"]() as url:
        yield new_folder_in(url)


@pytest.fixture
def front() -> Iterator[Front]:
    """What is between us and a store of Google's, gs://bucket; its `fault` may be set."""
    with google_behind_a_front() as front:
        yield front


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The artifact that comes with the package."""
    return BUNDLED / "tapir" / "tiny"


@pytest.fixture(scope="session")
def small_config() -> TapirConfig:
    """tapir/tiny with as little of everything as shows each part at work, and not square."""
    from training.models.registry import CONFIGS

    return dataclasses.replace(
        CONFIGS["tapir/tiny"],
        resolution=(64, 96),
        encoder="residual",  # of which a small one is quick; the other one has its own row in the tests of each target
        channels=(8, 8, 16, 16),
        blocks=(1, 1, 1, 1),
        strides=(2, 1, 2, 1),
        head=(4, 4, 4),
        mixer_width=16,
        mixer_blocks=1,
        iterations=2,
        flow=None,  # of random weights: nothing is sure, and all that would be compared is the picture
    )


@pytest.fixture(scope="session")
def clip_config(small_config: TapirConfig) -> TapirConfig:
    """As small, but over all frames of a clip, and at several resolutions."""
    return dataclasses.replace(
        small_config, causal=False, motion_prior=0.0, flow=None, size_multiple=None, extra_convs=1
    )


@pytest.fixture(scope="session")
def small_model(small_config: TapirConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of SMALL, canonical."""
    return save_random(SMALL, small_config, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def clip_model(clip_config: TapirConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of SMALL_CLIP, canonical."""
    return save_random(SMALL_CLIP, clip_config, tmp_path_factory.mktemp("weights"))


def save_random(name: str, config: TapirConfig, folder: Path) -> Path:
    torch = import_or_skip("torch")
    from training.checkpoints import Canonical, save_canonical
    from training.models.tapir.torch import Tapir

    torch.manual_seed(0)
    weights = {name: tensor.numpy() for name, tensor in Tapir(config).state_dict().items()}
    path = folder / "small.safetensors"
    save_canonical(Canonical(name, config, weights, "random", "0" * 64), path)
    return path


@pytest.fixture(scope="session")
def traced_once() -> Iterator[None]:
    """Tracing is most of an export to ONNX, and the same for every precision, and for all that is made of ONNX."""
    import_or_skip("torch")
    import_or_skip("onnx")
    from export.targets.onnx import target

    original = target._traced
    known: dict[object, Any] = {}

    def traced(stage: Any) -> Any:
        sums = tuple(float(x.sum()) for x in stage.module.state_dict().values())
        key = type(stage.module), stage.spec.inputs, stage.spec.outputs, sums
        if key not in known:
            known[key] = original(stage)
        return copy.deepcopy(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "_traced", traced)
        yield


@pytest.fixture(scope="session")
def exported(
    small_config: TapirConfig, small_model: Path, traced_once: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """SMALL exported to ONNX. Do not write into it."""
    return export_to_onnx(SMALL, small_config, small_model, tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def exported_clip(
    clip_config: TapirConfig, clip_model: Path, traced_once: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """SMALL_CLIP exported to ONNX. Do not write into it."""
    return export_to_onnx(SMALL_CLIP, clip_config, clip_model, tmp_path_factory.mktemp("artifacts"))


def export_to_onnx(name: str, config: TapirConfig, weights: Path, folder: Path) -> Path:
    from export.pipeline import Options, export

    directory = folder / "small-onnx"
    with known_model(name, config):
        export(name, "onnx", directory, Options(weights))
    return directory


@pytest.fixture(scope="session")
def converted_once() -> Iterator[None]:
    """Conversion is most of an export to LiteRT, and the same for every precision. It is for BUCKETS of points."""
    import_or_skip("litert_torch", "export-tflite")
    from export.targets import tflite as target

    original = target.graph_of
    known: dict[object, bytes] = {}

    def graph_of(stage: Any, buckets: Sequence[int]) -> bytes:
        sums = tuple(float(x.sum()) for x in stage.module.state_dict().values())
        key = type(stage.module), stage.spec.inputs, stage.spec.outputs, sums, tuple(buckets)
        if key not in known:
            known[key] = original(stage, buckets)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target.Tflite, "buckets", BUCKETS)
        patch.setattr(target, "graph_of", graph_of)
        yield


@pytest.fixture(scope="session")
def exported_tflite(
    small_config: TapirConfig, small_model: Path, converted_once: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """SMALL exported to LiteRT for BUCKETS of points. Do not write into it."""
    from export.pipeline import Options, export

    directory = tmp_path_factory.mktemp("artifacts") / "small-tflite"
    with known_model(SMALL, small_config):
        export(SMALL, "tflite", directory, Options(small_model))
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
