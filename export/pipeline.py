"""A model becomes an artifact: cut into stages, compiled, described, verified; only then it appears."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

import tapsdk
from export.stages import Cut, KernelChoice, cut
from export.support import why_not
from export.targets import TARGETS, Request, Target, how_to_install
from export.targets.shared_weights import SharedWeights
from export.verification.calibration import calibration_samples
from export.verification.verify import verify, write_reference
from tapsdk.artifact.manifest import MANIFEST, Causal, File, Kernel, Manifest, Program, StageSpec
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.artifact.weights import FORMAT as SAFETENSORS
from tapsdk.artifact.weights import WEIGHTS
from tapsdk.selection import reference
from tapsdk.system.files import sha256, size_of
from tapsdk.system.folders import new_folder, put_back
from tapsdk.system.places import Place, is_within, local_copy
from training.checkpoints.errors import CheckpointError
from training.checkpoints.loading import find_weights
from training.models import load
from training.models.registry import family_of, resolve

LICENSE = "Apache-2.0"
"""Of the weights that come with the repository."""


class ExportError(RuntimeError):
    """An export that cannot be done as asked."""


@dataclass(frozen=True)
class Options:
    """How to export.

    weights: canonical weights or an official file, by path or URL; None takes the repository's own, else the fetched
        file.
    points: exactly this many points, where the target otherwise takes any number, or one of several.
    frame_size: (height, width) of the frames, where the target cannot leave it open.
    force: replace an artifact that is already there.
    """

    weights: Place | None = None
    precision: str = "fp32"
    points: int | None = None
    frame_size: tuple[int, int] | None = None
    force: bool = False


def export(model: str, target: str, output: Place, options: Options = Options()) -> Manifest:
    """Exports a model and verifies the result.

    Args:
        model: family/variant. target: one of `TARGETS`. output: the artifact's directory, which must not exist, or its
            URL in a store.
    Returns:
        the manifest that was written.
    Raises:
        ExportError, VerificationError, TapsdkError (no such model or weights); nothing is written then.
    """
    name, backend = resolve(model), _target(target)
    reason = why_not(name, target)
    if reason:
        raise ExportError(f"{name} cannot be exported to {target}: {reason}")
    _check(options, target, backend)
    put_back(output)
    if output.exists() and not (options.force and (output / MANIFEST).is_file()):
        hint = (
            "is not an artifact; choose another directory"
            if options.force
            else "exists; use --force to replace an artifact"
        )
        raise ExportError(f"{output} {hint}")
    source = options.weights or find_weights(name)
    _check_kept(source, output)
    with local_copy(source, CheckpointError) as weights:
        module = load(name, weights)
        with new_folder(output, last=MANIFEST) as work:
            return _Build(name, module, weights, backend, options).into(work)


def _check_kept(weights: Place, output: Place) -> None:
    """Raises ExportError if the weights lie in the artifact that is to be replaced."""
    if output.exists() and is_within(weights, output):
        raise ExportError(f"{output} holds the weights {weights}, and would be replaced; choose another directory")


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise ExportError(f"unknown target {name!r}; allowed: {', '.join(TARGETS)}")
    try:
        return importlib.import_module(TARGETS[name][0]).TARGET  # type: ignore[no-any-return]
    except ImportError as error:
        raise ExportError(how_to_install(name, error)) from error


def _check(options: Options, name: str, target: Target) -> None:
    if options.precision not in target.precisions:
        allowed = ", ".join(target.precisions)
        raise ExportError(f"unknown precision {options.precision!r} for {name}; allowed: {allowed}")
    if options.points is not None and options.points < 1:
        raise ExportError(f"points must be at least 1, got {options.points}")
    if options.frame_size and target.style.any_size:
        raise ExportError(f"{name} takes frames of any size that the model takes; leave the frame size out")


@dataclass(frozen=True)
class _Build:
    """What an artifact is made from."""

    name: str
    module: nn.Module
    source: Path
    target: Target
    options: Options

    def into(self, directory: Path) -> Manifest:
        """Fills a directory with the artifact, verified."""
        target, options = self.target, self.options
        style = replace(target.style, frame_size=options.frame_size)
        try:
            parts = cut(self.name.split("/")[0], self.module, style)
        except ValueError as error:
            raise ExportError(f"{self.name}: {error}") from error
        buckets = (options.points,) if options.points else target.buckets
        request = Request(options.precision, buckets)
        manifest = self._describe(parts, request)
        samples = cache(lambda: calibration_samples(parts.stages, manifest, target.format))
        # Kernels compute with the weights as they are.
        kernels = parts.kernels if request.precision == "fp32" else {}
        known = {name: tensor.numpy() for name, tensor in self.module.state_dict().items()}
        shared = SharedWeights(known, [name for each in kernels.values() for name in each.weights.values()])
        request = replace(request, about=self._about(manifest), samples=samples, shared=shared)
        files = target.lower(parts.stages, directory, request)
        path = directory / WEIGHTS
        weights = _file(path, SAFETENSORS) if path.exists() else None
        manifest = replace(
            manifest,
            stages=self._with_files(manifest.stages, directory, files),
            weights=weights,
            program=_with_kernels(manifest.program, kernels, shared),
        )
        most_points = max(buckets, default=reference.POINTS)
        manifest = replace(manifest, reference=write_reference(self.module, manifest, directory, most_points))
        path = directory / MANIFEST
        path.write_text(manifest.to_json(), encoding="utf-8")
        manifest = replace(manifest, verification=verify(self.module, parts.stages, directory, target))
        path.write_text(manifest.to_json(), encoding="utf-8")
        return manifest

    def _about(self, manifest: Manifest) -> dict[str, str]:
        about = {"model": manifest.model, "weights_sha256": manifest.weights_sha256}
        if self.name in OFFICIAL:
            return {**about, "license": OFFICIAL[self.name].licence}
        # Weights of one's own may have any.
        return about if self.options.weights else {**about, "license": LICENSE}

    def _with_files(
        self, stages: Mapping[str, StageSpec], directory: Path, files: Mapping[str, str]
    ) -> dict[str, StageSpec]:
        format = self.target.format

        def with_file(name: str, spec: StageSpec) -> StageSpec:
            return replace(spec, files={format: _file(directory / files[name], format)})

        return {name: with_file(name, spec) for name, spec in stages.items()}

    def _describe(self, parts: Cut, request: Request) -> Manifest:
        """The manifest of an artifact that has no files yet."""
        target = self.target
        return Manifest(
            model=self.name,
            weights_sha256=sha256(self.source),
            precision=request.precision,
            frames=parts.frames,
            points=replace(
                parts.points,
                # Published models give their published numbers; ours gives a query back as it was asked.
                query_frame=parts.points.query_frame if self.name in OFFICIAL else "exact",
                buckets={target.format: request.buckets} if request.buckets else {},
            ),
            visibility=family_of(self.name).visibility_of(self.name),
            program=parts.program,
            stages={stage.name: stage.spec for stage in parts.stages},
            flow=parts.flow,
            tools={"tapsdk": tapsdk.__version__, "torch": torch.__version__, **target.tools()},
        )


def _file(path: Path, format: str) -> File:
    return File(path.name, format, sha256(path), size_of(path))


def _with_kernels(program: Program, kernels: Mapping[str, KernelChoice], shared: SharedWeights) -> Program:
    """The program with kernels for stages, and where their weights were stored."""

    def described(kernel: KernelChoice) -> Kernel:
        places = {argument: shared.found(name) for argument, name in kernel.weights.items()}
        transposed = tuple(argument for argument, (_, turned) in places.items() if turned)
        return Kernel(kernel.op, {a: name for a, (name, _) in places.items()}, transposed, kernel.numbers)

    if not isinstance(program, Causal) or program.native is None:
        return program
    native = replace(program.native, kernels={stage: described(kernel) for stage, kernel in kernels.items()})
    return replace(program, native=native)
