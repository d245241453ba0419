"""What all plans are made of: stages opened on a backend, frames as stages want them, scores looked up between them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import tapkernels
from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import FrameSpec, Level, Visibility
from tapsdk.backends import Array, Backend, Session, Tensor
from tapsdk.errors import BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.point_state import capacity
from tapsdk.video.frames import Frame


@dataclass(frozen=True)
class Estimates:
    """xy [N, 2] float32 in the points' space, logits [N] by name; [N, T, ...] of many frames.

    certainty: [N] where it is not what the logits say, because positions follow the picture.
    """

    xy: Array
    logits: Mapping[str, Array]
    certainty: Array | None = None

    def certainty_by(self, visibility: Visibility) -> Array:
        """[N], or [N, T]."""
        return certainty_of(self.logits, visibility) if self.certainty is None else self.certainty


def certainty_of(logits: Mapping[str, Array], visibility: Visibility) -> NDArray[np.float32]:
    """The manifest's rule: the product of sigmoid(sign * logit), [N]."""
    return np.asarray(np.prod([*shares_of(logits, visibility).values()], axis=0), np.float32)


def shares_of(logits: Mapping[str, Array], visibility: Visibility) -> dict[str, NDArray[np.float64]]:
    """What the manifest's rule is the product of: sigmoid(sign * logit) by the logits' names, [N]."""
    return {
        name: 1 / (1 + np.exp(-sign * np.clip(logits[name].astype(np.float64), -80, 80)))
        for name, sign in visibility.logits.items()
    }


def confidence_of(certainty: Array, visibility: Visibility) -> NDArray[np.float32]:
    """What is reported for it, [...]: the manifest's calibration is fitted to be as often right as it says."""
    if not visibility.calibration:
        return certainty
    knots, heights = np.transpose(visibility.calibration)
    return np.asarray(np.interp(certainty, knots, heights), np.float32)


def preprocess(image: Frame, size: Size, spec: FrameSpec, threads: int | None = None) -> NDArray[np.float32]:
    """A frame [H, W, 3] as stages get it: [1, h, w, 3] of (height, width) `size`, in the range of `spec`."""
    frame = tapkernels.resize_normalize(image, *size, threads=threads)[None]
    low, high = spec.range
    if (low, high) == (-1.0, 1.0):
        return frame
    return np.asarray((frame + 1) * ((high - low) / 2) + low, np.float32)


def as_stages_want(image: Frame, size: Size, spec: FrameSpec, backend: Backend) -> Array | Tensor:
    """The same, on the backend's side if frames are resized there, as a tensor of its."""
    resize = backend.place.resize
    return preprocess(image, size, spec, backend.threads) if resize is None else resize(image, size, spec.range)


class OpenStages:
    """The stages of an artifact on one backend, opened once each, in a format that the backend reads."""

    def __init__(self, artifact: Artifact, backend: Backend) -> None:
        self.artifact, self.backend = artifact, backend
        formats = [f for f in backend.formats if f in artifact.manifest.formats]
        if not formats:
            raise BackendError(
                f"backend {backend.name!r} reads {', '.join(backend.formats)}, but {artifact.directory} holds "
                f"{', '.join(artifact.manifest.formats)}; export the model for it: tapsdk export "
                f"{artifact.manifest.model} --target {backend.formats[0]}"
            )
        self.format = formats[0]
        self.buckets = artifact.manifest.points.buckets.get(self.format, ())
        self._opened: dict[tuple[str, int | None], Session] = {}
        self._lock = threading.Lock()

    def open_all(self, names: Iterable[str], points: int) -> None:
        """Opens stages for about so many points, so that whatever cannot be opened is known before the first frame."""
        room = capacity(min([points, *self.buckets[-1:]]), self.buckets)
        shared = self.artifact.weights()  # while somebody has them, they are not read again
        for name in names:
            self.open(name, room)
        del shared

    def open(self, name: str, points: int) -> Session:
        """A stage for tensors of `points` rows."""
        key = name, points if self.buckets else None
        with self._lock:
            if key not in self._opened:
                file = self.artifact.file(name, self.format)
                self._opened[key] = self.backend.open(file, self.artifact.stage(name), key[1])
            return self._opened[key]


@dataclass(frozen=True)
class Lookup:
    """Scores around points by tapkernels. size: (height, width) of the space that the points are in."""

    levels: Sequence[Level]
    radius: int
    size: Size
    threads: int | None = None

    def patches(self, grids: Mapping[str, Array], xy: Array, features: Array) -> Array:
        """[N, levels * (2 radius + 1)^2] of every level around xy [N, 2]."""

        def around(level: Level) -> Array:
            grid = grids[level.grid][0]
            scale = np.array([grid.shape[1] / self.size[1], grid.shape[0] / self.size[0]], np.float32)
            query = np.ascontiguousarray(features[:, slice(*level.channels)])
            return tapkernels.local_correlation(grid, query, xy * scale, self.radius, threads=self.threads)

        return np.concatenate([around(level) for level in self.levels], axis=1)
