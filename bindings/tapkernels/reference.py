"""What the ops compute, in plain numpy: the specification that every compiled version is tested against.

Clear before fast, and float64 inside. Arguments are those of the public functions, and are not checked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapkernels.cost_volume import CostVolumeHead
from tapkernels.mixer_weights import MixerWeights

_Float32 = NDArray[np.float32]
_Float64 = NDArray[np.float64]


def cost_volume_track(
    grid: _Float32, features: _Float32, previous: _Float32 | None, head: CostVolumeHead
) -> tuple[_Float32, _Float32]:
    """Convolutions over the scores of every cell; then the mean cell around the peak, and logits."""
    height, width = grid.shape[:2]
    scores = np.einsum("hwc,nc->nhw", grid.astype(np.float64), features)[:, None]
    shared = _relu(_convolve(scores, head.shared_weight, ((1, 1), (1, 1))) + head.shared_bias[:, None, None])
    heatmap = _convolve(shared, head.heatmap_weight, ((1, 1), (1, 1)))[:, 0] * head.temperature
    if previous is not None:
        away = _centres(height, width) - previous[:, None, None]
        heatmap = heatmap - head.motion_prior * np.log(1 + (away**2).sum(-1))
    found = [_mean_around_peak(each) for each in heatmap]

    corner = _convolve(shared, head.occlusion_conv_weight, ((0, 2), (0, 2)))[..., ::2, ::2]
    pooled = _relu(corner + head.occlusion_conv_bias[:, None, None]).mean((2, 3))
    hidden = _relu(pooled @ head.occlusion_hidden_weight.T + head.occlusion_hidden_bias)
    logits = hidden @ head.occlusion_out_weight.T + head.occlusion_out_bias
    return np.reshape(found, (len(features), 2)).astype(np.float32), logits.astype(np.float32)


def local_correlation(grid: _Float32, query: _Float32, xy: _Float32, radius: int = 3) -> _Float32:
    """Sample the grid around each point, then take dot products with the query."""
    step = np.arange(-radius, radius + 1.0)
    across = _linear_weights(xy[:, :1] + step, grid.shape[1])  # [N, S, W] with S = 2 radius + 1
    down = _linear_weights(xy[:, 1:] + step, grid.shape[0])  # [N, S, H]
    samples = across[:, None] @ np.tensordot(down, grid, axes=1)  # [N, S, S, C]
    scores: _Float64 = samples @ query[:, None, :, None].astype(np.float64)
    return scores.reshape(len(xy), len(step) ** 2).astype(np.float32)


def lucas_kanade(before: _Float32, after: _Float32, xy: _Float32, radius: int = 4, levels: int = 4) -> _Float32:
    """Gauss-Newton on windows, from the smallest level of a pyramid to the frame itself; then the way back."""
    height, width = before.shape[:2]
    first, second = _pyramid(before, levels), _pyramid(after, levels)

    def inside(point: _Float64) -> bool:
        return bool(((point >= 0) & (point <= (width, height))).all())

    found = np.full((len(xy), 3), np.inf)
    found[:, :2] = xy
    for row in found:
        start = row[:2].copy()
        if inside(start):
            row[:2] = _follow(first, second, start, radius)
        if inside(start) and inside(row[:2]):
            row[2] = np.linalg.norm(_follow(second, first, row[:2], radius) - start)
    return found.astype(np.float32)


def mixer(x: _Float32, narrow: _Float32, wide: _Float32, weights: MixerWeights) -> tuple[_Float32, _Float32, _Float32]:
    """Embed; let the blocks mix over time, then over channels, each adding to what there is; read off the result."""
    parameters = {name: array.astype(np.float64) for name, array in weights.unpack().items()}
    mixed = _linear(parameters, "embed", x.astype(np.float64))
    next_narrow, next_wide = np.empty_like(narrow), np.empty_like(wide)
    for i in range(weights.blocks):
        of = {name.removeprefix(f"blocks.{i}."): array for name, array in parameters.items()}
        seen = np.concatenate([narrow[i], _layer_norm(of["norm_time.weight"], mixed)[:, None]], 1)  # [N, 3, C]
        inner = _gelu(np.einsum("nkh,hk->nh", seen.repeat(4, -1), of["time.up_weight"]) + of["time.up_bias"])
        seen_wide = np.concatenate([wide[i], inner[:, None]], 1)
        outer = np.einsum("nkh,hk->nh", seen_wide, of["time.out_weight"]) + of["time.out_bias"]
        mixed = mixed + outer.reshape(*mixed.shape, 4).sum(-1)
        hidden = _gelu(_linear(of, "channels_up", _layer_norm(of["norm_channels.weight"], mixed)))
        mixed = mixed + _linear(of, "channels_down", hidden)
        next_narrow[i], next_wide[i] = seen[:, 1:], seen_wide[:, 1:]
    out = _linear(parameters, "out", _layer_norm(parameters["norm.weight"], mixed))
    return out.astype(np.float32), next_narrow, next_wide


def resize_normalize(image: NDArray[np.uint8] | _Float32, height: int, width: int) -> _Float32:
    """Filter along y, then along x, then map [0, 255], or [0, 1], to [-1, 1]."""
    rows = np.tensordot(triangle_weights(image.shape[0], height), image, axes=1)  # [height, W, 3]
    resized: _Float64 = triangle_weights(image.shape[1], width) @ rows
    white = 255.0 if image.dtype == np.uint8 else 1.0
    return (resized / white * 2.0 - 1.0).astype(np.float32)


def sample_features(grid: _Float32, xy: _Float32) -> _Float32:
    """Linear along x and along y, between the centres of the outermost cells."""
    height, width = grid.shape[:2]
    across = _linear_weights(np.clip(xy[:, 0].astype(np.float64), 0.5, width - 0.5), width)  # [N, W]
    down = _linear_weights(np.clip(xy[:, 1].astype(np.float64), 0.5, height - 0.5), height)  # [N, H]
    features = np.einsum("nh,nw,hwc->nc", down, across, grid.astype(np.float64), optimize=True)
    return np.where(np.isnan(xy).any(1, keepdims=True), np.nan, features).astype(np.float32)


REACH = 5
"""Cells; those nearer than this to the peak of a heatmap are averaged."""


def _mean_around_peak(heatmap: _Float64) -> _Float64:
    """The mean cell centre (x, y) under the softmax of heatmap [H, W], around the first column and row of its peak."""
    if not np.isfinite(heatmap).all():
        return np.full(2, np.nan)
    is_peak = heatmap == heatmap.max()
    peak = np.array([is_peak.any(0).argmax(), is_peak.any(1).argmax()]) + 0.5
    centres = _centres(*heatmap.shape)
    near = ((centres - peak) ** 2).sum(-1) < REACH**2
    share = np.exp(heatmap - heatmap.max()) * near
    mean: _Float64 = (centres * share[..., None]).sum((0, 1)) / share.sum()
    return mean


def _centres(height: int, width: int) -> _Float64:
    """[H, W, 2] (x, y)"""
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


def _convolve(x: _Float64, weight: _Float32, pad: tuple[tuple[int, int], tuple[int, int]]) -> _Float64:
    """x [N, I, H, W], padded by zeros (before, after) along y and x, with weight [O, I, 3, 3]: [N, O, H', W']."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), *pad)), (3, 3), axis=(2, 3))
    convolved: _Float64 = np.einsum("nihwab,oiab->nohw", windows, weight, optimize=True)
    return convolved


def _relu(x: _Float64) -> _Float64:
    """Never below zero, but NaN where x is."""
    return np.maximum(x, 0)


ITERATIONS = 8
LONGEST = 2.0
"""Pixels; no step is longer."""
FLAT = 1e-3
"""Squared gradient of a window that is too flat to be followed."""
SMALLEST = 16
"""A level with a shorter side is the last one of its pyramid."""


def _pyramid(frame: _Float32, levels: int) -> list[_Float64]:
    """Luminance [H, W], and smaller ones: every second cell, the first of them included, of a binomial filter."""
    pyramid = [frame.astype(np.float64) @ (0.299, 0.587, 0.114)]
    while len(pyramid) < levels and min(pyramid[-1].shape) >= SMALLEST:
        height, width = pyramid[-1].shape
        padded = np.pad(pyramid[-1], 2, mode="edge")
        kernel = np.array([1, 4, 6, 4, 1]) / 16
        rows = sum(share * padded[k : k + height] for k, share in enumerate(kernel))
        smooth = sum(share * rows[:, k : k + width] for k, share in enumerate(kernel))
        pyramid.append(smooth[::2, ::2])
    return pyramid


def _follow(before: list[_Float64], after: list[_Float64], start: _Float64, radius: int) -> _Float64:
    moved = np.zeros(2)
    for level in reversed(range(len(before))):
        at = (start - 0.5) / 2**level + 0.5
        moved = (_match(before[level], after[level], at, at + moved / 2**level, radius) - at) * 2**level
    return start + moved


def _match(before: _Float64, after: _Float64, start: _Float64, guess: _Float64, radius: int) -> _Float64:
    """Where the window of `before` around `start` is in `after`, near `guess`."""
    step = np.arange(-radius, radius + 1.0)
    bell = np.exp(-2 * (step / radius) ** 2)
    weights = np.outer(bell, bell) / bell.sum() ** 2

    def less_mean(gradient: _Float64) -> _Float64:
        """So that a change of light that is the same all over the window drops out."""
        less: _Float64 = gradient - (weights * gradient).sum()
        return less

    around = _window(before, start, radius + 1)
    along_x = less_mean((around[1:-1, 2:] - around[1:-1, :-2]) / 2)
    along_y = less_mean((around[2:, 1:-1] - around[:-2, 1:-1]) / 2)
    along = np.stack([along_x, along_y])
    steepness = np.einsum("ahw,bhw,hw->ab", along, along, weights) + FLAT * np.eye(2)
    for _ in range(ITERATIONS):
        change = around[1:-1, 1:-1] - _window(after, guess, radius)
        move = np.linalg.solve(steepness, (along * change * weights).sum((1, 2)))
        length = float(np.linalg.norm(move))
        if not np.isfinite(length):
            break
        guess = guess + move * min(1.0, LONGEST / max(length, LONGEST))
    return guess


def _window(image: _Float64, at: _Float64, radius: int) -> _Float64:
    """[2 radius + 1, 2 radius + 1] linear samples around a point, of an image that goes on beyond its edges."""
    step = np.arange(-radius, radius + 1)
    corner = np.floor(at - 0.5)
    right, below = at - 0.5 - corner

    def cells(dx: int, dy: int) -> _Float64:
        columns = np.clip(int(corner[0]) + step + dx, 0, image.shape[1] - 1)
        return image[np.clip(int(corner[1]) + step + dy, 0, image.shape[0] - 1)][:, columns]

    upper = cells(0, 0) * (1 - right) + cells(1, 0) * right
    lower = cells(0, 1) * (1 - right) + cells(1, 1) * right
    window: _Float64 = upper * (1 - below) + lower * below
    return window


def _linear(parameters: dict[str, _Float64], layer: str, x: _Float64) -> _Float64:
    result: _Float64 = x @ parameters[f"{layer}.weight"].T + parameters[f"{layer}.bias"]
    return result


def _layer_norm(weight: _Float64, x: _Float64) -> _Float64:
    centred = x - x.mean(-1, keepdims=True)
    result: _Float64 = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight
    return result


def _gelu(x: _Float64) -> _Float64:
    """The approximation by tanh."""
    result: _Float64 = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return result


def _linear_weights(position: _Float64, size: int) -> _Float64:
    """[..., size]: the share of each cell in a linear sample; none at all of a sample outside or at NaN."""
    cell = np.arange(size) + 0.5
    weights: _Float64 = np.fmax(0.0, 1.0 - abs(position[..., None] - cell))
    return weights


def triangle_weights(size: int, out_size: int) -> _Float64:
    """[out_size, size]: the share of each pixel in each output pixel; rows sum to 1."""
    scale = size / out_size
    pixel, out_pixel = np.arange(size) + 0.5, np.arange(out_size) + 0.5
    distance = abs(pixel - out_pixel[:, None] * scale)
    weights: _Float64 = np.fmax(0.0, 1.0 - distance / max(scale, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
