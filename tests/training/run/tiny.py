"""A training run as small as shows everything at work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.data.labelled_video import LabelledVideo
from training.run.config import TrainConfig, load_config

TOML = """
model = "tapir/tiny"
save_every = 2
evaluate_every = 0
picture_every = 0
workers = 0

[architecture]
resolution = [32, 32]
encoder = "residual"
channels = [8, 8, 8, 8]
blocks = [1, 1, 1, 1]
strides = [2, 1, 2, 1]
head = [4, 4, 4]
mixer_width = 16
mixer_blocks = 1
iterations = 1

[[phases]]
steps = 20
size = 32
frames = 3
points = 6
batch = 2
"""


def tiny_file(folder: Path, more: str = "", **changes: Any) -> Path:
    """The run as a configuration file, with some of its lines `name = value` replaced and more lines at its end."""
    lines = TOML.splitlines()
    for name, value in changes.items():
        assert any(line.startswith(f"{name} = ") for line in lines)
        lines = [f"{name} = {value}" if line.startswith(f"{name} = ") else line for line in lines]
    path = folder / "tiny.toml"
    path.write_text("\n".join([*lines, more]))
    return path


def tiny(folder: Path, **overrides: Any) -> TrainConfig:
    """The run, with some fields of TrainConfig replaced."""
    return load_config(tiny_file(folder), **overrides)


TAPNEXT: dict[str, Any] = {
    "model": "tapnext/base",
    "architecture": {
        "width": 16,
        "depth": 2,
        "heads": 2,
        "mlp_width": 16,
        "grid": [4, 4],
        "bins": 32,
        "head_width": 8,
        "softargmax_radius": 3,
    },
}
"""What makes it a run of TAPNext."""


def write_videos(folder: Path, clips: list[LabelledVideo]) -> Path:
    """A folder of labelled videos, each a folder with frames and tracks.npz, without loss."""
    for index, clip in enumerate(clips):
        place = folder / f"{index:02d}"
        place.mkdir(parents=True)
        for t, frame in enumerate(clip.frames):
            cv2.imwrite(str(place / f"{t:03d}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
        np.savez(place / "tracks.npz", xy=clip.xy, visible=clip.visible)
    return folder
