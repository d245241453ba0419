"""Adam over weights of several starts, each with a limit to its gradient of its own."""

from __future__ import annotations

import torch

from training.clustering.network import Weights

STEEPEST = 1e-3
"""Norm of one start's gradient, beyond which it is shortened."""
BETAS = (0.9, 0.99)


class Descent:
    """Moves weights [S, ...] downhill. They lie in one tensor [S, P], so that a step is a handful of operations."""

    def __init__(self, weights: Weights) -> None:
        self._shapes = {name: weight.shape for name, weight in weights.items()}
        self._sizes = [weight[0].numel() for weight in weights.values()]
        self._all = torch.cat([weight.detach().flatten(1) for weight in weights.values()], dim=1).requires_grad_()
        self._adam = torch.optim.Adam([self._all], betas=BETAS, fused=True)

    def weights(self) -> Weights:
        """The weights as they are now, by which a loss finds its way back."""
        parts = self._all.split(self._sizes, dim=1)
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step, after `backward` of the sum of all starts' losses."""
        gradient = self._all.grad
        assert gradient is not None
        gradient.mul_(STEEPEST / gradient.norm(dim=1, keepdim=True).clamp(min=STEEPEST))
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._adam.zero_grad()
