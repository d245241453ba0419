"""The network that says where each group's points are and how each group moves (RoboTAP, arXiv:2308.15975).

It is fitted to the tracks of one video, or of several, and knows nothing else. It has a state for every point, by the
tracks that its own is like, and one for every frame, by the frames around it; groups read their 3-D points and their
matrices from these. So a group that fits some points has a guess for those that move alike.

All weights have a first axis [S]: starts, fitted side by side, which do not see each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ANCHORS = 384
"""Tracks, drawn at random, that every track is compared with."""
POINT_WIDTH, FRAME_WIDTH = 64, 128
TAPS = 128
"""Frames that a frame's state is smoothed over: 63 before it, 64 after."""
BEFORE = (TAPS - 1) // 2
LIKENESS = 10.0
"""How fast likeness falls with the squared distance of tracks."""
ANCHOR_SCALE = 100.0
"""Of the weights of an anchor's frames, which so change a hundred times slower than its places."""
OUTPUT_SCALE = 0.01
FORK_NOISE = 1e-4
COPIES = 3
"""Of every group: itself, and the two that it may be split into."""
EPSILON = 1e-5

Weights = dict[str, Tensor]
Statistics = dict[str, tuple[Tensor, Tensor]]
"""Mean and variance [S, 1, C] of what each norm sees."""
LINEAR = {
    "points.like": (ANCHORS, 64), "points.in": (64, 64),
    "points.first.in": (64, 32), "points.first.out": (32, 64),
    "points.second.in": (64, 32), "points.second.out": (32, 64),
    "frames.in": (64, 128),
    "frames.first.in": (128, 64), "frames.first.out": (64, 128),
    "frames.second.in": (128, 64), "frames.second.out": (64, 128),
}  # fmt: skip
"""Numbers in and out."""
NORMS = {
    "points": 64, "points.first": 32, "points.second": 32,
    "frames": 64, "frames.first": 64, "frames.second": 64,
}  # fmt: skip
"""Channels."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a fit explains. positions: [N, T, 2] in frame sides. visible: [N, T] of 0 and 1. demonstrations: the first
    frame of each, and the one after its last; together they are all T."""

    positions: Tensor
    visible: Tensor
    demonstrations: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Groups:
    """What the network says. raw: [3, S, K, T, 3, 4], see `rigid_matrices`. points: [3, S, K, N, 3]."""

    raw: Tensor
    points: Tensor
    statistics: Statistics


def first_weights(evidence: Evidence, starts: int, generator: torch.Generator) -> Weights:
    """Of one group, which the fit splits."""
    points, frames = evidence.visible.shape

    def normal(*shape: int) -> Tensor:
        return torch.nn.init.trunc_normal_(torch.empty(starts, *shape), 0, 1, -2, 2, generator)

    places = (evidence.positions * evidence.visible[..., None]).flatten(1)
    tracks = torch.cat([places, ANCHOR_SCALE * evidence.visible], dim=1)
    chosen = torch.randint(points, (starts, ANCHORS), generator=generator)
    shapes, motions = normal(1, points, POINT_WIDTH, 3), normal(COPIES, 1, FRAME_WIDTH, 12)
    forks = [shapes + FORK_NOISE * normal(1, points, POINT_WIDTH, 3) for _ in range(COPIES - 1)]
    weights = {
        "points.own": torch.zeros(starts, points, POINT_WIDTH),
        "points.anchors": tracks[chosen].transpose(1, 2).contiguous(),
        "frames.own": normal(frames, 64),
        "frames.smooth.w": normal(TAPS, 64) * TAPS**-0.5,
        "frames.smooth.b": torch.zeros(starts, 1, 64),
        "shapes": torch.stack([shapes, *forks], dim=1),
        "motions": motions,
    }
    for name, (inside, outside) in LINEAR.items():
        weights[f"{name}.w"] = normal(inside, outside) * inside**-0.5
        weights[f"{name}.b"] = torch.zeros(starts, 1, outside)
    for name, channels in NORMS.items():
        weights[f"{name}.scale"] = torch.ones(starts, 1, channels)
        weights[f"{name}.offset"] = torch.zeros(starts, 1, channels)
    return weights


def groups(weights: Weights, evidence: Evidence, statistics: Statistics | None = None, copies: int = COPIES) -> Groups:
    """The groups as the weights have them.

    statistics: for the norms; without them they take those of the evidence, which come back in any case.
    copies: 1 for the groups without their forks.
    """
    network = _Network(weights, statistics)
    point_states, frame_states = network.points(evidence), network.frames(evidence)
    shapes, motions = (weights[name][:, :copies].transpose(0, 1) for name in ("shapes", "motions"))
    points = torch.einsum("cskpio,spi->cskpo", shapes, point_states) * OUTPUT_SCALE
    raw = (frame_states[:, None] @ motions).unflatten(-1, (3, 4))
    return Groups(raw, points, network.seen)


class _Network:
    """One run of the network. seen: what its norms saw."""

    def __init__(self, weights: Weights, statistics: Statistics | None) -> None:
        self._weights, self._statistics = weights, statistics
        self.seen: Statistics = {}

    def points(self, evidence: Evidence) -> Tensor:
        """[S, N, 64]"""
        state = self._weights["points.own"] + self._linear("points.like", self._likeness(evidence))
        state = self._linear("points.in", self._norm("points", state)).relu()
        for block in ("points.first", "points.second"):
            inside = self._norm(block, self._linear(f"{block}.in", state)).relu()
            state = state + self._linear(f"{block}.out", inside)
        return state

    def _likeness(self, evidence: Evidence) -> Tensor:
        """[S, N, A] of tracks and anchors; of one track they add up to 1.

        As published: the middle term lacks a square of the weights, so that this is no distance where they are not 1.
        """
        frames = evidence.visible.shape[1]
        visible = evidence.visible.repeat_interleave(2, dim=1)
        places = evidence.positions.flatten(1) * visible
        anchors = self._weights["points.anchors"]
        weight = (anchors[:, 2 * frames :].abs() / ANCHOR_SCALE).repeat_interleave(2, dim=1)
        weighted = anchors[:, : 2 * frames] * weight
        distance = places.square() @ weight.square() - 2 * (places @ weighted) + visible @ weighted.square()
        likeness = (-LIKENESS * distance).exp()
        return likeness / likeness.sum(-1, keepdim=True).clamp(min=1e-8)

    def frames(self, evidence: Evidence) -> Tensor:
        """[S, T, 128]"""
        own = self._weights["frames.own"]
        state = torch.cat([self._smooth(own[:, first:end]) for first, end in evidence.demonstrations], dim=1)
        state = self._linear("frames.in", self._norm("frames", state)).relu()
        for block in ("frames.first", "frames.second"):
            inside = self._norm(block, self._linear(f"{block}.in", state).relu())
            state = state + self._linear(f"{block}.out", inside)
        return state * OUTPUT_SCALE

    def _smooth(self, states: Tensor) -> Tensor:
        """[S, T, C] of the states [S, T, C] of one demonstration, each channel on its own."""
        frames = states.shape[1]
        # Of a short demonstration, most taps meet nothing.
        left, right = min(BEFORE, frames - 1), min(TAPS - 1 - BEFORE, frames - 1)
        taps = self._weights["frames.smooth.w"][:, BEFORE - left : BEFORE + right + 1]
        around = F.pad(states, (0, 0, left, right)).unfold(1, left + 1 + right, 1)  # [S, T, C, taps]
        return torch.einsum("stck,skc->stc", around, taps) + self._weights["frames.smooth.b"]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return torch.baddbmm(self._weights[f"{name}.b"], x, self._weights[f"{name}.w"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """A batch norm, over points or frames."""
        if self._statistics is None:
            variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        else:
            mean, variance = self._statistics[name]
        self.seen[name] = mean.detach(), variance.detach()
        scale = self._weights[f"{name}.scale"] * (variance + EPSILON).rsqrt()
        return (x - mean) * scale + self._weights[f"{name}.offset"]
