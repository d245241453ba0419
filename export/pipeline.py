"""A model becomes an artifact: cut into stages, compiled, described, verified; only then it appears."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import tapsdk
from export.stages import Cut, Stage, cut
from export.support import why_not
from export.targets import TARGETS, Target
from export.verify import verify
from tapsdk.artifact import sha256
from tapsdk.manifest import MANIFEST, File, Manifest
from tapsdk.registry import OFFICIAL
from training.models import load
from training.models.families import config_of, resolve
from training.models.loading import find_weights


class ExportError(RuntimeError):
    """An export that cannot be done as asked."""


def export(
    model: str, target: str, output: Path, *, weights: Path | None = None, precision: str = "fp32", force: bool = False
) -> Manifest:
    """Exports a model and verifies the result.

    Args:
        model: family/variant. target: one of `TARGETS`. output: the artifact's directory, which must not exist.
        weights: canonical weights or an official file; None takes the repository's own, else the fetched file.
        force: replace an artifact that is already in `output`.
    Returns:
        the manifest that was written.
    Raises:
        ExportError, VerificationError, TapsdkError (no such model or weights); nothing is written then.
    """
    name, backend = resolve(model), _target(target)
    reason = why_not(name, target)
    if reason:
        raise ExportError(f"{name} cannot be exported to {target}: {reason}")
    if precision != "fp32":
        raise ExportError(f"unknown precision {precision!r} for {target}; allowed: fp32")
    if output.exists() and not (force and (output / MANIFEST).is_file()):
        hint = "is not an artifact; choose another directory" if force else "exists; use --force to replace an artifact"
        raise ExportError(f"{output} {hint}")
    source = weights or find_weights(name)
    module = load(name, source)
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        manifest = _build(name, module, source, backend, work)
        _publish(work, output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise ExportError(f"unknown target {name!r}; allowed: {', '.join(TARGETS)}")
    module, extra = TARGETS[name]
    try:
        return importlib.import_module(module).TARGET  # type: ignore[no-any-return]
    except ImportError as error:
        raise ExportError(
            f"target {name!r} needs packages that are not installed ({error}); run: pip install 'tapsdk[{extra}]'"
        ) from error


def _build(name: str, module: nn.Module, source: Path, target: Target, directory: Path) -> Manifest:
    parts = cut(name.split("/")[0], module)
    files = target.lower(parts.stages, directory)
    manifest = _describe(name, parts, source, target, directory, files)
    path = directory / MANIFEST
    path.write_text(manifest.to_json(), encoding="utf-8")
    manifest = replace(manifest, verification=verify(module, parts.stages, directory, target))
    path.write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _describe(name: str, parts: Cut, source: Path, target: Target, directory: Path, files: dict[str, str]) -> Manifest:
    def with_file(stage: Stage) -> tuple[str, object]:
        path = directory / files[stage.name]
        file = File(path.name, target.format, sha256(path), path.stat().st_size)
        return stage.name, replace(stage.spec, files={target.format: file})

    return Manifest(
        model=name,
        weights_sha256=sha256(source),
        precision="fp32",
        mode="causal",
        resolution=config_of(name).resolution,
        pixel_range=(-1.0, 1.0),
        visibility=parts.visibility,
        # Published models give their published numbers; ours gives a query back as it was asked.
        query_frame="model" if name in OFFICIAL else "exact",
        stages=dict(with_file(stage) for stage in parts.stages),  # type: ignore[arg-type]
        points_join=parts.points_join,
        size_multiple=parts.size_multiple,
        native=parts.native,
        tools={"tapsdk": tapsdk.__version__, "torch": torch.__version__, **target.tools()},
    )


def _publish(work: Path, output: Path) -> None:
    """Puts the finished directory in place; an old artifact moves aside first, and back if anything goes wrong."""
    work.chmod(0o755)
    if not output.exists():
        os.rename(work, output)
        return
    aside = work.with_name(f"{work.name}.old")
    try:
        os.rename(output, aside)
        os.rename(work, output)
    finally:
        if not output.exists():
            os.rename(aside, output)
        shutil.rmtree(aside, ignore_errors=True)
