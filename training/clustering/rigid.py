"""Groups of points that move as rigid bodies before a camera: where they are seen, and how far from their tracks.

A group is 3-D points and a matrix [3, 4] a frame, which turns and moves them into the camera's coordinates. The leading
axes [...] of all tensors are whatever is worked out at a time, such as groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAREST, FARTHEST = 0.5, 2.0
"""Depths, as the projection sees them."""
NOISE = 0.1
"""Of a projection, for every unit that a point lies outside of these depths."""
STEEPEST = 100.0
"""Gradient into an element of a raw matrix: those of matrices that are nearly singular have no bound."""
EM_VARIANCE = 1e-4
"""Of positions about those of their group, in frame sides squared, where points belong to groups softly."""
EM_ROUNDS = 3
USUAL_VARIANCE = 4e-6
"""Of positions that are where their group has them, in frame sides squared: half a pixel of 256."""
LEAST_WEIGHT = 1e-8


def rigid_matrices(raw: Tensor, six_dof: bool = False) -> Tensor:
    """Matrices [..., 3, 4] of a turn and a shift, from any numbers [..., 3, 4]; the shift is their last column.

    Four degrees of freedom: turns in the picture's plane alone. Six: any turn. The third row of `raw` has no say: the
    turn's rows are perpendicular and right-handed, so that two of them give the third.
    """
    if raw.requires_grad:
        raw.register_hook(lambda gradient: gradient.clamp(-STEEPEST, STEEPEST))
    if six_dof:
        first = _unit(raw[..., 0, :3])
        second = raw[..., 1, :3]
        second = _unit(second - first * (first * second).sum(-1, keepdim=True))
        turn = torch.stack([torch.linalg.cross(first, second), second, first], dim=-2)
    else:
        x, y = _unit(raw[..., 1, :2]).unbind(-1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        turn = torch.stack([-y, x, zero, x, y, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
    return torch.cat([turn, raw[..., 3:]], dim=-1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()


def project(matrices: Tensor, points: Tensor, focal: float, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Positions [..., N, T, 2] in frame sides and depths [..., N, T] of points [..., N, 3], by matrices [..., T, 3, 4].

    noise: [..., N, T] of variance 1, to keep points between the nearest and the farthest depth: it is added where they
        are not. As published, it goes by z and the projection by z + 1, so that only z from 0.5 to 2 is free of it.
    """
    frames = matrices.shape[-3]
    by_column = matrices.transpose(-1, -3).transpose(-1, -2).flatten(-2)  # [..., 4, T * 3]
    seen = (points @ by_column[..., :3, :] + by_column[..., 3:, :]).unflatten(-1, (frames, 3))
    z = seen[..., 2]
    depth = (z + 1).clamp(NEAREST, FARTHEST)
    xy = seen[..., :2] * (focal / depth)[..., None]
    if noise is not None:
        outside = (z - FARTHEST).relu() + (NEAREST - z).relu()
        xy = xy + (NOISE * noise * outside)[..., None]
    return xy, depth


def summed_errors(positions: Tensor, visible: Tensor, projected: Tensor) -> Tensor:
    """[..., N] squared distances, over the frames in which a point is seen.

    positions [N, T, 2], visible [N, T] of 0 and 1, projected [..., N, T, 2].
    """
    return ((positions - projected).square().sum(-1) * visible).sum(-1)


def hard_loss(errors: Tensor, seen: Tensor) -> Tensor:
    """[...] mean squared distance of points from the nearest of K groups.

    errors: [..., K, N]. seen: [N], the number of positions that they sum up; or of all points together.
    """
    return errors.amin(-2).sum(-1) / seen.sum().clamp(min=1)


def em_loss(errors: Tensor, seen: Tensor, variance: float = EM_VARIANCE) -> Tensor:
    """[...] as `hard_loss`, for points that may belong to several groups: a mixture of Gaussians.

    Its weights are found anew each time, since groups come and go.
    """
    likely = (-(errors - errors.amin(-2, keepdim=True)) / variance).exp()
    weights = torch.full_like(errors[..., :1], 1 / errors.shape[-2])
    for _ in range(EM_ROUNDS):
        shares = likely * weights
        weights = (shares / shares.sum(-2, keepdim=True)).sum(-1, keepdim=True).clamp(min=LEAST_WEIGHT)
        weights = weights / weights.sum(-2, keepdim=True)
    return -(weights.log() - errors / variance).logsumexp(-2).sum(-1) / seen.sum().clamp(min=1) * variance


def robust_loss(errors: Tensor, seen: Tensor) -> Tensor:
    """[...] as `hard_loss`, but large errors of a point count little more than half as large ones.

    So a group that bends, or tilts, and fits badly whatever is done does not take all others for itself.
    seen: [N].
    """
    count = seen.clamp(min=1)
    mean = errors.amin(-2) / count
    return (count * USUAL_VARIANCE * (mean / USUAL_VARIANCE).log1p()).sum(-1) / count.sum()
