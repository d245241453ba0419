"""Groups settled without the network, by least squares, so that they come to rest.

What the network found is near a good grouping, and seldom one. Here a group is flat and moves by a similarity a frame
(four numbers, as four degrees of freedom do to what is flat) or by an affine map (six, as turns in depth do from far
away). Of places and motions each follows from the other by least squares, and from both the group of each point; they
take turns. In between, groups are split and others removed, wherever this makes the loss smaller.

All tensors have a first axis [S], starts that do not see each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.clustering.network import Evidence
from training.clustering.rigid import USUAL_VARIANCE, robust_loss

TURNS = 8
"""Of places, motions and groups after each change."""
LAST_TURNS = 40
ROUNDS = 6
"""Of a split and a removal, at most."""
DIRECTION_ROUNDS = 8
RIDGE = 1e-4
"""What holds places and motions where they are when nothing else does."""


@dataclass(frozen=True, eq=False)
class Flat:
    """K flat groups. maps: [S, K, T, 2, 3], the last column a shift. places: [S, K, N, 2], of every point in each."""

    maps: Tensor
    places: Tensor

    def seen(self) -> Tensor:
        """[S, K, N, T, 2]"""
        turned = torch.einsum("sktij,sknj->sknti", self.maps[..., :2], self.places)
        return turned + self.maps[:, :, None, :, :, 2]


class Settling:
    """Finds better groups for some evidence. affine: whether they move by affine maps; else by similarities."""

    def __init__(self, evidence: Evidence, affine: bool, step: Callable[[], None]) -> None:
        """step: called after each turn of `LAST_TURNS + ROUNDS * (2K + 1) * TURNS`, or fewer."""
        self._positions, self._visible = evidence.positions, evidence.visible
        self._count = evidence.visible.sum(1)
        self._affine, self._step = affine, step

    def settle(self, groups: Flat) -> Flat:
        """The best grouping that splits and removals lead to from here."""
        groups = self._turns(groups, LAST_TURNS)
        for _ in range(ROUNDS):
            changed = self._best(self._removals(self._best(self._splits(groups))))
            gained = self.loss(changed) < self.loss(groups)
            if not gained.any():
                break
            groups = _chosen([groups, changed], gained.long())
        return groups

    def errors(self, groups: Flat) -> Tensor:
        """[S, K, N] squared distances, summed over the frames in which a point is seen."""
        return ((self._positions - groups.seen()).square().sum(-1) * self._visible).sum(-1)

    def loss(self, groups: Flat) -> Tensor:
        """[S]"""
        return robust_loss(self.errors(groups), self._count)

    def _best(self, candidates: list[Flat]) -> Flat:
        settled = [self._turns(groups, TURNS) for groups in candidates]
        return _chosen(settled, torch.stack([self.loss(groups) for groups in settled]).argmin(0))

    def _turns(self, groups: Flat, count: int) -> Flat:
        for _ in range(count):
            groups = replace(groups, maps=self._maps(groups))
            groups = replace(groups, places=self._places(groups))
            self._step()
        return groups

    def _maps(self, groups: Flat) -> Tensor:
        """Least squares over each group's own points, of which those that fit badly count less."""
        x, y = groups.places.unbind(-1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        if self._affine:
            rows = [[x, y, one, zero, zero, zero], [zero, zero, zero, x, y, one]]
        else:
            rows = [[x, -y, one, zero], [y, x, zero, one]]
        design = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)  # [S, K, N, 2, P]
        weight = self._belonging(groups)[..., None] * self._visible  # [S, K, N, T]
        square = torch.einsum("sknt,sknpq->sktpq", weight, design.mT @ design)
        right = torch.einsum("sknti,sknip->sktp", weight[..., None] * self._positions, design)
        numbers = _solved(square, right, self._numbers(groups.maps))
        return self._as_maps(numbers)

    def _belonging(self, groups: Flat) -> Tensor:
        """[S, K, N]: 0 for other groups, and less than 1 for points that are far off."""
        errors = self.errors(groups)
        nearest = errors.amin(1, keepdim=True)
        mean = nearest / self._count.clamp(min=1)
        return (errors == nearest) / (1 + mean / USUAL_VARIANCE)

    def _numbers(self, maps: Tensor) -> Tensor:
        """[S, K, T, P] that maps are made of."""
        if self._affine:
            return maps.flatten(-2)
        return torch.stack([maps[..., 0, 0], maps[..., 1, 0], maps[..., 0, 2], maps[..., 1, 2]], dim=-1)

    def _as_maps(self, numbers: Tensor) -> Tensor:
        if self._affine:
            return numbers.unflatten(-1, (2, 3))
        a, b, x, y = numbers.unbind(-1)
        return torch.stack([a, -b, x, b, a, y], dim=-1).unflatten(-1, (2, 3))

    def _places(self, groups: Flat) -> Tensor:
        """Least squares of every point in every group, so that it can change to any."""
        turn, shift = groups.maps[..., :2], groups.maps[..., 2]
        square = torch.einsum("nt,sktij->sknij", self._visible, turn.mT @ turn)
        positions = self._positions * self._visible[..., None]
        right = torch.einsum("sktji,ntj->skni", turn, positions)
        right = right - torch.einsum("nt,skti->skni", self._visible, torch.einsum("sktji,sktj->skti", turn, shift))
        return _solved(square, right, groups.places)

    def _splits(self, groups: Flat) -> list[Flat]:
        """With each group in turn in two, which go apart where its points do most: along the first principal component
        of what is left of their tracks."""
        gap = (self._positions - groups.seen()) * self._visible[..., None]
        mine = (self._belonging(groups) > 0).float()
        gap = gap * mine[..., None, None]
        side = mine * torch.linspace(-1, 1, mine.shape[-1])
        for _ in range(DIRECTION_ROUNDS):
            way = torch.einsum("skn,skntc->sktc", side, gap)
            side = torch.einsum("sktc,skntc->skn", way, gap)
            side = side / side.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        forks = []
        for half in (mine * (side > 0), mine * (side < 0)):
            shift = torch.einsum("skn,skntc->sktc", half, gap) / (half @ self._visible).clamp(min=1)[..., None]
            forks.append(torch.cat([groups.maps[..., :2], groups.maps[..., 2:] + shift[..., None]], dim=-1))
        candidates = []
        for k in range(mine.shape[1]):
            maps = groups.maps.clone()
            maps[:, k] = forks[0][:, k]
            places = torch.cat([groups.places, groups.places[:, k : k + 1]], dim=1)
            candidates.append(Flat(torch.cat([maps, forks[1][:, k : k + 1]], dim=1), places))
        return candidates

    def _removals(self, groups: Flat) -> list[Flat]:
        """Without each group in turn."""
        count = groups.maps.shape[1]
        others = [[k for k in range(count) if k != left] for left in range(count)]
        return [Flat(groups.maps[:, kept], groups.places[:, kept]) for kept in others]


def _solved(square: Tensor, right: Tensor, before: Tensor) -> Tensor:
    """Solutions [..., P] of normal equations, drawn a little to those before."""
    square = square + RIDGE * torch.eye(square.shape[-1])
    return torch.linalg.solve(square, right + RIDGE * before)


def _chosen(candidates: list[Flat], which: Tensor) -> Flat:
    """Of each start [S], the one of the candidates with its number."""
    starts = torch.arange(len(which))
    maps, places = (torch.stack([getattr(groups, name) for groups in candidates]) for name in ("maps", "places"))
    return Flat(maps[which, starts], places[which, starts])
