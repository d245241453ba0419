"""The training loop: batches in, checkpoints and a log out. It knows of no framework."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from training.batches import iterate
from training.checkpoints.errors import CheckpointError
from training.config import TrainConfig
from training.files import replace_file

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


def train(config: TrainConfig, updater: Any, directory: Path, progress: bool = True) -> None:
    """Runs from the checkpoint in `directory`, or from the start, to the last step of `config`."""
    directory.mkdir(parents=True, exist_ok=True)
    start = resume(updater, directory)
    bar = tqdm(total=config.total_steps, initial=start, unit="step", disable=not progress)
    began = time.monotonic()
    for step, batch in zip(range(start, config.total_steps), iterate(config, start), strict=True):
        losses = updater.step(batch, config.learning_rate_at(step))
        bar.update()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{losses['total']:.3f}")
            rate = (step - start + 1) / (time.monotonic() - began)
            _log(directory, {"step": step, "steps_per_second": round(rate, 3), **losses})
        if (step + 1) % config.save_every == 0 or step + 1 == config.total_steps:
            save(updater, directory, step + 1)
    bar.close()


def save(updater: Any, directory: Path, step: int) -> None:
    with replace_file(directory / CHECKPOINT) as temporary:
        torch.save({"step": step, **updater.state()}, temporary)


def resume(updater: Any, directory: Path) -> int:
    """Restores the newest checkpoint, if there is one, and returns the step to go on with."""
    path = directory / CHECKPOINT
    if not path.exists():
        return 0
    state = read_checkpoint(path)
    updater.restore(state)
    logger.info("resumed %s at step %d", path, state["step"])
    return int(state["step"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `save` wrote. Raises CheckpointError."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # zipfile, pickle and torch each raise their own
        raise CheckpointError(f"{path} is not a checkpoint of a training run, or is damaged: {error}") from error


def _log(directory: Path, row: dict[str, Any]) -> None:
    with open(directory / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}) + "\n")
