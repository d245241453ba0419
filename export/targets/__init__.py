"""Formats to export to, one file each, behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from export.stages import Stage


class Target(Protocol):
    """Compiles stages into files of one format. It knows nothing of model families."""

    format: str
    backend: str
    """The backend of tapsdk that runs the format, for verification."""
    tolerance: float
    """Largest allowed difference from torch, in pixels, over a rollout."""

    def lower(self, stages: Sequence[Stage], directory: Path) -> dict[str, str]:
        """Writes every stage into the directory and returns {stage name: file name}."""

    def tools(self) -> dict[str, str]:
        """Names and versions of the converters."""


TARGETS = {"onnx": ("export.targets.onnx", "export-onnx")}
"""Target: (module that defines `TARGET`, the extra that installs what it needs)."""
