"""A loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import Backend
from tapsdk.geometry import Size
from tapsdk.runtime.causal import CausalPlan
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.plans import PLANS, Plan
from tapsdk.runtime.sizes import refinement_sizes
from tapsdk.runtime.stream import Stream
from tapsdk.tracks import RunReport


@dataclass(frozen=True, eq=False)
class Model:
    """A model that is ready to track: an artifact, opened on a backend, with a plan.

        model = tapsdk.load("tapir", device="cpu")
        tracks = tapsdk.track("a.mp4", points, model=model)
        tracker = tapsdk.Tracker(model=model)

    Its weights are in memory once, whoever tracks with it: any number of calls of `track`, of Trackers, and of threads
    may use it at the same time. `report` says what runs; it is frozen, as it was loaded.
    """

    artifact: Artifact
    backend: Backend
    plan: Plan
    options: RunOptions = RunOptions()
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """Per frame, of every backend:plan that was measured to choose this one."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Backends and backend:plans that were passed over, with the reason."""

    @property
    def name(self) -> str:
        """family/variant"""
        return self.manifest.model

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest

    @property
    def is_causal(self) -> bool:
        """Whether it can track frame by frame, as a Tracker does; others need the whole video."""
        return isinstance(self.plan, CausalPlan)

    @property
    def report(self) -> RunReport:
        """What runs, and where."""
        return RunReport(
            model=self.name,
            backend=self.backend.describe(),
            path=self.plan.name,
            precision=self.manifest.precision,
            pace=self.options.pace,
            milliseconds=self.milliseconds,
            refused=self.refused,
        )

    def at(self, resolution: int | Size | None) -> Model:
        """The same loaded model, to work at another resolution. Raises ModelError for one that it does not work at."""
        refinement_sizes(self.manifest.frames.size, resolution, self.manifest)
        return replace(self, options=replace(self.options, resolution=resolution))

    def stream(self, slots: int = 0) -> Stream:
        """A video to come, frame by frame, without points so far. Raises ModelError if it needs the whole video.

        slots: rows for points to come, where the model is to know of them from the first frame on (`join`).
        """
        return Stream(self, slots)

    def __repr__(self) -> str:
        return f"<tapsdk.Model {self.name} ({self.manifest.precision}) on {self.backend.describe()}, {self.plan.name}>"


def open_model(artifact: Artifact, backend: Backend, plan: str, options: RunOptions = RunOptions()) -> Model:
    """An artifact on a backend with the plan of that name, without a choice. Raises BackendError, ArtifactError."""
    return Model(artifact, backend, PLANS[plan](artifact, backend, options.points), options)
