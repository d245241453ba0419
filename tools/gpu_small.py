"""Models with as little of everything as there can be, for trying `tools.gpu_check` itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.checkpoints import Canonical, save_canonical
from training.models.registry import CONFIGS, family_of

LITTLE: dict[str, dict[str, Any]] = {
    "tapir": {
        "channels": (8, 8, 16, 16),
        "blocks": (1, 1, 1, 1),
        "head": (4, 4, 4),
        "mixer_width": 16,
        "mixer_blocks": 1,
        "iterations": 2,
        "resolution": (64, 96),
        "flow": None,
    },
    "tapnext": {
        "width": 32,
        "depth": 2,
        "heads": 2,
        "mlp_width": 48,
        "head_width": 16,
        "grid": (4, 4),
        "bins": 32,
        "softargmax_radius": 4,
        "resolution": (32, 32),
    },
}
"""By family."""
NAME = "tapir/small"


def small_config(model: str) -> Any:
    return replace(CONFIGS[model], **LITTLE[model.partition("/")[0]])


def small_model(folder: Path) -> tuple[str, Path]:
    """The name of a small model like the bundled one, which can be exported from now on, and its random weights."""
    config = CONFIGS[NAME] = small_config("tapir/tiny")
    torch.manual_seed(0)
    weights = family_of(NAME).module_class("torch")(config).state_dict()
    path = folder / "small.safetensors"
    save_canonical(Canonical(NAME, config, {name: x.numpy() for name, x in weights.items()}, "random", "0" * 64), path)
    return NAME, path
