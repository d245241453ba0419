"""Training batches by step number, so that a resumed run sees what the first one would have seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from training.config import TrainConfig
from training.data.synthetic import SceneConfig, make_clip

Batch = dict[str, Any]
"""video [B, T, H, W, 3] uint8, xy [B, T, N, 2] float32 px, visible [B, T, N] bool, queries_tyx [B, N, 3] float32 px."""


class Batches(Dataset[Batch]):
    """batch = Batches(config)[step]."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def __len__(self) -> int:
        return self.config.total_steps

    def __getitem__(self, step: int) -> Batch:
        phase = self.config.phase_at(step)
        scene = SceneConfig(
            **{
                "height": phase.size,
                "width": phase.size,
                "frames": phase.frames,
                "points": phase.points,
                "query": "frame0",
                "textures": self.config.textures,
                **phase.scene,
            }
        )
        seeds = np.random.SeedSequence([self.config.seed, step]).generate_state(phase.batch)
        clips = [make_clip(scene, int(seed)) for seed in seeds]
        return {
            "video": np.stack([c.frames for c in clips]),
            "xy": np.stack([c.xy.swapaxes(0, 1) for c in clips]),
            "visible": np.stack([c.visible.swapaxes(0, 1) for c in clips]),
            "queries_tyx": np.stack([c.queries[:, [0, 2, 1]] for c in clips]),
        }


def _one_thread(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def iterate(config: TrainConfig, start: int) -> Iterator[Batch]:
    """Batches of the steps from `start` on, made ahead of time by `config.workers` processes."""
    loader = DataLoader(
        Batches(config),
        batch_size=None,
        sampler=range(start, config.total_steps),
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        worker_init_fn=_one_thread if config.workers else None,
    )
    return iter(loader)
