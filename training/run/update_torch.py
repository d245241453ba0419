"""One training step in torch: losses, gradients, update, running mean of the weights.

Mixed precision is torch.autocast in bfloat16. Several devices: one process each, started by torchrun, which take equal
shares of every batch and mean their gradients (DistributedDataParallel).
"""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.models.registry import family_of
from training.run.batches import Batch
from training.run.config import TrainConfig
from training.run.run_state import Arrays, RunState, check_fit
from training.run.updaters import decays, initial_weights, with_pretrained


class Losses(nn.Module):
    """A model and what is asked of it; one module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.of_family = model, family_of(config.model_name).losses("torch")
        self.weights = {"heatmap": config.heatmap_weight, "match": config.match_weight}

    def forward(self, batch: Mapping[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
        """Mean losses over a batch (`training.run.batches.Batch`), and their weighted sum under "total".

        seen: how many positions are visible, the mean over all processes.
        """
        if "video" in batch:  # Clips are worked on at their own size.
            self.model.config = replace(self.model.config, resolution=tuple(batch["video"].shape[2:4]))
        losses = self.of_family.batch_losses(self.model, {name: _scaled(t) for name, t in batch.items()}, seen)
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
        family = family_of(config.model_name)
        self.model: nn.Module = family.module_class("torch")(config.model_config, **family.in_training)
        initial = initial_weights(config)
        if initial is not None:
            check_fit(initial, _arrays(self.model), f"{config.init} does not fit the model of this run")
            _fill(self.model, initial)
        elif config.encoder_weights is not None:
            _fill(self.model, with_pretrained(config, _arrays(self.model)))
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(config.backbone_rate > 0 or not family.is_backbone(name))
        self.model.to(self.device)
        self.average = copy.deepcopy(self.model).eval()
        self.optimizer = _optimizer(self.model, config)
        self.losses: nn.Module = Losses(self.model, config)
        for name in family.losses("torch").COMPILED if config.compile else ():
            setattr(self.model, name, torch.compile(getattr(self.model, name), dynamic=False))
        if self.world > 1:
            _join(self.device)
            self.losses = DistributedDataParallel(self.losses)

    def step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        tensors = {name: torch.as_tensor(array).to(self.device) for name, array in batch.items()}
        seen = self._mean(torch.tensor(float(batch["visible"].sum()), device=self.device))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        # Running means, which the forward pass moves already.
        before = [buffer.clone() for buffer in self.model.buffers()]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.mixed_precision):
            losses = self.losses(tensors, seen)
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
            self._update_average()
        else:
            for buffer, earlier in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(earlier)
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
        for mean, now in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            mean.lerp_(now, 1 - self.config.average)

    @torch.inference_mode()
    def predict(self, *inputs: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        tensors = (_scaled(torch.as_tensor(array).to(self.device)[None]) for array in inputs)
        outputs = getattr(self.average, family_of(self.config.model_name).method)(*tensors)
        return {name: tensor[0].cpu().numpy() for name, tensor in outputs.items()}

    def state(self) -> RunState:
        tensors = self.model.state_dict(keep_vars=True)
        first, second = ({name: self._moment(t, which) for name, t in tensors.items()} for which in MOMENTS)
        updates = next((int(row["step"]) for row in self.optimizer.state.values()), 0)
        return RunState(_arrays(self.model), _arrays(self.average), first, second, updates)

    def _moment(self, parameter: Tensor, which: str) -> NDArray[np.float32]:
        """Zero of what has no gradient."""
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
            if not parameter.requires_grad:
                continue
            arrays = (state.first_moment[name], state.second_moment[name])
            moments = {which: torch.tensor(a, device=self.device) for which, a in zip(MOMENTS, arrays, strict=True)}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(state.updates)), **moments}

    def close(self) -> None:
        if self.world > 1:
            # It holds on to the group. As the last to let go of it, it would wait, and let nobody else run Python, for
            # threads of the group that want to.
            self.losses = self.losses.module
            gc.collect()
            dist.destroy_process_group()


MOMENTS = ("exp_avg", "exp_avg_sq")
"""torch's names of Adam's first and second moment."""


def _scaled(tensor: Tensor) -> Tensor:
    """Pictures in [-1, 1]; all else as it is."""
    return tensor.float() / 127.5 - 1 if tensor.dtype == torch.uint8 else tensor


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def _join(device: torch.device) -> None:
    """The processes that torchrun started beside this one."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Each group has a "factor" on the learning rate."""
    family = family_of(config.model_name)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = config.backbone_rate if family.is_backbone(name) else 1.0
            decay = config.weight_decay if decays(name, parameter) else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    rows = [{"params": some, "factor": factor, "weight_decay": decay} for (factor, decay), some in groups.items()]
    return torch.optim.AdamW(rows, lr=config.learning_rate, betas=config.betas)


def _arrays(model: nn.Module) -> Arrays:
    return {name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def _fill(model: nn.Module, arrays: Arrays) -> None:
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
