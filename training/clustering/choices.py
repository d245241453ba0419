"""Splits of groups and removals: what each would do to the loss, which of them the fit works on, and doing it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.clustering.network import COPIES, Weights

Loss = Callable[[Tensor, Tensor], Tensor]
FEWEST = 3
"""Groups at the end: the fit works on so many of the best removals, beyond those that are left to do."""


OF_GROUPS = ("motions", "shapes")
"""Weights [S, copies, K, ...] of each group, and of the forks that it may be split into."""


def split_losses(errors: Tensor, seen: Tensor, loss: Loss) -> Tensor:
    """[..., K] with each group in turn replaced by its two forks; all of them at a time.

    errors: [3, ..., K, N] of the groups and of their first and second forks.
    """
    groups, first, second = errors
    each = torch.eye(groups.shape[-2], dtype=torch.bool, device=errors.device)[..., None]
    replaced = torch.where(each, first.unsqueeze(-3), groups.unsqueeze(-3))
    return loss(torch.cat([replaced, second.unsqueeze(-2)], dim=-2), seen)


def delete_losses(errors: Tensor, seen: Tensor, loss: Loss) -> Tensor:
    """[..., K] with each group in turn left out; all of them at a time.

    errors: [..., K, N].
    """
    groups = errors.shape[-2]
    others = [[k for k in range(groups) if k != left] for left in range(groups)]
    return loss(errors[..., torch.tensor(others, device=errors.device), :], seen)


def split_objective(losses: Tensor) -> Tensor:
    """[...] of the losses [..., K] of splits: the best."""
    return losses.amin(-1)


def delete_objective(losses: Tensor, clusters: int) -> Tensor:
    """[...] of the losses [..., K] of removals: the mean of the best, more of them the more are left to remove."""
    return losses.topk(losses.shape[-1] - clusters + FEWEST, largest=False).values.mean(-1)


def after_split(weights: Weights, chosen: Tensor) -> Weights:
    """With the first fork of a group of each start [S] in its place, and the second as a further group."""
    starts = torch.arange(len(chosen))
    split = dict(weights)
    for name in OF_GROUPS:
        old, first, second = weights[name].unbind(1)
        old = old.clone()
        old[starts, chosen] = first[starts, chosen]
        split[name] = torch.cat([old, second[starts, chosen, None]], dim=1)[:, None]
    return split


def after_removal(weights: Weights, chosen: Tensor) -> Weights:
    """Without one group of each start [S]."""
    kept = dict(weights)
    for name in OF_GROUPS:
        groups = weights[name].shape[2]
        others = torch.tensor([[k for k in range(groups) if k != left] for left in chosen.tolist()])
        kept[name] = weights[name][torch.arange(len(chosen))[:, None], :, others].transpose(1, 2)
    return kept


def with_forks(weights: Weights, noise: float, generator: torch.Generator) -> Weights:
    """With two forks of every group, which are all but the same."""
    forked = dict(weights)
    for name in OF_GROUPS:
        base = weights[name]
        forks = [base + noise * torch.randn(base.shape, generator=generator) for _ in range(COPIES - 1)]
        forked[name] = torch.cat([base, *forks], dim=1)
    return forked


def without_forks(weights: Weights) -> Weights:
    return {name: w[:, :1] if name in OF_GROUPS else w for name, w in weights.items()}
