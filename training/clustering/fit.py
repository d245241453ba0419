"""The fit: groups are split until they are many, then removed until they are few, and then settle.

First as published, with the network: it knows how points that are alike would move, so that it finds groups where there
were none. It has less time than there, and never comes quite to rest anyway. So then the groups are let go, and settle
by least squares. Several starts go through all of this side by side, as an axis of the same tensors, others settle
alone, and the one with the smallest loss is taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from training.clustering.choices import (
    Loss,
    after_removal,
    after_split,
    delete_losses,
    delete_objective,
    split_losses,
    split_objective,
    with_forks,
    without_forks,
)
from training.clustering.descent import Descent
from training.clustering.network import COPIES, Evidence, Groups, Weights, first_weights, groups
from training.clustering.rigid import FARTHEST, NEAREST, em_loss, hard_loss, project, rigid_matrices, summed_errors
from training.clustering.settling import LAST_TURNS, ROUNDS, TURNS, Flat, Settling

logger = logging.getLogger(__name__)

FOCAL = 1.0
MOST_POINTS, MOST_FRAMES = 256, 64
"""Drawn anew for each step."""
STARTS = 4
OTHER_STARTS = 4
"""That settle without having seen the network."""
MAP_NOISE, PLACE_NOISE = 0.1, 0.3
"""Of these, about points that stay where they are and lie in the middle, in frame sides."""
WORK = 1200
"""Points times groups that all starts have together, at most, if there is to be more than one."""
STEPS = 30
"""For each split or removal."""
RATE, LEAST_RATE = 5e-2, 0.125
SPLIT_NOISE = 1e-6
MEMORY = 0.9
"""How much of their past the losses keep by which splits and removals are chosen."""


@dataclass(frozen=True)
class Recipe:
    """What to fit. clusters: groups at the end. most: groups in between."""

    clusters: int
    most: int
    em: bool = False
    six_dof: bool = False
    seed: int = 0


def fit(evidence: Evidence, recipe: Recipe) -> Tensor:
    """Errors [K, N]: summed over the frames in which a point is seen, its squared distance from each group's place for
    it, in frame sides. The same seed gives the same."""
    with _one_thread():
        return _Fit(evidence, recipe).errors()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Its tensors are small: several threads of PyTorch mostly wait for each other, and take many times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Fit:
    def __init__(self, evidence: Evidence, recipe: Recipe) -> None:
        self._evidence, self._recipe = evidence, recipe
        self._loss: Loss = em_loss if recipe.em else hard_loss
        self._random = torch.Generator().manual_seed(recipe.seed)
        self._starts = max(1, min(STARTS, WORK // (len(evidence.visible) * recipe.most)))
        self._steps = (2 * recipe.most - recipe.clusters - 1) * STEPS
        self._progress = _Progress(self._steps + LAST_TURNS + ROUNDS * (2 * recipe.clusters + 1) * TURNS)

    def errors(self) -> Tensor:
        weights = self._network()
        with torch.no_grad():
            settling = Settling(self._evidence, self._recipe.six_dof, self._progress.step)
            found = settling.settle(self._with_others(self._let_go(weights)))
            return settling.errors(found)[settling.loss(found).argmin()]

    def _network(self) -> Weights:
        """As published, but shorter: one group, split until there are `most`; removals until there are `clusters`."""
        recipe = self._recipe
        weights = first_weights(self._evidence, self._starts, self._random)
        for _ in range(1, recipe.most):
            weights, losses = self._descend(weights, "split")
            weights = with_forks(after_split(weights, losses.argmin(1)), SPLIT_NOISE, self._random)
        weights = without_forks(weights)
        for _ in range(recipe.clusters, recipe.most):
            weights, losses = self._descend(weights, "delete")
            weights = after_removal(weights, losses.argmin(1))
        return weights

    def _let_go(self, weights: Weights) -> Flat:
        """The groups as they are, but for the depth of points within each."""
        found = groups(weights, self._evidence, copies=1)
        matrices = rigid_matrices(found.raw[0], self._recipe.six_dof)
        depth = (matrices[..., 2, 3] + 1).clamp(NEAREST, FARTHEST)
        maps = matrices[..., :2, [0, 1, 3]] * (FOCAL / depth)[..., None, None]
        return Flat(maps, found.points[0][..., :2])

    def _with_others(self, groups: Flat) -> Flat:
        """With further starts, which know nothing of the evidence: settling is cheap, and often needs no network."""
        maps, places = (
            noise * torch.randn((OTHER_STARTS, *like.shape[1:]), generator=self._random)
            for like, noise in ((groups.maps, MAP_NOISE), (groups.places, PLACE_NOISE))
        )
        return Flat(torch.cat([groups.maps, maps + torch.eye(2, 3)]), torch.cat([groups.places, places]))

    def _descend(self, weights: Weights, mode: Literal["split", "delete"]) -> tuple[Weights, Tensor]:
        """Weights after some steps, and the losses [S, K] of all that the mode may choose from."""
        descent, losses = Descent(weights), torch.zeros(())
        for step in range(STEPS):
            if mode == "split":
                now = split_losses(*self._errors(descent.weights(), COPIES), self._loss)
                objective = split_objective(now)
            else:
                errors, seen = self._errors(descent.weights(), 1)
                now = delete_losses(errors[0], seen, self._loss)
                objective = delete_objective(now, self._recipe.clusters)
            objective.sum().backward()
            descent.step(self._rate(step))
            losses = MEMORY * losses + (1 - MEMORY) * now.detach()
            self._progress.step()
        return {name: w.detach() for name, w in descent.weights().items()}, losses

    def _rate(self, step: int) -> float:
        """It rises over the first 20 steps after each change, and is halved after each quarter of all."""
        quarters = 4 * self._progress.done // self._steps
        return RATE * min(1.0, (step + 1) / 20) * max(0.5**quarters, LEAST_RATE)

    def _errors(self, weights: Weights, copies: int) -> tuple[Tensor, Tensor]:
        """Errors [copies, S, K, N] of the points that are drawn, and in how many frames of these each is seen [N]."""
        evidence, found = self._drawn(groups(weights, self._evidence, copies=copies))
        matrices = rigid_matrices(found.raw, self._recipe.six_dof)
        noise = torch.randn((*found.points.shape[:-1], matrices.shape[-3]), generator=self._random)
        projected, _ = project(matrices, found.points, FOCAL, noise)
        return summed_errors(evidence.positions, evidence.visible, projected), evidence.visible.sum(1)

    def _drawn(self, found: Groups) -> tuple[Evidence, Groups]:
        """Some of the points and frames, if there are many."""
        evidence = self._evidence
        points, frames = evidence.visible.shape
        if points > MOST_POINTS:
            some = torch.randperm(points, generator=self._random)[:MOST_POINTS]
            found = replace(found, points=found.points[..., some, :])
            evidence = replace(evidence, positions=evidence.positions[some], visible=evidence.visible[some])
        if frames > MOST_FRAMES:
            some = torch.randperm(frames, generator=self._random)[:MOST_FRAMES]
            found = replace(found, raw=found.raw[..., some, :, :])
            evidence = replace(evidence, positions=evidence.positions[:, some], visible=evidence.visible[:, some])
        return evidence, found


class _Progress:
    """Says how far it is, after two seconds, four, eight and so on."""

    def __init__(self, steps: int) -> None:
        self.done, self._steps = 0, steps
        self._begin, self._wait = time.monotonic(), 2.0

    def step(self) -> None:
        self.done += 1
        if time.monotonic() - self._begin > self._wait:
            self._wait *= 2
            logger.info("clustering: %d %% done", 100 * self.done // self._steps)
