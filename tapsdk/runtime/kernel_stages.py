"""Stages that ops of tapkernels compute in place of the engine, with weights by name from the artifact's one file.

A manifest says which stages these are, and what each op wants to know. An op sees arrays on the processor, and gives
the numbers of a point without a look at others, so that any number of them go through it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

import tapkernels
from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import NEXT, Level, Refinement, StageSpec, TensorSpec
from tapsdk.backends import Array
from tapsdk.errors import ArtifactError
from tapsdk.geometry import Size
from tapsdk.system.reading import reading


class KernelStage(Protocol):
    """As a backend's `Session`, with arrays for tensors. Several threads may run it at the same time."""

    def run(self, inputs: Mapping[str, Array], into: Mapping[str, Array] = {}) -> dict[str, Array]:
        """Every output by name. into: memory for some of them, which nobody else may use; the others get their own."""


@dataclass(frozen=True)
class Request:
    """What an op is opened with.

    weights: by argument. levels: what refinement looks at. space: (height, width) of the one that points are in.
    """

    stage: StageSpec
    weights: Mapping[str, Array]
    numbers: Mapping[str, float]
    levels: Sequence[Level]
    space: Size
    threads: int | None


class CostVolume:
    """`locate` by `tapkernels.cost_volume_track`: from a grid, features and earlier positions to xy and logits."""

    def __init__(self, request: Request) -> None:
        stage = request.stage
        (grid,), (features,) = stage.with_role("feature"), stage.with_role("query")
        (self._xy,) = (t.name for t in stage.outputs if t.role == "xy")
        self._logits = [t.name for t in stage.outputs if t.role == "logit"]
        self._grid, self._features = grid.name, features.name
        self._channels = next(slice(*level.channels) for level in request.levels if level.grid == grid.name)
        self._previous = [t.name for t in stage.with_role("previous")]
        # Copied, so that they do not keep all the weights of the artifact in memory.
        own = {argument: np.array(array) for argument, array in request.weights.items()}
        self._head = tapkernels.CostVolumeHead.of(own, "", **request.numbers)
        self._space, self._threads = request.space, request.threads
        self._check(grid)

    def _check(self, grid: TensorSpec) -> None:
        """Raises ValueError, or ArgumentError of tapkernels, if the weights are not those of the stage."""
        (channels,) = grid.shape[-1:]
        assert isinstance(channels, int)  # what levels say of it was checked with the manifest
        one = np.zeros((1, channels), np.float32)
        previous = np.zeros((1, 2), np.float32) if self._previous else None
        _, logits = tapkernels.cost_volume_track(one[None], one, previous, self._head, threads=1)
        if logits.shape[1] != len(self._logits):
            raise ValueError(f"its weights give {logits.shape[1]} logits, and the stage {len(self._logits)}")

    def run(self, inputs: Mapping[str, Array], into: Mapping[str, Array] = {}) -> dict[str, Array]:
        (grid,) = inputs[self._grid]
        to_cells = np.array([grid.shape[1] / self._space[1], grid.shape[0] / self._space[0]], np.float32)
        previous = inputs[self._previous[0]] * to_cells if self._previous else None
        features = inputs[self._features][:, self._channels]
        xy, logits = tapkernels.cost_volume_track(grid, features, previous, self._head, threads=self._threads)
        return {self._xy: xy / to_cells, **{name: logits[:, i] for i, name in enumerate(self._logits)}}


class Mixer:
    """`mixer` by `tapkernels.mixer`: from patches, features, logits and memory to what corrects them.

    Its columns are two zeros in place of a position, logits, features and patches. Its answer has the offset in place
    of the zeros, and then what logits and features change by.
    """

    def __init__(self, request: Request) -> None:
        stage = request.stage
        (patches,) = stage.with_role("patches")
        (self._offset,) = (t.name for t in stage.outputs if t.role == "offset")
        self._narrow, self._wide = (t.name for t in stage.with_role("state"))
        self._weights, self._threads = tapkernels.MixerWeights.pack(request.weights), request.threads
        columns = [t for role in ("logit", "query") for t in stage.with_role(role)]
        ends = np.cumsum([2, *map(_width, columns)]).tolist()
        self._columns = {t.name: slice(*ends[i : i + 2]) for i, t in enumerate(columns)}
        self._patches, self._inputs, self._outputs = patches.name, ends[-1] + _width(patches), ends[-1]
        if (self._inputs, self._outputs) != (self._weights.inputs, self._weights.outputs):
            raise ValueError(
                f"its weights turn {self._weights.inputs} numbers of a point into {self._weights.outputs}, and the "
                f"stage {self._inputs} into {self._outputs}"
            )

    def run(self, inputs: Mapping[str, Array], into: Mapping[str, Array] = {}) -> dict[str, Array]:
        patches = inputs[self._patches]
        x = np.empty((len(patches), self._inputs), np.float32)
        x[:, :2], x[:, self._outputs :] = 0, patches
        for name, columns in self._columns.items():
            x[:, columns] = inputs[name].reshape(len(x), columns.stop - columns.start)
        room = (into[self._narrow], into[self._wide]) if into else None
        before = inputs[self._narrow], inputs[self._wide]
        found, narrow, wide = tapkernels.mixer(x, *before, self._weights, next_memory=room, threads=self._threads)
        found += x[:, : self._outputs]
        after = {name: found[:, columns].reshape(inputs[name].shape) for name, columns in self._columns.items()}
        after.update({self._narrow: narrow, self._wide: wide})
        return {self._offset: found[:, :2], **{NEXT + name: array for name, array in after.items()}}


OPS: Mapping[str, Callable[[Request], KernelStage]] = {"cost_volume_track": CostVolume, "mixer": Mixer}
"""What a manifest may name."""


def open_kernels(artifact: Artifact, native: Refinement, threads: int | None = None) -> dict[str, KernelStage]:
    """The stages that kernels compute, by name. Raises ArtifactError for what this version, or an op, cannot do."""
    return {name: _open(artifact, name, native, threads) for name in native.kernels}


def _open(artifact: Artifact, name: str, native: Refinement, threads: int | None) -> KernelStage:
    kernel, weights = native.kernels[name], artifact.weights()
    if kernel.op not in OPS:
        raise ArtifactError(
            f"{artifact.directory} wants the kernel {kernel.op!r} for its stage {name!r}; this version of tapsdk has "
            f"{', '.join(OPS)}"
        )
    assert weights is not None  # without them, a manifest with kernels is refused
    with reading(artifact.directory, f"has no stage {name!r} that its kernel can compute", ArtifactError):
        arrays = {argument: weights.tensor(tensor) for argument, tensor in kernel.weights.items()}
        arrays.update({argument: arrays[argument].T for argument in kernel.transposed})
        space = artifact.manifest.points.space
        return OPS[kernel.op](Request(artifact.stage(name), arrays, kernel.numbers, native.levels, space, threads))


def _width(tensor: TensorSpec) -> int:
    """Numbers of a point: those of a row [N, C], or the one of [N]."""
    (width,) = (side for side in (*tensor.shape[1:], 1)[:1])
    assert isinstance(width, int)
    return width
