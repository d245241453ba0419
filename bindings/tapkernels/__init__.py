"""The C++ kernels of tapsdk for numpy arrays.

An op is compiled for several instruction sets, and the fastest that this processor runs is used; the
environment variable ``TAPKERNELS_ISA`` (scalar, avx2, avx512 or neon) or `set_isa` choose another. What an op
computes is written in numpy in `tapkernels.reference`; `tapkernels.torch` and `tapkernels.jax` offer the ops to PyTorch
and JAX. Importing this package imports numpy only.

Ops check their arguments: nothing is converted or copied silently, and `ArgumentError` says what is accepted.
`threads` is the number of threads that may work on a call, 1 to 256, by default as many as the machine has;
with 1, everything runs in the calling thread. The GIL is released while an op runs.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from tapkernels import _ext
from tapkernels._ext import ArgumentError, IsaError
from tapkernels.cost_volume import CostVolumeHead
from tapkernels.mixer_weights import MixerWeights

__all__ = [
    "ArgumentError",
    "CostVolumeHead",
    "Info",
    "IsaError",
    "MixerWeights",
    "cost_volume_track",
    "info",
    "local_correlation",
    "lucas_kanade",
    "mixer",
    "resize_normalize",
    "sample_features",
    "set_isa",
]

__version__: str = _ext.__version__

_Float32 = NDArray[np.float32]


class Info(TypedDict):
    """What `info` returns."""

    version: str
    isa: str
    available_isas: list[str]
    threads: int
    ops: list[str]


def info() -> Info:
    """The version, the instruction set in use, those available here, the default thread count, and the ops.

    Raises:
        IsaError: ``TAPKERNELS_ISA`` names an instruction set that is unknown or not available here.
    """
    return {
        "version": __version__,
        "isa": _ext.isa(),
        "available_isas": _ext.available_isas(),
        "threads": _ext.default_threads(),
        "ops": _ext.op_names(),
    }


def set_isa(name: str | None) -> None:
    """Use this instruction set from now on, in the whole process; None returns to the default choice.

    Raises:
        IsaError: the name is unknown, or this processor or this build lacks it.
    """
    _ext.set_isa(name or "")


def cost_volume_track(
    grid: _Float32,
    features: _Float32,
    previous: _Float32 | None,
    head: CostVolumeHead,
    *,
    threads: int | None = None,
) -> tuple[_Float32, _Float32]:
    """Where points are in a frame, and how sure that is: TAPIR's cost volume and its head (arXiv:2306.08637).

    A point's feature is compared with all cells; convolutions make a heatmap and logits of these scores; the position
    is the mean cell of the heatmap's softmax around its largest cell. No point's numbers depend on other points.

    Args:
        grid: [H, W, C] float32, features of one frame.
        features: [N, C] float32, one per point; any strides.
        previous: [N, 2] float32, cells, where the points were in the frame before, for the head's motion prior; None:
            without the prior.
        head: the weights.
        threads: see the package.

    Returns:
        xy [N, 2] float32, cells: (0, 0) = outer corner of the top-left cell, a cell's centre is at +0.5. NaN where a
            heatmap is not finite all over, as NaN in a feature or in `previous` makes it.
        logits [N, L] float32, in the order of the head's last layer: occlusion, expected distance.

    Raises:
        ArgumentError: a dtype, shape or layout other than these, or a grid without cells.

    Example:
        head = CostVolumeHead.of(model.state_dict(), "head.", temperature=20.0)
        xy, logits = tapkernels.cost_volume_track(grid, features, None, head)
    """
    known = np.empty((0, 2), np.float32) if previous is None else previous
    xy, logits = _run("cost_volume_track", (grid, features, known, *head.arrays()), (), threads)
    return xy, logits


def local_correlation(
    grid: _Float32, query: _Float32, xy: _Float32, radius: int = 3, *, threads: int | None = None
) -> _Float32:
    """How well a query feature matches a feature grid at and around a point.

    A score is the dot product of the query with the bilinear sample of the grid at (x + dx, y + dy). Cells
    outside the grid count as zero, and all scores of a point whose x or y is not finite are zero.

    Args:
        grid: [H, W, C] float32, features of one frame.
        query: [N, C] float32, one feature per point.
        xy: [N, 2] float32, cells: (0, 0) = outer corner of the top-left cell, a cell's centre is at +0.5.
        radius: of the neighbourhood in cells, 0 to 15.
        threads: see the package.

    Returns:
        [N, (2 radius + 1)^2] float32, row-major over (dy, dx) from -radius to radius.

    Raises:
        ArgumentError: a dtype, shape, layout or range other than these. Arrays must be C-contiguous.
    """
    return _run("local_correlation", (grid, query, xy), (radius,), threads)[0]


def lucas_kanade(
    before: _Float32, after: _Float32, xy: _Float32, radius: int = 4, levels: int = 4, *, threads: int | None = None
) -> _Float32:
    """Follow points from one frame to the next by their surroundings, and back again as a check.

    Pyramidal Lucas-Kanade (Lucas and Kanade 1981; Bouguet 2001) on luminance, with a Gaussian window; light that
    changes all over a window moves nothing. Precise for small motion of what has texture.

    Args:
        before: [H, W, 3] float32, RGB in [-1, 1].
        after: [H, W, 3] float32, the next frame.
        xy: [N, 2] float32, pixels of `before`: (0, 0) = outer corner of the top-left pixel.
        radius: of the window in pixels, 1 to 15; its Gaussian has half of this for sigma.
        levels: of the pyramid at most, 1 to 8; each reaches twice as far as the one before.
        threads: see the package.

    Returns:
        [N, 3] float32: x and y in `after`, and the distance in pixels between a point and where it ends when it
        is followed back; infinite where the point begins or ends outside the frame or is not finite.

    Raises:
        ArgumentError: a dtype, shape, layout or range other than these, or frames without pixels.
    """
    return _run("lucas_kanade", (before, after, xy), (radius, levels), threads)[0]


def mixer(
    x: _Float32,
    narrow: _Float32,
    wide: _Float32,
    weights: MixerWeights,
    *,
    next_memory: tuple[_Float32, _Float32] | None = None,
    threads: int | None = None,
) -> tuple[_Float32, _Float32, _Float32]:
    """TAPIR's causal mixer, which refines the estimate of every point, for one frame.

    The refinement network of TAPIR (Doersch et al. 2023, arXiv:2306.08637): layer norms, convolutions over this
    frame and the two before, and linear layers. A point's numbers depend on no other point, to the bit.

    Args:
        x: [N, F] float32, what the mixer is told of each point: two zeros, logits, features, patches of scores.
        narrow: [B, N, 2, C] float32, what the blocks remember of the two frames before, the older one first; zeros
            for a point that is new.
        wide: [B, N, 2, 4 C] float32, likewise.
        weights: of B blocks of width C.
        next_memory: arrays for the memory of this frame, [B, N, 2, C] and [B, N, 2, 4 C] float32, which may be
            `narrow` and `wide` themselves; new ones by default.
        threads: see the package.

    Returns:
        [N, O] float32, corrections of each point, and the memory that the next frame is given.

    Raises:
        ArgumentError: a dtype, shape, layout or range other than these. Arrays must be C-contiguous.

    Example:
        weights = MixerWeights.pack(arrays)
        out, _, _ = mixer(x, narrow, wide, weights, next_memory=(narrow, wide))  # updates the memory in place
    """
    given = () if next_memory is None else (None, *next_memory)
    out, next_narrow, next_wide = _run("mixer", (x, narrow, wide, weights.packed), (weights.outputs,), threads, given)
    return out, next_narrow, next_wide


def resize_normalize(
    image: NDArray[np.uint8] | _Float32, height: int, width: int, *, threads: int | None = None
) -> _Float32:
    """Resize an image and map its values to [-1, 1], as the models take them.

    The filter is a triangle: bilinear interpolation when enlarging, antialiased when shrinking, the same as
    ``torch.nn.functional.interpolate(mode="bilinear", antialias=True, align_corners=False)``.

    Args:
        image: [H, W, 3] uint8, or float32 in [0, 1]; any strides, so crops, flips and BGR views need no copy.
        height: of the output in pixels, 1 to 65536.
        width: of the output in pixels, 1 to 65536.
        threads: see the package.

    Returns:
        [height, width, 3] float32, value / 255 * 2 - 1 (uint8) or value * 2 - 1 (float32).

    Raises:
        ArgumentError: a dtype, shape or range other than these, or an image without pixels.
    """
    return _run("resize_normalize", (image,), (height, width), threads)[0]


def sample_features(grid: _Float32, xy: _Float32, *, threads: int | None = None) -> _Float32:
    """Features of a grid at points between its cells, bilinear; points beyond its border read the border.

    Args:
        grid: [H, W, C] float32, features of one frame.
        xy: [N, 2] float32, cells: (0, 0) = outer corner of the top-left cell, a cell's centre is at +0.5.
        threads: see the package.

    Returns:
        [N, C] float32; NaN for a point whose x or y is NaN.

    Raises:
        ArgumentError: a dtype, shape or layout other than these, or a grid without cells. Arrays must be C-contiguous.
    """
    return _run("sample_features", (grid, xy), (), threads)[0]


def _run(
    op: str,
    inputs: tuple[NDArray[np.generic], ...],
    attributes: tuple[int, ...],
    threads: int | None,
    given: tuple[_Float32 | None, ...] = (),
) -> list[_Float32]:
    return _ext.run(op, inputs, attributes, _ext.default_threads() if threads is None else threads, given)
