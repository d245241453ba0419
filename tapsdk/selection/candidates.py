"""Which backends may be tried on an artifact here, with which plans, and why the others may not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import BACKENDS, EngineInfo
from tapsdk.runtime.plans import plans_of

BASE = "onnxruntime"
"""The backend that comes with tapsdk and is tested with it: tried first, and in the user's own process."""


PLATFORMS = {"darwin": "macOS", "linux": "Linux", "win32": "Windows"}
"""What people call those that `sys.platform` names."""


@dataclass(frozen=True)
class Candidate:
    """A backend that is installed and reads a format of the artifact. most_points: None for any number."""

    backend: str
    plans: tuple[str, ...]
    most_points: int | None = None


def find_candidates(
    artifact: Artifact, plan: str, points: int, device: str | None = None
) -> tuple[list[Candidate], dict[str, str]]:
    """Candidates, the base first, and the reasons why other backends are none.

    plan: the one that they must have; "" for any. points: how many will be tracked. A backend whose format takes fewer
    is left out, unless all do; what is tracked may turn out to be less. device: that it must know; None: any.
    """
    found: list[Candidate] = []
    reasons: dict[str, str] = {}
    for name in sorted(BACKENDS, key=lambda name: name != BASE):
        candidate = _candidate(name, artifact, plan, device)
        if isinstance(candidate, str):
            reasons[name] = candidate
        else:
            found.append(candidate)
    wide = [each for each in found if each.most_points is None or each.most_points >= points]
    for narrow in [each for each in found if each not in wide] if wide else []:
        reasons[narrow.backend] = f"its file takes {narrow.most_points} points at most"
    return wide or found, reasons


def _candidate(name: str, artifact: Artifact, plan: str, device: str | None) -> Candidate | str:
    manifest = artifact.manifest
    reason = why_absent(BACKENDS[name])
    if reason:
        return reason
    if not BACKENDS[name].may_have(device):
        return f"it has no device {device!r}; it knows {', '.join(BACKENDS[name].devices)}"
    format = readable_format(BACKENDS[name].formats, manifest)
    if format is None:
        return export_hint(BACKENDS[name].formats, manifest)
    plans = plans_of(manifest, format)
    if plan and plan not in plans:
        return f"it has no {plan} plan for this artifact"
    most = manifest.points.buckets[format][-1] if format in manifest.points.buckets else None
    return Candidate(name, (plan,) if plan else plans, most)


def readable_format(formats: Iterable[str], manifest: Manifest) -> str | None:
    """The first of a backend's formats that the artifact has."""
    return next((format for format in formats if format in manifest.formats), None)


def export_hint(formats: Sequence[str], manifest: Manifest) -> str:
    """What to do for a backend that reads other formats than the artifact has."""
    return (
        f"it reads {', '.join(formats)}, and this artifact holds {', '.join(manifest.formats)}; "
        f"export the model for it: tapsdk export {manifest.model} --target {formats[0]}"
    )


def why_absent(row: EngineInfo) -> str:
    """Why an engine cannot be here; nothing if it is installed, which does not say that it works."""
    if row.platforms and sys.platform not in row.platforms:
        names = ", ".join(PLATFORMS.get(platform, platform) for platform in row.platforms)
        return f"it exists on {names} only, and this is {PLATFORMS.get(sys.platform, sys.platform)}"
    if not is_installed(row.engine):
        return f"it is not installed (No module named {row.engine!r}); install it with: {row.install}"
    return ""


def is_installed(engine: str) -> bool:
    """Whether the package can be found. It is not imported."""
    if engine in sys.modules:
        return True
    try:
        return importlib.util.find_spec(engine) is not None
    except (ImportError, ValueError):  # of a package that it would be part of
        return False


def version_of(engine: str) -> str:
    """The version of an installed package, or what else tells it from another. It is not imported."""
    try:
        return importlib.metadata.version(engine)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        pass
    try:
        spec = importlib.util.find_spec(engine)
        status = os.stat(spec.origin) if spec and spec.origin else None
    except (ImportError, ValueError, OSError):
        return ""
    return f"{status.st_size} bytes of {status.st_mtime_ns}" if status else ""
