"""The sizes that frames are brought to: as the caller wants them, as far as the artifact allows it."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

import numpy as np

from tapsdk.artifact.manifest import MAX_CELLS, Manifest, Refined
from tapsdk.errors import ModelError
from tapsdk.geometry import MAX_SIDE, Size

MIN_CELLS = 4
"""Fewest multiples that a side of `working_size` holds, where `MAX_CELLS` are the most; of refinement, too."""


def stage_size(resolution: int | Size | None, manifest: Manifest) -> tuple[Size | None, Size]:
    """The size of the frames that the stages get, or None and a size of the area that they get.

    Raises ModelError for a resolution that the artifact was not exported for.
    """
    fixed, multiple = manifest.frames.size, manifest.frames.multiple
    sides = _sides(resolution)
    square = len(sides) == 1
    wanted = sides * 2 if square else sides
    if multiple is None:
        if resolution is None or wanted == fixed:
            return fixed, fixed
        raise ModelError(
            f"{manifest.model} was exported to work at {fixed} (height, width), not at {resolution}; "
            "leave resolution out, or export the model for the one you want"
        )
    if resolution is None:
        return None, fixed
    low, high = MIN_CELLS * multiple, MAX_CELLS * multiple
    fits = len(wanted) == 2 and all(low <= side <= high for side in wanted)
    if not fits or not (square or all(side % multiple == 0 for side in wanted)):
        raise ModelError(
            f"resolution must be a side, or (height, width) in multiples of {multiple}, from {low} to {high} pixels, "
            f"got {resolution}"
        )
    size = (wanted[0], wanted[1])
    return (None if square else size), size


@dataclass(frozen=True)
class RefinementSizes:
    """(height, width) of a video's frames: as points are first found in them, and as each refinement in turn sees them.

    Of models that do not refine at several sizes, both are the same.
    """

    base: Size
    refinement: tuple[Size, ...]


def refinement_sizes(frame: Size, resolution: int | Size | None, manifest: Manifest) -> RefinementSizes:
    """Sizes for a video with frames of a size.

    resolution: up to where models refine that do so at several sizes, (height, width) or the side of a square of the
        same area; None: the size of the frames, as published. For other models as in `stage_size`.

    Raises ModelError for a resolution that is none, or at which the model does not refine.
    """
    program, spec = manifest.program, manifest.frames
    if not isinstance(program, Refined) or program.multiple is None:
        fixed, area = stage_size(resolution, manifest)
        base = fixed or working_size(frame, area, spec.multiple or 1)
        return RefinementSizes(base, (base,))
    top = frame if resolution is None else _largest(frame, resolution, spec.size, program.multiple)
    return RefinementSizes(spec.size, tuple(refinement_resolutions(top, spec.size, program.multiple)))


def _largest(frame: Size, resolution: int | Size, base: Size, multiple: int) -> Size:
    """The size that a clip is refined up to."""
    sides = _sides(resolution)
    square = len(sides) == 1
    wanted = sides * 2 if square else sides
    area = base[0] * base[1]
    low = MIN_CELLS * multiple
    whole = square or all(side >= low and side % multiple == 0 for side in wanted)
    if len(wanted) != 2 or min(wanted) < 1 or not whole or wanted[0] * wanted[1] < area:
        raise ModelError(
            f"resolution must be a side, or (height, width) in multiples of {multiple}, with at least the area of "
            f"{base}, where the model finds points before it refines them; got {resolution}"
        )
    size = (wanted[0], wanted[1])
    if not square or size[0] * size[1] == area:
        return size
    return working_size(frame, size, multiple, most_cells=MAX_SIDE // multiple)


def _sides(resolution: object) -> tuple[int, ...]:
    """The whole numbers of a resolution; none of what is something else."""
    try:
        return tuple(operator.index(side) for side in np.atleast_1d(resolution))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return ()


def working_size(size: Size, resolution: Size, multiple: int, most_cells: int = MAX_CELLS) -> Size:
    """A size for frames of `size` that keeps their aspect ratio at about the area of `resolution`.

    Sides are multiples of `multiple`, at least `MIN_CELLS` and at most `most_cells` of them, which bends the ratio of
    very long frames.
    """
    scale = math.sqrt(resolution[0] * resolution[1] / (size[0] * size[1]))
    height, width = (min(max(round(side * scale / multiple), MIN_CELLS), most_cells) * multiple for side in size)
    return height, width


def refinement_resolutions(size: Size, base: Size, multiple: int = 8) -> list[Size]:
    """Sizes from base to size at which TAPIR refines, spaced evenly in the logarithm, each less than twice the last.

    Sides are multiples of `multiple`, at least `MIN_CELLS` of them; those of base must be. Only base, where size is
    not larger.
    """
    levels = math.ceil(max(math.log2(side / start) for side, start in zip(size, base, strict=True))) + 1
    if size == base or levels <= 1:
        return [base]

    def side(start: int, end: int, share: float) -> int:
        return max(int(start * (end / start) ** share // multiple), MIN_CELLS) * multiple

    shares = [i / (levels - 1) for i in range(levels)]
    return [(side(base[0], size[0], share), side(base[1], size[1], share)) for share in shares]
