"""Training batches by step number, so that a resumed run sees what the first one would have seen."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import cv2
import numpy as np

from tapsdk.errors import TapsdkError
from training.data.synthetic import SceneConfig, make_clip
from training.data.synthetic.textures import list_photographs
from training.models.registry import family_of
from training.run import track_sets
from training.run.config import SIZE_MULTIPLE, ConfigError, Phase, TrainConfig
from training.run.motion_prior import believed_positions

PREVIOUS_STREAM = 3
"""Keeps the disturbances of `previous` apart from the streams that draw the clip, which are 0 to 2."""

AHEAD = 4
"""Batches that each process makes ahead of time."""

Batch = dict[str, Any]
"""Of clips: video [B, T, H, W, 3] uint8, xy [B, T, N, 2] float32 px, visible [B, T, N] bool, queries_tyx [B, N, 3]
float32 px, previous [B, T, N, 2] float32 px (`training.run.motion_prior`). Of tracks alone:
`training.run.track_sets.example` with an axis B."""


def scene_of(config: TrainConfig, phase: Phase) -> SceneConfig:
    """What the clips of a phase are drawn from. Raises ConfigError."""
    shape = {"height": phase.size, "width": phase.size, "frames": phase.frames, "points": phase.points}
    try:
        return SceneConfig(**{**shape, "query": "frame0", "textures": config.textures, **phase.scene})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the scene of [[phases]] {phase.scene}: {error}") from error


def check_clips(config: TrainConfig) -> None:
    """Raises ConfigError where clips of this run cannot be made: better now than in another process, or hours later."""
    for phase in config.phases:
        scene = scene_of(config, phase)
        if family_of(config.model_name).method == "reconstruct":
            track_sets.check(scene, config.model_config.frames)
        if scene.height % SIZE_MULTIPLE or scene.width % SIZE_MULTIPLE:
            raise ConfigError(f"clips of {scene.height}x{scene.width}; both must be multiples of {SIZE_MULTIPLE}")
        if scene.textures is not None:
            try:
                list_photographs(scene.textures, scene.split)
            except ValueError as error:
                raise ConfigError(f"textures: {error}") from error


def make_batch(config: TrainConfig, step: int, rank: int = 0, world: int = 1) -> Batch:
    """The share of process `rank` out of `world` in the batch of a step: consecutive clips of it."""
    phase = config.phase_at(step)
    scene, share = scene_of(config, phase), phase.batch // world
    make = EXAMPLES[family_of(config.model_name).method]
    seeds = np.random.SeedSequence([config.seed, step]).generate_state(phase.batch)
    examples = [make(scene, int(seed)) for seed in seeds[rank * share : (rank + 1) * share]]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _example(scene: SceneConfig, seed: int) -> Batch:
    """One clip of a batch, without the axis B."""
    clip = make_clip(scene, seed)
    rng = np.random.default_rng([seed, PREVIOUS_STREAM])
    previous = believed_positions(clip.xy, clip.visible, scene.side, rng)
    return {
        "video": clip.frames,
        "xy": clip.xy.swapaxes(0, 1),
        "visible": clip.visible.swapaxes(0, 1),
        "queries_tyx": clip.queries[:, [0, 2, 1]],
        "previous": previous.swapaxes(0, 1),
    }


EXAMPLES: dict[str, Callable[[SceneConfig, int], Batch]] = {"clip": _example, "reconstruct": track_sets.example}
"""What one example of a batch is, without the axis B, by the method of the family that learns from it."""


def iterate(config: TrainConfig, start: int, rank: int = 0, world: int = 1) -> Generator[Batch, None, None]:
    """Batches of the steps from `start` on, made ahead of time by `config.workers` processes.

    Close it, or come to its end, and the processes end.
    """
    make, steps = partial(make_batch, config, rank=rank, world=world), range(start, config.total_steps)
    if not config.workers:
        yield from map(make, steps)
        return
    # Not forked: the threads of a framework would leave locks behind that nobody unlocks.
    pool = ProcessPoolExecutor(config.workers, multiprocessing.get_context("spawn"), _prepare_process)
    pending: deque[Future[Batch]] = deque()
    try:
        for step in steps:
            pending.append(pool.submit(make, step))
            if len(pending) > AHEAD * config.workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise TapsdkError(
            "a process that makes training clips was killed, perhaps for want of memory; "
            f"use fewer than workers = {config.workers} of them, or 0"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_process() -> None:
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Where the parent is killed nobody else ends this process: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
