"""The training run as data: what a TOML file in `training/configs` says."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ConfigError(ValueError):
    """A training configuration that cannot be run."""


@dataclass(frozen=True)
class Phase:
    """A stretch of the run with clips of one shape."""

    steps: int
    size: int = 128
    """Pixels of a side of the square clips."""
    frames: int = 16
    points: int = 48
    batch: int = 2
    scene: dict[str, Any] = field(default_factory=dict)
    """Overrides of `training.data.synthetic.SceneConfig`."""


@dataclass(frozen=True)
class TrainConfig:
    """A run: phases in order, one learning-rate schedule over all of them."""

    model: str
    phases: tuple[Phase, ...]
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    warmup: int = 100
    decay: float = 0.25
    """The last share of the steps, over which the learning rate falls linearly to zero."""
    clip_norm: float = 1.0
    average: float = 0.998
    """Decay of the running mean of the weights, which is what gets evaluated and shipped."""
    heatmap_weight: float = 1.0
    match_weight: float = 0.5
    textures: str | None = None
    """Folder of photographs; None trains on procedural textures alone."""
    workers: int = 1
    mixed_precision: bool = False
    compile: bool = False
    save_every: int = 200
    evaluate_every: int = 500

    @property
    def total_steps(self) -> int:
        return sum(p.steps for p in self.phases)

    def phase_at(self, step: int) -> Phase:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError("step beyond the last phase")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, constant, linear decay to zero."""
        remaining = (self.total_steps - step) / max(1.0, self.decay * self.total_steps)
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup), remaining)


def load_config(path: str | Path, **overrides: Any) -> TrainConfig:
    """Reads a TOML file; keys it does not know are an error."""
    with open(path, "rb") as file:
        try:
            table = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error
    table |= {k: v for k, v in overrides.items() if v is not None}
    phases = tuple(_build(Phase, p, f"{path}, [[phases]]") for p in table.pop("phases", ()))
    if not phases:
        raise ConfigError(f"{path} has no [[phases]]; at least one is needed")
    return _build(TrainConfig, {**table, "phases": phases}, str(path))


def _build(cls: type, table: dict[str, Any], where: str) -> Any:
    allowed = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(table) - set(allowed))
    if unknown:
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    try:
        return cls(**table)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
