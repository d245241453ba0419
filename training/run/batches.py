"""Training batches by step number, so that a resumed run sees what the first one would have seen."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tapsdk.errors import TapsdkError
from tapsdk.system.children import serve_parent
from training.data.augment import AUGMENTATIONS, augmented
from training.data.datasets import recognise, training_videos
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo
from training.data.synthetic import SceneConfig, make_clip
from training.data.synthetic.textures import list_photographs
from training.data.training_videos import ClipShape, TrainingVideos, cut_clip
from training.models.registry import family_of
from training.run import track_sets
from training.run.config import SIZE_MULTIPLE, ConfigError, Phase, TrainConfig
from training.run.fields import refuse_unknown
from training.run.motion_prior import believed_positions

PREVIOUS_STREAM, SOURCE_STREAM, AUGMENT_STREAM, HIDING_STREAM = range(3, 7)
"""Keep what is drawn here apart from the streams that draw a generated clip, which are 0 to 2."""

AHEAD = 4
"""Batches that each process makes ahead of time."""

Batch = dict[str, Any]
"""Of clips: video [B, T, H, W, 3] uint8, xy [B, T, N, 2] float32 px, visible [B, T, N] bool, queries_tyx [B, N, 3]
float32 px, known [B, T, N] bool (whether anybody knows that a point that is not visible is hidden), previous
[B, T, N, 2] float32 px (`training.run.motion_prior`), hidden_from [B] int32 (the frame from which on a model of tokens
sees no picture). Of tracks alone: `training.run.track_sets.example` with an axis B."""


def scene_of(config: TrainConfig, phase: Phase) -> SceneConfig:
    """What the clips of a phase are drawn from. Raises ConfigError."""
    shape = {"height": phase.size, "width": phase.size, "frames": phase.frames, "points": phase.points}
    try:
        return SceneConfig(**{**shape, "query": "frame0", "textures": config.textures, **phase.scene})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the scene of [[phases]] {phase.scene}: {error}") from error


def check_clips(config: TrainConfig) -> None:
    """Raises ConfigError where clips of this run cannot be made: better now than in another process, or hours later."""
    refuse_unknown(config.augment, AUGMENTATIONS, "[augment]")
    for name, share in config.augment.items():
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigError(f"[augment]: {name} is {share!r}; it must be a share of the clips, in [0, 1]")
    for name in ("data", "validation"):
        if getattr(config, name) is not None:
            _check_dataset(name, Path(getattr(config, name)))
    from_tracks = family_of(config.model_name).method == "reconstruct"
    if from_tracks and (config.data is not None or config.validation is not None or config.augment):
        raise ConfigError(
            f"{config.model_name} learns from generated tracks alone; leave out data, validation and [augment]"
        )
    for phase in config.phases:
        scene = scene_of(config, phase)
        if from_tracks:
            track_sets.check(scene, config.model_config.frames)
        if scene.height % SIZE_MULTIPLE or scene.width % SIZE_MULTIPLE:
            raise ConfigError(f"clips of {scene.height}x{scene.width}; both must be multiples of {SIZE_MULTIPLE}")
        if scene.textures is not None:
            try:
                list_photographs(scene.textures, scene.split)
            except ValueError as error:
                raise ConfigError(f"textures: {error}") from error


def _check_dataset(field: str, path: Path) -> None:
    try:
        recognise(path)
    except DatasetError as error:
        raise ConfigError(f"{field}: {error}") from error


@contextmanager
def open_videos(config: TrainConfig) -> Iterator[TrainingVideos | None]:
    """The labelled videos of a run, if it has any. Raises DatasetError, SaveError."""
    if config.data is None:
        yield None
        return
    scenes = [scene_of(config, phase) for phase in config.phases]
    size = max(scene.height for scene in scenes), max(scene.width for scene in scenes)
    longest = ClipShape(max(scene.frames for scene in scenes), size, max(scene.points for scene in scenes))
    with training_videos(Path(config.data), longest) as videos:
        yield videos


def make_batch(
    config: TrainConfig, step: int, rank: int = 0, world: int = 1, videos: TrainingVideos | None = None
) -> Batch:
    """The share of process `rank` out of `world` in the batch of a step: consecutive clips of it."""
    phase = config.phase_at(step)
    scene, share = scene_of(config, phase), phase.batch // world
    make = EXAMPLES[family_of(config.model_name).method]
    seeds = np.random.SeedSequence([config.seed, step]).generate_state(phase.batch)
    examples = [make(config, scene, int(seed), videos) for seed in seeds[rank * share : (rank + 1) * share]]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _example(config: TrainConfig, scene: SceneConfig, seed: int, videos: TrainingVideos | None) -> Batch:
    """One clip of a batch, without the axis B."""
    clip = _clip(config, scene, seed, videos)
    previous = believed_positions(clip.xy, clip.visible, scene.side, _stream(seed, PREVIOUS_STREAM))
    known = np.ones(scene.frames, bool) if clip.annotated is None else clip.annotated
    rng = _stream(seed, HIDING_STREAM)
    hides = scene.frames > 1 and rng.random() < config.drop_tokens
    return {
        "video": clip.frames,
        "xy": clip.xy.swapaxes(0, 1),
        "visible": clip.visible.swapaxes(0, 1),
        "known": np.repeat(known[:, None], len(clip.xy), 1),
        "queries_tyx": clip.queries[:, [0, 2, 1]],
        "previous": previous.swapaxes(0, 1),
        # Never the first frame, and each of the others; the published code never draws the last one.
        "hidden_from": np.int32(rng.integers(1, scene.frames) if hides else scene.frames),
    }


def _clip(config: TrainConfig, scene: SceneConfig, seed: int, videos: TrainingVideos | None) -> LabelledVideo:
    """Generated, or cut from one of the videos; then augmented."""
    source, shares = _stream(seed, SOURCE_STREAM), dict(config.augment)
    if videos is None or source.random() >= config.data_share:
        clip = make_clip(scene, seed)
    else:
        video = videos.read(int(source.integers(len(videos))), source)
        shape = ClipShape(scene.frames, (scene.height, scene.width), scene.points, scene.query == "random")
        # Cropped here already, where the video is still large.
        clip = cut_clip(video, shape, source, crops=shares.pop("crop", 0.0))
    return augmented(clip, shares, _stream(seed, AUGMENT_STREAM))


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number])


def _track_set(_config: TrainConfig, scene: SceneConfig, seed: int, _videos: TrainingVideos | None) -> Batch:
    return track_sets.example(scene, seed)


EXAMPLES: dict[str, Callable[[TrainConfig, SceneConfig, int, TrainingVideos | None], Batch]] = {
    "clip": _example,
    "reconstruct": _track_set,
}
"""What one example of a batch is, without the axis B, by the method of the family that learns from it."""


def iterate(config: TrainConfig, start: int, rank: int = 0, world: int = 1) -> Generator[Batch, None, None]:
    """Batches of the steps from `start` on, made ahead of time by `config.workers` processes.

    Close it, or come to its end, and the processes end.
    """
    with open_videos(config) as videos:
        make = partial(make_batch, config, rank=rank, world=world, videos=videos)
        steps = range(start, config.total_steps)
        yield from _made_ahead(make, steps, config.workers) if config.workers else map(make, steps)


def _made_ahead(make: Callable[[int], Batch], steps: range, workers: int) -> Generator[Batch, None, None]:
    # Not forked: the threads of a framework would leave locks behind that nobody unlocks.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare_process)
    pending: deque[Future[Batch]] = deque()
    try:
        for step in steps:
            pending.append(pool.submit(make, step))
            if len(pending) > AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise TapsdkError(
            "a process that makes training clips was killed, perhaps for want of memory; "
            f"use fewer than workers = {workers} of them, or 0"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_process() -> None:
    cv2.setNumThreads(0)
    serve_parent()
