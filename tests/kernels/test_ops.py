"""Every op, on every instruction set, agrees with its numpy reference. A new op adds a row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tapkernels
from tapkernels import CostVolumeHead, MixerWeights, reference
from tapkernels.mixer_weights import parameter_shapes

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Row:
    """An op, the largest error that float32 arithmetic excuses, and calls with odd sizes, named by them."""

    op: str
    tolerance: float
    calls: Callable[[np.random.Generator], Iterator[tuple[str, Arguments]]]


def cost_volume_track_calls(rng: np.random.Generator) -> Iterator[tuple[str, Arguments]]:
    for height, width in [(9, 13), (1, 1), (1, 20), (17, 1), (2, 3), (24, 42), (33, 16)]:
        for known in (False, True):
            yield f"{height}x{width} {known}", cost_volume(rng, (height, width, 12), 7, known=known)
    for channels in (0, 1, 128):
        yield f"{channels} channels", cost_volume(rng, (8, 11, channels), 5)
    for points in (0, 1, 24, 25, 61):
        yield f"{points} points", cost_volume(rng, (6, 5, 9), points)
    for widths in [(1, 1, 1, 1), (16, 32, 16, 2), (16, 16, 16, 1), (5, 19, 3, 4), (17, 33, 18, 17), (16, 40, 4, 2)]:
        yield f"widths {widths}", cost_volume(rng, (7, 10, 8), 4, widths)


def cost_volume(
    rng: np.random.Generator,
    grid: tuple[int, int, int],
    points: int,
    widths: tuple[int, int, int, int] = (16, 16, 16, 2),
    known: bool = True,
) -> Arguments:
    """widths: of the head: shared channels, of the occlusion's convolution, its hidden layer, logits."""
    (height, width, channels), (shared, occlusion, hidden, logits) = grid, widths

    def normal(*shape: int) -> np.ndarray:
        """Of sums of about 1 where one is taken over all axes but the first."""
        return (rng.normal(size=shape) / max(np.prod(shape[1:]), 1) ** 0.5).astype(np.float32)

    head = CostVolumeHead(
        shared_weight=normal(shared, 1, 3, 3),
        shared_bias=normal(shared),
        heatmap_weight=normal(1, shared, 3, 3),
        occlusion_conv_weight=normal(occlusion, shared, 3, 3),
        occlusion_conv_bias=normal(occlusion),
        occlusion_hidden_weight=normal(hidden, occlusion),
        occlusion_hidden_bias=normal(hidden),
        occlusion_out_weight=normal(logits, hidden),
        occlusion_out_bias=normal(logits),
        temperature=5.0,
        motion_prior=1.5,
    )
    features = rng.normal(size=grid).astype(np.float32)
    previous = (rng.uniform(-0.5, 1.5, size=(points, 2)) * (width, height)).astype(np.float32)
    return features, normal(points, channels), previous if known else None, head


def local_correlation_calls(rng: np.random.Generator) -> Iterator[tuple[str, Arguments]]:
    sizes = [(9, 13), (1, 1), (1, 20), (3, 2)]
    channels = [1, 3, 16, 17, 64, 128, 129]
    for (height, width), count in itertools.product(sizes, channels):
        yield f"{height}x{width}x{count}", correlation(rng, (height, width, count), points=40)
    for points in (0, 1, 1000):
        yield f"{points} points", correlation(rng, (6, 5, 32), points)
    for radius in (0, 1, 4, 15):
        yield f"radius {radius}", (*correlation(rng, (8, 8, 24), points=30), radius)
    yield "no channels", correlation(rng, (4, 4, 0), points=2)
    yield "no cells", correlation(rng, (0, 3, 8), points=2)


def correlation(rng: np.random.Generator, grid: tuple[int, int, int], points: int) -> Arguments:
    """Points inside, on the borders, beside and far from the grid; features that give scores of about 1."""
    height, width, channels = grid
    features = rng.normal(size=grid)
    query = rng.normal(size=(points, channels)) / max(channels, 1) ** 0.5
    xy = rng.uniform(-5, 5, size=(points, 2)) + rng.uniform(0, 1, size=(points, 2)) * (width, height)
    xy[::4] = np.round(xy[::4] * 2) / 2  # on corners and centres of cells
    return features.astype(np.float32), query.astype(np.float32), xy.astype(np.float32)


def lucas_kanade_calls(rng: np.random.Generator) -> Iterator[tuple[str, Arguments]]:
    for height, width in [(48, 64), (33, 90), (128, 17), (15, 40)]:
        yield f"{height}x{width}", moving(rng, (height, width), points=30)
    for points in (0, 1, 200):
        yield f"{points} points", moving(rng, (40, 50), points)
    for radius in (1, 2, 7, 15):
        yield f"radius {radius}", (*moving(rng, (50, 60), points=20), radius)
    for levels in (1, 2, 8):
        yield f"{levels} levels", (*moving(rng, (70, 60), points=20), 4, levels)
    yield "one pixel", (*moving(rng, (1, 1), points=3), 2)
    yield "one column", moving(rng, (40, 1), points=3)


def moving(rng: np.random.Generator, size: tuple[int, int], points: int) -> Arguments:
    """A pattern of waves that moves by less than a pixel; points in it, on its edges, outside and nowhere."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    waves = rng.uniform(0.15, 0.6, size=(6, 2)) * rng.choice([-1, 1], size=(6, 2))
    shift = rng.uniform(-0.7, 0.7, size=2)

    def frame(dx: float, dy: float) -> np.ndarray:
        rows = [np.sin(a * (x - dx) + b * (y - dy) + 7 * a * b) for a, b in waves]
        return np.stack([sum(rows[k::2]) / 3 for k in (0, 1, 0)], axis=-1).astype(np.float32)

    xy = (rng.uniform(-0.1, 1.1, size=(points, 2)) * (width, height)).astype(np.float32)
    xy[1::9, 0], xy[2::9], xy[3::9, 1] = 0, (width, height), np.nan
    return frame(0, 0), frame(*shift), xy


def mixer_calls(rng: np.random.Generator) -> Iterator[tuple[str, Arguments]]:
    sizes = [(1, 1, 1, 1), (9, 7, 2, 5), (40, 16, 3, 16), (3, 33, 1, 17), (50, 66, 2, 34), (20, 128, 1, 20)]
    for inputs, width, blocks, outputs in sizes:
        for points in (1, 5, 13):
            name = f"{inputs} to {outputs}, {blocks} x {width}, {points} points"
            yield name, mixing(rng, (inputs, width, blocks, outputs), points)
    for points in (0, 2, 3, 100):
        yield f"{points} points", mixing(rng, (12, 20, 2, 6), points)
    yield "no blocks", mixing(rng, (12, 20, 0, 6), points=4)
    yield "deep", mixing(rng, (530, 140, 1, 4), points=7)  # products of more than one stretch


def mixing(rng: np.random.Generator, sizes: tuple[int, int, int, int], points: int) -> Arguments:
    inputs, width, blocks, _ = sizes

    def values(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    shapes = parameter_shapes(*sizes)
    weights = {name: values(*shape) / np.float32(np.prod(shape[1:]) ** 0.5) for name, shape in shapes.items()}
    memory = values(blocks, points, 2, width), values(blocks, points, 2, 4 * width)
    return values(points, inputs), *memory, MixerWeights.pack(weights)


def resize_normalize_calls(rng: np.random.Generator) -> Iterator[tuple[str, Arguments]]:
    sizes = [(1, 1), (1, 9), (5, 1), (7, 5), (33, 64), (97, 131)]
    large = (300, 500), (160, 90)  # enough work for several threads
    for (height, width), (out_height, out_width) in [*itertools.product(sizes, sizes), large]:
        image = rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        name = f"{height}x{width} to {out_height}x{out_width}"
        yield name, (image, out_height, out_width)
        yield f"{name} float", ((image / 255).astype(np.float32), out_height, out_width)


def sample_features_calls(rng: np.random.Generator) -> Iterator[tuple[str, Arguments]]:
    for (height, width), channels in itertools.product([(9, 13), (1, 1), (1, 20), (3, 2)], [1, 3, 16, 17, 129]):
        yield f"{height}x{width}x{channels}", sampling(rng, (height, width, channels), points=40)
    for points in (0, 1, 5000):
        yield f"{points} points", sampling(rng, (6, 5, 32), points)
    yield "no channels", sampling(rng, (4, 4, 0), points=2)


def sampling(rng: np.random.Generator, grid: tuple[int, int, int], points: int) -> Arguments:
    """Points inside, on the borders, outside, infinitely far and nowhere."""
    features, _, xy = correlation(rng, grid, points)
    xy[1::9, 0], xy[2::9], xy[3::9, 1] = np.nan, (-np.inf, np.inf), 1e30
    return features, xy


ROWS = [
    Row("cost_volume_track", 2e-5, cost_volume_track_calls),
    Row("local_correlation", 1e-5, local_correlation_calls),
    Row("lucas_kanade", 1e-3, lucas_kanade_calls),
    Row("mixer", 5e-5, mixer_calls),
    Row("resize_normalize", 1e-6, resize_normalize_calls),
    Row("sample_features", 2e-6, sample_features_calls),
]
CALLS = [
    pytest.param(row, arguments, id=f"{row.op} {name}")
    for row in ROWS
    for name, arguments in row.calls(np.random.default_rng(0))
]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("row", "arguments"), CALLS)
def test_agrees_with_the_reference(row: Row, arguments: Arguments, threads: int, isa: str) -> None:
    results = outputs(getattr(tapkernels, row.op)(*arguments, threads=threads))
    for result, expected in zip(results, outputs(getattr(reference, row.op)(*arguments)), strict=True):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=0, atol=row.tolerance)


def outputs(result: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_every_op_has_a_row() -> None:
    assert sorted(row.op for row in ROWS) == sorted(tapkernels.info()["ops"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.op)
def test_the_result_does_not_depend_on_the_number_of_threads(row: Row, isa: str) -> None:
    op = getattr(tapkernels, row.op)
    for _, arguments in row.calls(np.random.default_rng(1)):
        one, seven = (outputs(op(*arguments, threads=threads)) for threads in (1, 7))
        for result, other in zip(one, seven, strict=True):
            np.testing.assert_array_equal(result, other)


POINTS = {
    "local_correlation": ({1: 0, 2: 0}, (0,)),
    "lucas_kanade": ({2: 0}, (0,)),
    "mixer": ({0: 0, 1: 1, 2: 1}, (0, 1, 1)),
    "sample_features": ({1: 0}, (0,)),
}
"""Which arguments have points, and which of their axes it is; which axis of each result it is."""


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("row", [row for row in ROWS if row.op in POINTS], ids=lambda row: row.op)
def test_the_numbers_of_a_point_depend_on_no_other_point(row: Row, threads: int, isa: str) -> None:
    """Nor on how many there are, nor on which row it has: to the bit."""
    op, rng = getattr(tapkernels, row.op), np.random.default_rng(2)
    axes, result_axes = POINTS[row.op]
    first = next(iter(axes))
    for _, arguments in row.calls(rng):
        together, count = outputs(op(*arguments, threads=threads)), arguments[first].shape[axes[first]]
        for rows in ([0], [count - 1], range(0, count, 3), rng.permutation(count)):
            chosen = np.arange(count)[list(rows)] if count else np.arange(0)
            some = [a.take(chosen, axes[i]) if i in axes else a for i, a in enumerate(arguments)]
            for result, all_of_them, axis in zip(
                outputs(op(*some, threads=threads)), together, result_axes, strict=True
            ):
                np.testing.assert_array_equal(result, all_of_them.take(chosen, axis))
