"""Canonical weights: safetensors under the names of our torch modules."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from training.models.configs import ALIASES, CONFIGS, TapirConfig
from training.models.tapir_torch import Tapir

BUNDLED = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Weights:
    """Where a model's numbers came from."""

    model: str
    config: TapirConfig
    sha256: str
    bundled: bool


def load_torch(model: str, weights: Path | None = None) -> tuple[nn.Module, Weights]:
    """A torch module in eval mode with its weights, and where they came from."""
    name = ALIASES.get(model, model)
    path = weights or BUNDLED / f"{name.replace('/', '-')}.safetensors"
    config = CONFIGS[name]
    with safe_open(path, framework="pt") as file:
        found = (file.metadata() or {}).get("model", name)
    if found != name:
        raise ValueError(f"{path} holds weights of {found}, not of {name}")
    module = Tapir(config).eval()
    module.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return module, Weights(name, config, digest, bundled=weights is None)


def config_json(config: TapirConfig) -> dict[str, object]:
    return dataclasses.asdict(config)
