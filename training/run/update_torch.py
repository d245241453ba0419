"""One training step of TAPIR in torch: losses, gradients, update, running mean of the weights.

Mixed precision is torch.autocast in bfloat16. Several devices: one process each, started by torchrun, which take equal
shares of every batch and mean their gradients (DistributedDataParallel).
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.models.tapir.losses_torch import cell_cross_entropy, estimate_loss, match_logits
from training.models.tapir.torch import Tapir
from training.run.batches import Batch
from training.run.config import TrainConfig
from training.run.run_state import Arrays, RunState, check_fit
from training.run.updaters import BATCH, BETAS, initial_weights


class Losses(nn.Module):
    """A model and what is asked of it; one module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: Tapir, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.tapir = model, model.config
        self.weights = {"heatmap": config.heatmap_weight, "match": config.match_weight}

    def forward(
        self, video: Tensor, queries_tyx: Tensor, xy: Tensor, visible: Tensor, previous: Tensor, seen: Tensor
    ) -> dict[str, Tensor]:
        """Mean losses over a batch (shapes: `training.run.batches.Batch`), and their weighted sum under "total".

        seen: how many positions are visible, the mean over all processes.
        """
        size, model = (video.shape[2], video.shape[3]), self.model
        model.config = replace(self.tapir, resolution=size)
        grids = model.feature_grids(video.float() / 127.5 - 1)
        queries = model.clip_queries(grids, queries_tyx, size)
        prior = previous if self.tapir.motion_prior else None
        estimates, _, heatmap = model.trajectories(grids, queries, previous=prior)
        parts = [estimate_loss(e, xy, visible, size) for e in estimates]
        losses = {name: sum(p[name] for p in parts) / len(parts) for name in parts[0]}
        losses["heatmap"] = cell_cross_entropy(heatmap, xy, visible, size, seen)
        losses["match"] = cell_cross_entropy(match_logits(grids[0], queries[0]), xy, visible, size, seen)
        losses["total"] = sum(self.weights.get(name, 1.0) * value for name, value in losses.items())
        return losses


class TorchUpdater:
    """See `training.run.updaters.Updater`."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        config.check_devices(self.world)
        self.device = _device()
        torch.manual_seed(config.seed)
        self.model = Tapir(config.model_config, correlate="dense")
        initial = initial_weights(config)
        if initial is not None:
            check_fit(initial, _arrays(self.model), f"{config.init} does not fit the model of this run")
            _fill(self.model, initial)
        self.model.to(self.device)
        self.average = copy.deepcopy(self.model)
        self.optimizer = _optimizer(self.model, config)
        losses = Losses(self.model, config)
        if config.compile:
            self.model.encode = torch.compile(self.model.encode, dynamic=False)
            self.model.trajectories = torch.compile(self.model.trajectories, dynamic=False)
        self.losses: nn.Module = losses
        if self.world > 1:
            _join(self.device)
            self.losses = DistributedDataParallel(losses)

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        tensors = [torch.as_tensor(batch[name]).to(self.device) for name in BATCH]
        seen = self._mean(torch.tensor(float(batch["visible"].sum()), device=self.device))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            losses = self.losses(*tensors, seen=seen)
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
            self._update_average()
        values = self._mean(torch.stack([value.detach() for value in losses.values()])).tolist()
        return dict(zip(losses, values, strict=True)) | {"grad_norm": float(norm)}

    def _mean(self, value: Tensor) -> Tensor:
        """Over all processes."""
        if self.world > 1:
            dist.all_reduce(value)
            value /= self.world
        return value

    @torch.no_grad()
    def _update_average(self) -> None:
        for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - self.config.average)

    @torch.inference_mode()
    def predict(self, video: NDArray[np.uint8], queries_tyx: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        frames, queries = (torch.as_tensor(array).to(self.device)[None] for array in (video, queries_tyx))
        outputs = self.average.clip(frames.float() / 127.5 - 1, queries)
        return {name: tensor[0].cpu().numpy() for name, tensor in outputs.items()}

    def state(self) -> RunState:
        parameters = dict(self.model.named_parameters())
        first, second = ({name: self._moment(p, which) for name, p in parameters.items()} for which in MOMENTS)
        updates = next((int(row["step"]) for row in self.optimizer.state.values()), 0)
        return RunState(_arrays(self.model), _arrays(self.average), first, second, updates)

    def _moment(self, parameter: Tensor, which: str) -> NDArray[np.float32]:
        row = self.optimizer.state.get(parameter)
        tensor = torch.zeros_like(parameter) if row is None else row[which]
        return tensor.detach().cpu().numpy().copy()

    def restore(self, state: RunState) -> None:
        _fill(self.model, state.weights)
        _fill(self.average, state.average)
        self.optimizer.state.clear()
        if not state.updates:
            return
        for name, parameter in self.model.named_parameters():
            arrays = (state.first_moment[name], state.second_moment[name])
            moments = {which: torch.tensor(a, device=self.device) for which, a in zip(MOMENTS, arrays, strict=True)}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(state.updates)), **moments}

    def close(self) -> None:
        if self.world > 1:
            dist.destroy_process_group()


MOMENTS = ("exp_avg", "exp_avg_sq")
"""torch's names of Adam's first and second moment."""


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def _join(device: torch.device) -> None:
    """The processes that torchrun started beside this one."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def _optimizer(model: Tapir, config: TrainConfig) -> torch.optim.Optimizer:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS)


def _arrays(model: Tapir) -> Arrays:
    return {name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def _fill(model: Tapir, arrays: Arrays) -> None:
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
