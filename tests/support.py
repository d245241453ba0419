"""What several test modules share besides fixtures: reasons to skip, and inputs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]

SMALL = "tapir/toy"
"""A TAPIR for tests; `known_model` makes it one of the models."""
SMALL_CLIP = "tapir/toy-clip"
"""The same as it was published first: it sees all of a clip at once."""

BUCKETS = (4, 16)
"""Numbers of points that formats with fixed shapes are exported for in tests."""

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch: pip install 'tapsdk[export-onnx]'"
)
needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")

PLANS = ["fused", "native"]
EXACT = 3e-4
"""Pixels that tracks may differ by when only other points, or none, are beside theirs: sums run in another order."""


def child_environment() -> dict[str, str]:
    """Of a Python that finds what this one does, wherever it starts."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])}


def import_or_skip(name: str, extra: str = "export-onnx") -> Any:
    """A package that not everyone needs; without it the test, or the whole module, is skipped."""
    return pytest.importorskip(name, reason=f"needs {name}: pip install 'tapsdk[{extra}]'")


def rewrite_headed(path: Path, change: Callable[[dict[str, Any], dict[str, NDArray[Any]]], object]) -> None:
    """The same file of a table and arrays, such as a saved tracker, with either changed."""
    with np.load(path) as stored:
        arrays = dict(stored)
    header = json.loads(str(arrays.pop("header")))
    change(header, arrays)
    np.savez(path, header=np.str_(json.dumps(header)), **arrays)


@contextmanager
def known_model(name: str, config: Any) -> Iterator[None]:
    """Within it, a model of this configuration can be loaded and exported by its name."""
    from training.models.registry import CONFIGS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, name, config)
        yield


def moving_texture(
    frames: int = 6, height: int = 48, width: int = 80, step: tuple[float, float] = (1, 2), seed: int = 0
) -> NDArray[np.uint8]:
    """[T, H, W, 3]: blotches that move by `step` (x, y) whole pixels a frame, over the edge and in again."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (-(-height // 4), -(-width // 4), 3))
    image = np.kron(coarse, np.ones((4, 4, 1)))[:height, :width].astype(np.uint8)
    return np.stack([np.roll(image, (round(t * step[1]), round(t * step[0])), (0, 1)) for t in range(frames)])


def in_fog(video: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The video with less contrast the higher up it is, to next to none, like a bare surface; it clears with time."""
    frames, height = video.shape[:2]
    clear = np.linspace(-0.3, 1.3, height) + 0.04 * np.arange(frames)[:, None]
    return (128 + (video - 128.0) * clear.clip(0.02, 1)[:, :, None, None]).astype(np.uint8)


def random_points(count: int, video: NDArray[Any], seed: int = 0) -> NDArray[np.float32]:
    """[N, 2] (x, y) anywhere in the frames of a video."""
    height, width = video.shape[1:3]
    return np.random.default_rng(seed).uniform(0, (width, height), (count, 2)).astype(np.float32)


def copy_artifact(source: Path, to: Path, change: Callable[[dict[str, Any]], object] | None = None) -> Path:
    """A copy to damage; `change` edits its manifest as parsed JSON."""
    shutil.copytree(source, to)
    if change is not None:
        path = to / "manifest.json"
        table = json.loads(path.read_text(encoding="utf-8"))
        change(table)
        path.write_text(json.dumps(table), encoding="utf-8")
    return to
