"""One training step of TAPIR in torch: losses, gradients, update, running mean of the weights."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from training.batches import Batch
from training.config import TrainConfig
from training.losses_torch import cell_cross_entropy, estimate_loss, match_loss
from training.models.configs import ALIASES, CONFIGS
from training.models.tapir_torch import Tapir


class TorchUpdater:
    """Holds the model being trained; `step(batch)` improves it and returns the losses."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tapir = CONFIGS[ALIASES.get(config.model, config.model)]
        self.model = Tapir(self.tapir, correlate="dense").to(self.device)
        self.average = copy.deepcopy(self.model)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.99),
        )
        if config.compile:
            self.model.encode = torch.compile(self.model.encode, dynamic=False)
            self.model.trajectories = torch.compile(self.model.trajectories, dynamic=False)

    def losses(self, video: Tensor, queries_tyx: Tensor, xy: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Mean losses over a batch (shapes: `training.batches.Batch`), and their weighted sum under "total"."""
        size = tuple(video.shape[2:4])
        model = self.model
        model.config = dataclasses.replace(self.tapir, resolution=size)
        grids = model.feature_grids(video.float() / 127.5 - 1)
        queries = model.clip_queries(grids, queries_tyx, size)
        estimates, _, heatmap = model.trajectories(grids, queries)
        parts = [estimate_loss(e, xy, visible, size) for e in estimates]
        losses = {name: sum(p[name] for p in parts) / len(parts) for name in parts[0]}
        cells = xy.new_tensor([heatmap.shape[-1] / size[1], heatmap.shape[-2] / size[0]])
        losses["heatmap"] = cell_cross_entropy(heatmap, xy * cells, visible)
        losses["match"] = match_loss(grids[0], queries[0], xy, visible)
        weights = {"heatmap": self.config.heatmap_weight, "match": self.config.match_weight}
        losses["total"] = sum(weights.get(name, 1.0) * value for name, value in losses.items())
        return losses

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        tensors = [torch.as_tensor(batch[k]).to(self.device) for k in ("video", "queries_tyx", "xy", "visible")]
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            losses = self.losses(*tensors)
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
            self._update_average()
        return {name: float(value.detach()) for name, value in losses.items()} | {"grad_norm": float(norm)}

    @torch.no_grad()
    def _update_average(self) -> None:
        for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - self.config.average)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
