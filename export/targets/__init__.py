"""Formats to export to, one file each, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tapsdk.system.progress import with_progress

if TYPE_CHECKING:
    from torch import Tensor

    from export.stages import Stage, Style
    from export.targets.shared_weights import SharedWeights
    from tapsdk.backends import Backend

    Samples = Mapping[str, Sequence[tuple[Tensor, ...]]]
    """By stage: inputs of real calls, in the order of its spec."""


def _no_weights() -> SharedWeights:
    from export.targets.shared_weights import SharedWeights  # imports numpy, which --help does without

    return SharedWeights()


@dataclass(frozen=True)
class Request:
    """What was asked for beside the model and the target."""

    precision: str = "fp32"
    buckets: tuple[int, ...] = ()
    """Numbers of points that get an entry point each (`tapsdk.artifact.manifest.entry_point`); none: any number."""
    samples: Callable[[], Samples] = dict
    """Gives real inputs, for precisions that are calibrated; tracking for them takes a while."""
    shared: SharedWeights = field(default_factory=_no_weights)
    """Where files that can refer to another one have their weights."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What a file can say of itself where its format has room for that: model, weights, licence."""


class Target(Protocol):
    """Compiles stages into files of one format. It knows nothing of model families."""

    format: str
    style: Style
    """How stages must be written for this format."""
    buckets: tuple[int, ...]
    """Numbers of points that are exported unless asked otherwise; none: any number."""
    precisions: Mapping[str, float]
    """What can be asked for, with the largest allowed difference from torch in pixels over a rollout; the median over
    generated clips, of what is only approximate (`tapsdk.selection.accuracy`)."""

    def lower(self, stages: Sequence[Stage], directory: Path, request: Request) -> dict[str, str]:
        """Writes every stage into the directory and returns {stage name: name of its file or folder}."""

    def open_backend(self) -> Backend:
        """What runs the files for verification: a backend of tapsdk, or a stand-in where that cannot run here."""

    def tools(self) -> dict[str, str]:
        """Names and versions of the converters."""


def compiling(stages: Sequence[Stage]) -> Iterator[Stage]:
    """The stages, with a bar on a terminal while they are compiled one by one."""
    return with_progress(stages, total=len(stages), label="compiling", unit="stage")


TARGETS = {
    "coreml": ("export.targets.coreml.target", "export-coreml"),
    "onnx": ("export.targets.onnx.target", "export-onnx"),
    "openvino": ("export.targets.openvino", "export-openvino"),
    "tflite": ("export.targets.tflite", "export-tflite"),
    "torch": ("export.targets.torch", "export-torch"),
}
"""Target: (module that defines `TARGET`, the extra that installs what it needs)."""


def how_to_install(target: str, error: ImportError) -> str:
    """What to tell whoever lacks packages that a target of TARGETS needs."""
    return (
        f"export to {target} needs packages that are missing here ({error}); "
        f"run: pip install 'tapsdk[{TARGETS[target][1]}]'"
    )
