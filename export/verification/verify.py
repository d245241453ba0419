"""Is the artifact the model? Every stage against torch, then whole rollouts through the runtime, in pixels."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.stages import Stage
from export.targets import Target
from export.verification.clips import score_on_clips
from export.verification.rollouts import runtime_rollout, torch_rollout
from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Causal, File, Manifest, Refined
from tapsdk.artifact.manifest_file import read_manifest
from tapsdk.backends import Backend
from tapsdk.errors import BackendError
from tapsdk.runtime.kernel_stages import open_kernels
from tapsdk.runtime.plans import plans_of, suits
from tapsdk.runtime.sizes import working_size
from tapsdk.selection import reference
from tapsdk.selection.accuracy import MOST, tolerance_of
from tapsdk.selection.reference import Reference, moving_pattern
from tapsdk.system.files import sha256, size_of
from tapsdk.system.progress import with_progress

POINTS = (5, 40)
"""Two shapes: a graph that froze the traced one shows at the other."""
LENGTHS = (1, 12)
"""Frames that the stages of a clip see with them."""
WIDE = (9, 16)
"""(height, width) in proportion, of the frames of a second rollout where any size will do."""
FRAMES = 24
FLIPS = 0.01
"""Largest allowed share of visibility flags that differ."""
STRAYS = {"fp16": 1 - MOST, "bf16": 1 - MOST}
"""By precision: the largest share of positions that may be off by more than is allowed, none where it is not named.
Where positions follow the picture it is 1 - MOST in any: what can only just be followed, rounding decides."""


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
    strays: dict[str, float]
    """Largest share of positions over a rollout that are off by more than is allowed, by plan."""
    visibility_flips: dict[str, float]
    """Largest share of visibility flags that differ over a rollout, by plan."""
    points: tuple[int, ...]
    """Numbers of points that the stages were run with."""
    frames: int = FRAMES


def write_reference(model: nn.Module, manifest: Manifest, directory: Path, most_points: int) -> File:
    """Writes what torch says of a short video into the artifact, for comparisons where torch is not."""
    frames, xy = moving_pattern(manifest.frames.size, reference.FRAMES, min(reference.POINTS, most_points))
    tracks, visible = torch_rollout(model, manifest.visibility, frames, xy)
    whole = Reference(
        np.concatenate([xy[:, None], tracks], 1),
        np.concatenate([np.ones((len(xy), 1), bool), visible], 1),
        manifest.frames.size,
    )
    path = directory / reference.NAME
    with open(path, "wb") as file:
        reference.write_reference(whole, file)
    return File(path.name, reference.FORMAT, sha256(path), size_of(path))


def verify(model: nn.Module, stages: Sequence[Stage], directory: Path, target: Target) -> dict[str, object]:
    """Compares the artifact in `directory` with torch. Raises VerificationError with the numbers."""
    approximate = tolerance_of(read_manifest(directory).precision).of == "median"
    try:
        return (_compare_on_clips if approximate else _compare)(model, stages, directory, target)
    except BackendError as error:
        raise VerificationError(f"the artifact does not run: {error}") from error


def _compare(model: nn.Module, stages: Sequence[Stage], directory: Path, target: Target) -> dict[str, object]:
    manifest = read_manifest(directory)
    artifact = Artifact(directory, manifest)
    backend, tolerance = target.open_backend(), target.precisions[manifest.precision]
    errors = _stage_errors(stages, artifact, backend, target.format)
    pixels: dict[str, float] = {}
    strays: dict[str, float] = {}
    flips: dict[str, float] = {}
    close = True
    videos = list(itertools.product(_frame_sizes(manifest), _versions(model, artifact)))
    for size, (torch_model, version) in with_progress(
        videos, total=len(videos), label="comparing tracks", unit="video"
    ):
        most = manifest.points.buckets.get(target.format, POINTS)[-1]
        frames, xy = moving_pattern(size, FRAMES, min(max(POINTS), most))
        t = np.arange(len(xy)) % FRAMES if not isinstance(manifest.program, Causal) else None
        expected_xy, expected_visible = torch_rollout(torch_model, manifest.visibility, frames, xy, t)
        for plan in _plans(manifest, target.format, backend):
            found_xy, found_visible = runtime_rollout(version, backend, plan, frames, xy, t)
            distance = np.abs(found_xy - expected_xy).max(-1)
            # Written so that NaN stays, and counts as too far.
            pixels[plan] = float(np.max([distance.max(), pixels.get(plan, 0.0)]))
            far = float((~(distance <= tolerance)).mean())
            allowed = 1 - MOST if version.manifest.flow else STRAYS.get(manifest.precision, 0.0)
            close = close and far <= allowed
            strays[plan] = max(far, strays.get(plan, 0.0))
            flips[plan] = max(float((found_visible != expected_visible).mean()), flips.get(plan, 0.0))
    points = tuple(_points(manifest, target.format))
    report = Report(
        f"torch {torch.__version__}, float32, CPU", backend.describe(), errors, pixels, strays, flips, points
    )
    worst = float(np.max(list(pixels.values())))  # NaN, which max() may overlook, is the worst
    if not (close and np.isfinite(worst)) or not max(flips.values()) <= FLIPS:
        raise VerificationError(
            f"positions differ by up to {worst:.3g} px (allowed: {tolerance}) and {max(flips.values()):.2%} of "
            f"the visibility flags differ (allowed: {FLIPS:.0%}): {asdict(report)}"
        )
    return asdict(report)


def _compare_on_clips(model: nn.Module, stages: Sequence[Stage], directory: Path, target: Target) -> dict[str, object]:
    artifact = Artifact(directory, read_manifest(directory))
    manifest, backend = artifact.manifest, target.open_backend()
    tolerance, most = target.precisions[manifest.precision], manifest.points.buckets.get(target.format, POINTS)[-1]
    plans = _plans(manifest, target.format, backend)
    scores = [score_on_clips(*version, backend, plans, most) for version in _versions(model, artifact)]
    report = {
        "reference": f"torch {torch.__version__}, float32, CPU",
        "backend": backend.describe(),
        "stage_error": _stage_errors(stages, artifact, backend, target.format),
        **asdict(scores[0]),
        "estimates_alone": [asdict(each) for each in scores[1:]],
    }
    worst = float(np.max([error for each in scores for error in each.median_pixel_error.values()]))
    if not worst <= tolerance:
        raise VerificationError(f"positions differ by {worst:.3g} px in the median (allowed: {tolerance}): {report}")
    return report


def _plans(manifest: Manifest, format: str, backend: Backend) -> list[str]:
    return [plan for plan in plans_of(manifest, format) if suits(plan, backend.place)]


def _versions(model: nn.Module, artifact: Artifact) -> list[tuple[nn.Module, Artifact]]:
    """As they are used; and, where positions follow the picture, by the model's estimates alone.

    A model in doubt hardly moves a point that follows the picture: its mistakes would not show.
    """
    versions = [(model, artifact)]
    if artifact.manifest.flow:
        alone = copy.copy(model)
        alone.config = replace(model.config, flow=None)
        versions.append((alone, replace(artifact, manifest=replace(artifact.manifest, flow=None))))
    return versions


def _frame_sizes(manifest: Manifest) -> list[tuple[int, int]]:
    """Sizes of frames that need no resizing, or that are refined at a second one."""
    height, width = manifest.frames.size
    sizes = [(height, width)]
    if manifest.frames.multiple:
        sizes.append(working_size(WIDE, manifest.frames.size, manifest.frames.multiple))
    program = manifest.program
    if isinstance(program, Refined) and (multiple := program.multiple):
        sizes.append((height, width * 5 // 4 // multiple * multiple))
    return sizes


def _points(manifest: Manifest, format: str) -> list[int]:
    """Numbers of points to run stages with: two, as far as there are two."""
    return list(manifest.points.buckets.get(format, POINTS)[:2])


def _stage_errors(stages: Sequence[Stage], artifact: Artifact, backend: Backend, format: str) -> dict[str, float]:
    watched = with_progress(stages, total=len(stages), label="comparing stages", unit="stage")
    return {stage.name: _stage_error(stage, artifact, backend, format) for stage in watched}


def _stage_error(stage: Stage, artifact: Artifact, backend: Backend, format: str) -> float:
    """Of the stage's file, and of the kernel that computes it where there is one."""
    fixed, file = format in artifact.manifest.points.buckets, artifact.file(stage.name, format)
    program, worst = artifact.manifest.program, 0.0
    kernels = open_kernels(artifact, program.native) if isinstance(program, Causal) and program.native else {}
    for points, length in zip(_points(artifact.manifest, format), LENGTHS, strict=False):
        session = backend.open(file, stage.spec, points if fixed else None)
        inputs = stage.example(points, _frame_sizes(artifact.manifest)[-1], frames=length)
        with torch.inference_mode():
            expected = stage.module(*inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        names = [t.name for t in stage.spec.inputs]
        arrays = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        for run in (session.run, *([kernels[stage.name].run] if stage.name in kernels else ())):
            found = run(arrays)
            for spec, tensor in zip(stage.spec.outputs, expected, strict=True):
                scale = max(1.0, float(tensor.abs().max()))
                worst = float(np.maximum(worst, np.abs(found[spec.name] - tensor.numpy()).max() / scale))
    return worst
