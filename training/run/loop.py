"""The training loop: batches in, checkpoints and reports out. It knows of no framework."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tapsdk.system.places import Place
from training.data.labelled_video import LabelledVideo
from training.models.registry import family_of
from training.run.batches import Batch, check_clips, iterate
from training.run.config import TrainConfig
from training.run.report import LOG, Report
from training.run.run_folder import RunFolder, run_folder
from training.run.run_state import Checkpoint, check_fit, find_checkpoint, load_checkpoint, save_checkpoint
from training.run.updaters import Updater
from training.run.validation import held_out_examples, picture, track, validate

logger = logging.getLogger(__name__)

LOG_EVERY = 20

Source = Callable[[TrainConfig, int, int, int], Generator[Batch, None, None]]
"""Of the batches of a run from a step on, for one process out of several, such as `training.run.batches.iterate`."""


def train(
    config: TrainConfig, updater: Updater, directory: Place, progress: bool = True, source: Source = iterate
) -> None:
    """Runs from the checkpoint in `directory`, or from the start, to the last step of `config`.

    directory: the folder of the run, or its URL in a store, see `training.run.run_folder`. source: of its batches.
    Raises ConfigError, CheckpointError, SaveError and StorageError.
    """
    check_clips(config)
    with run_folder(directory) as folder:
        start = resume(updater, directory)
        run_logger = _RunLogger(config, updater, folder, start) if updater.rank == 0 else None
        bar = tqdm(total=config.total_steps, initial=start, unit="step", disable=run_logger is None or not progress)
        with bar, closing(source(config, start, updater.rank, updater.world)) as batches:
            steps = zip(range(start, config.total_steps), batches, strict=True)
            _train(config, updater, steps, run_logger, bar)


def _train(
    config: TrainConfig,
    updater: Updater,
    steps: Iterable[tuple[int, Batch]],
    run_logger: _RunLogger | None,
    bar: tqdm[Any],
) -> None:
    for step, batch in steps:
        losses = updater.step(batch, config.learning_rate_at(step))
        bar.update()
        if bar.n % LOG_EVERY == 0:
            bar.set_postfix(loss=f"{losses['total']:.3f}")
        if run_logger is not None:
            run_logger.note(step + 1, losses)
    if run_logger is not None:
        run_logger.report.close()


def save(updater: Updater, directory: Path, step: int, config: TrainConfig) -> None:
    """Raises SaveError."""
    save_checkpoint(Checkpoint(step, updater.state(), dataclasses.asdict(config)), directory)


def resume(updater: Updater, directory: Place) -> int:
    """Restores the newest checkpoint, if there is one, and returns the step to go on with.

    Raises CheckpointError for a file that is damaged or that another model's run wrote, and StorageError.
    """
    path = find_checkpoint(directory)
    if path is None:
        return 0
    checkpoint = load_checkpoint(path)
    check_fit(checkpoint.state.weights, updater.state().weights, f"{path} is of another model")
    updater.restore(checkpoint.state)
    logger.info("resumed %s at step %d", path, checkpoint.step)
    return checkpoint.step


class _RunLogger:
    """Writes down what there is to write down after a step; `step` is the number of steps that are done."""

    def __init__(self, config: TrainConfig, updater: Updater, folder: RunFolder, start: int) -> None:
        self.config, self.updater, self.folder, self.start = config, updater, folder, start
        self.family = family_of(config.model_name)
        folder.fetch(LOG)
        self.report = Report(folder.path, start)
        self._began = time.monotonic()

    @cached_property
    def _clips(self) -> list[LabelledVideo]:
        return held_out_examples(self.config, self.family)

    def note(self, step: int, losses: Mapping[str, float]) -> None:
        if self._is_due(LOG_EVERY, step):
            rate = (step - self.start) / (time.monotonic() - self._began)
            schedule = {"learning_rate": self.config.learning_rate_at(step - 1), "steps_per_second": rate}
            self.report.numbers(step, "train", {**losses, **schedule})
        if self._is_due(self.config.evaluate_every, step):
            self.report.numbers(step, "held_out", validate(self.updater, self.family, self._clips))
        if self._is_due(self.config.picture_every, step):
            clip = self._clips[0]
            self.report.picture(step, picture(clip, track(self.updater, self.family, clip)))
        # Last, so that the log of a run that goes on from here lacks nothing.
        if self._is_due(self.config.save_every, step):
            save(self.updater, self.folder.path, step, self.config)
            self.folder.try_to_send()

    def _is_due(self, every: int, step: int) -> bool:
        """Every so many steps, and after the last one; 0 is never."""
        return every > 0 and (step % every == 0 or step == self.config.total_steps)
