"""Which backend and which plan run an artifact: the fastest one that gives the right tracks here, by measurement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import Backend, Options, open_backend
from tapsdk.errors import BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.stages import PLANS, AnyPlan
from tapsdk.selection.candidates import plans_of, readable_format
from tapsdk.selection.decision import Decision, Request, decide, decide_plan
from tapsdk.tracks import RunReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What runs, and what else was looked at."""

    backend: Backend
    plan: AnyPlan
    milliseconds: dict[str, float] = field(default_factory=dict)
    """Per frame, of every backend:plan that was measured."""
    refused: dict[str, str] = field(default_factory=dict)
    """Backends and backend:plans that were passed over, with the reason."""

    def report(self, manifest: Manifest) -> RunReport:
        """What runs, and where."""
        return RunReport(
            model=manifest.model,
            backend=self.backend.describe(),
            path=self.plan.name,
            precision=manifest.precision,
            milliseconds=self.milliseconds,
            refused=self.refused,
        )


def choose(
    artifact: Artifact,
    backend: str | Backend = "auto",
    *,
    plan: str = "",
    points: int = 64,
    threads: int | None = None,
    size: Size | None = None,
    strict: bool = False,
) -> Choice:
    """Opens an artifact on a backend.

    backend: a backend's name, optionally with a plan, "onnxruntime:native"; or one that was opened already. "auto": of
        all that are installed, the fastest of those whose tracks are right, which is measured once and then known.
    plan: a plan's name. With a named backend nothing is measured then.
    points: how many points will be tracked. size: (height, width) of the frames as the model gets them, about.
    strict: what was named is measured too, and nothing that is measured may fail.

    Raises BackendError if the named backend cannot run here, or none can; ArtifactError for a damaged artifact.
    """
    options = Options(threads)
    if isinstance(backend, str):
        name, _, named = backend.partition(":")
        plan = plan or named
        if plan and plan not in PLANS:
            raise BackendError(f"unknown plan {plan!r} in backend {backend!r}; use one of {', '.join(PLANS)}")
        if name == "auto":
            return _choose_any(artifact, Request(points, size, plan, options), strict)
        backend = open_backend(name, options)
    return _choose_plan(artifact, backend, Request(points, size, plan, options), strict)


def _choose_any(artifact: Artifact, request: Request, strict: bool) -> Choice:
    decision = decide(artifact, request)
    if strict:
        _insist(decision, artifact.manifest)
    while winner := decision.winner:
        try:
            engine = open_backend(winner.backend, request.options)
            plan = PLANS[winner.plan](artifact, engine)
            return Choice(engine, plan, decision.milliseconds, decision.refused)
        except BackendError as error:
            if strict:
                raise
            logger.warning("%s ran when it was measured, but does not now: %s", winner.name, error)
            decision = decision.without(winner, str(error))
    raise BackendError(f"no backend can run {artifact.manifest.model} here. {_listed(decision.refused)}")


def _choose_plan(artifact: Artifact, engine: Backend, request: Request, strict: bool) -> Choice:
    plan = request.plan or _only_plan(artifact, engine)
    if plan and not strict:
        return Choice(engine, PLANS[plan](artifact, engine))
    decision = decide_plan(artifact, engine, request)
    if strict:
        _insist(decision, artifact.manifest)
    winner = decision.winner
    if winner is None:
        raise BackendError(
            f"backend {engine.name!r} cannot run {artifact.manifest.model} here. {_listed(decision.failed)}. "
            f"To run it all the same, name a plan: {engine.name}:{next(iter(PLANS))}"
        )
    return Choice(engine, PLANS[winner.plan](artifact, engine), decision.milliseconds, decision.refused)


def _only_plan(artifact: Artifact, engine: Backend) -> str:
    """The plan that there is no choice but to run; "" where there are several."""
    format = readable_format(engine.formats, artifact.manifest)
    plans = plans_of(artifact.manifest, format) if format else ()
    return plans[0] if len(plans) == 1 else ""


def _insist(decision: Decision, manifest: Manifest) -> None:
    """Raises BackendError if anything that was measured failed."""
    if decision.failed:
        raise BackendError(
            f"strict: not everything here runs {manifest.model} as it should. {_listed(decision.failed)}. "
            "Repair or uninstall it, or do without strict"
        )


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
