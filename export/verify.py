"""Is the artifact the model? Every stage against torch, then whole rollouts through the runtime, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.stages import Stage
from export.targets import Target
from tapsdk.artifact import Artifact
from tapsdk.backends import Backend
from tapsdk.engine import Engine, confidence_of
from tapsdk.errors import BackendError
from tapsdk.geometry import working_size
from tapsdk.manifest import Manifest, Visibility, read_manifest
from tapsdk.plans import PLANS

POINTS = (5, 40)
"""Two shapes: a graph that froze the traced one shows at the other."""
WIDE = (9, 16)
"""(height, width) in proportion, of the frames of a second rollout where any size will do."""
FRAMES = 24
FLIPS = 0.01
"""Largest allowed share of visibility flags that differ."""


class VerificationError(RuntimeError):
    """The artifact does not compute what the model computes."""


@dataclass(frozen=True)
class Report:
    """What was compared, for the manifest."""

    reference: str
    backend: str
    stage_error: dict[str, float]
    """Largest relative difference of each stage's outputs."""
    pixel_error: dict[str, float]
    """Largest difference of positions over the rollouts in pixels of their frames, by plan."""
    visibility_flips: dict[str, float]
    """Largest share of visibility flags that differ over a rollout, by plan."""
    points: tuple[int, ...]
    """Numbers of points that the stages were run with."""
    frames: int = FRAMES


def verify(model: nn.Module, stages: Sequence[Stage], directory: Path, target: Target) -> dict[str, object]:
    """Compares the artifact in `directory` with torch. Raises VerificationError with the numbers."""
    try:
        return _compare(model, stages, directory, target)
    except BackendError as error:
        raise VerificationError(f"the artifact does not run: {error}") from error


def _compare(model: nn.Module, stages: Sequence[Stage], directory: Path, target: Target) -> dict[str, object]:
    artifact = Artifact(directory, read_manifest(directory))
    backend, tolerance = target.open_backend(), target.precisions[artifact.manifest.precision]
    errors = {stage.name: _stage_error(stage, artifact, backend, target.format) for stage in stages}
    plans = [p for p in PLANS if p != "native" or artifact.manifest.native]
    pixels: dict[str, float] = {}
    flips: dict[str, float] = {}
    for size in _frame_sizes(artifact.manifest):
        frames, xy = _moving_pattern(size, min(max(POINTS), artifact.manifest.buckets.get(target.format, POINTS)[-1]))
        expected_xy, expected_visible = _torch_rollout(model, artifact.manifest.visibility, frames, xy)
        for plan in plans:
            found_xy, found_visible = _runtime_rollout(directory, backend, plan, frames, xy)
            # Written so that NaN stays.
            pixels[plan] = float(np.max([np.abs(found_xy - expected_xy).max(), pixels.get(plan, 0.0)]))
            flips[plan] = max(float((found_visible != expected_visible).mean()), flips.get(plan, 0.0))
    points = tuple(_points(artifact.manifest, target.format))
    report = Report(f"torch {torch.__version__}, float32, CPU", backend.describe(), errors, pixels, flips, points)
    worst = float(np.max(list(pixels.values())))  # NaN, which max() may overlook, is the worst
    if not worst <= tolerance or not max(flips.values()) <= FLIPS:
        raise VerificationError(
            f"positions differ by up to {worst:.3g} px (allowed: {tolerance}) and {max(flips.values()):.2%} of "
            f"the visibility flags differ (allowed: {FLIPS:.0%}): {asdict(report)}"
        )
    return asdict(report)


def _frame_sizes(manifest: Manifest) -> list[tuple[int, int]]:
    """Sizes of frames that need no resizing."""
    sizes = [manifest.fixed_size]
    if manifest.size_multiple:
        sizes.append(working_size(WIDE, manifest.resolution, manifest.size_multiple))
    return sizes


def _points(manifest: Manifest, format: str) -> list[int]:
    """Numbers of points to run stages with: two, as far as there are two."""
    return list(manifest.buckets.get(format, POINTS)[:2])


def _stage_error(stage: Stage, artifact: Artifact, backend: Backend, format: str) -> float:
    fixed, file = format in artifact.manifest.buckets, artifact.file(stage.name, format)
    worst = 0.0
    for points in _points(artifact.manifest, format):
        session = backend.open(file, stage.spec, points if fixed else None)
        inputs = stage.example(points, _frame_sizes(artifact.manifest)[-1])
        with torch.inference_mode():
            expected = stage.module(*inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        names = [t.name for t in stage.spec.inputs]
        found = session.run({name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        for spec, tensor in zip(stage.spec.outputs, expected, strict=True):
            scale = max(1.0, float(tensor.abs().max()))
            worst = float(np.maximum(worst, np.abs(found[spec.name] - tensor.numpy()).max() / scale))
    return worst


def _moving_pattern(size: tuple[int, int], points: int) -> tuple[np.ndarray, np.ndarray]:
    """A drifting texture uint8 [T, H, W, 3] and points [N, 2] on its first frame."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (3, size[0] // 8 + 8, size[1] // 8 + 8))
    texture = np.kron(coarse, np.ones((8, 8)))
    frames = [
        texture[:, t : t + size[0], 2 * t : 2 * t + size[1]].transpose(1, 2, 0).astype(np.uint8) for t in range(FRAMES)
    ]
    xy = rng.uniform(0.1, 0.9, (points, 2)) * (size[1], size[0])
    return np.stack(frames), xy.astype(np.float32)


def _torch_rollout(
    model: nn.Module, visibility: Visibility, frames: np.ndarray, xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    video = torch.from_numpy(frames)[None].float() / 127.5 - 1
    tyx = torch.from_numpy(np.concatenate([np.zeros((len(xy), 1), np.float32), xy[:, ::-1]], 1))[None]
    tracks, visible = [], []
    with torch.inference_mode():
        state = model.init(video[:, :1], tyx)
        for t in range(len(frames)):
            out, state = model.step(video[:, t : t + 1], state)
            logits = {name: out[name][0, :, 0].numpy() for name in visibility.logits}
            tracks.append(out["tracks"][0, :, 0].numpy())
            visible.append(confidence_of(logits, visibility) > visibility.threshold)
    # The first frame is left out: what a track says there is the manifest's choice.
    return np.stack(tracks, 1)[:, 1:], np.stack(visible, 1)[:, 1:]


def _runtime_rollout(
    directory: Path, backend: Backend, plan: str, frames: np.ndarray, xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    engine = Engine(directory, backend, plan=plan, points=len(xy))
    size = (int(frames.shape[1]), int(frames.shape[2]))
    nothing = np.zeros((0, 2), np.float32)
    steps = [engine.advance(engine.prepare(frame), size, nothing if t else xy) for t, frame in enumerate(frames)]
    return (
        np.concatenate([s.xy for s in steps[1:]], 1),
        np.concatenate([s.visible for s in steps[1:]], 1),
    )
