"""Which backend and which plan run an artifact: the fastest one that gives the right tracks here, by measurement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import BACKENDS, Backend, open_backend
from tapsdk.errors import BackendError
from tapsdk.runtime.model import Model, open_model
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.plans import PLANS, plans_of, suits
from tapsdk.runtime.sizes import refinement_sizes
from tapsdk.selection.candidates import readable_format
from tapsdk.selection.decision import Decision, decide, decide_plan

logger = logging.getLogger(__name__)


def choose(artifact: Artifact, options: RunOptions = RunOptions()) -> Model:
    """Opens an artifact on a backend with a plan.

    With "auto", the fastest of all that are installed whose tracks are right, which is measured once and then known.
    With a named backend and plan nothing is measured, unless `strict` asks for it.

    Raises BackendError if the named backend cannot run here, or none can; ArtifactError for a damaged artifact;
    ModelError for a resolution that the model does not work at.
    """
    # Before anything is measured for it.
    refinement_sizes(artifact.manifest.frames.size, options.resolution, artifact.manifest)
    backend = options.backend
    if isinstance(backend, str):
        name, _, named = backend.partition(":")
        options = replace(options, plan=options.plan or named)
        if options.plan and options.plan not in PLANS:
            raise BackendError(f"unknown plan {options.plan!r} in backend {backend!r}; use one of {', '.join(PLANS)}")
        if name == "auto":
            return _choose_any(artifact, options)
        backend = open_backend(name, options.engine)
    return _choose_plan(artifact, backend, options)


def _choose_any(artifact: Artifact, options: RunOptions) -> Model:
    decision = decide(artifact, options)
    if options.strict:
        _check_that_none_failed(decision, artifact.manifest)
    while winner := decision.winner:
        try:
            engine = open_backend(winner.backend, options.engine)
            return _with_measurements(open_model(artifact, engine, winner.plan, options), decision)
        except BackendError as error:
            if options.strict:
                raise
            logger.warning("%s ran when it was measured, but does not now: %s", winner.name, error)
            decision = decision.without(winner, str(error))
    raise BackendError(_nothing_runs(artifact.manifest, decision, options.device))


def _choose_plan(artifact: Artifact, engine: Backend, options: RunOptions) -> Model:
    plan = options.plan or _only_plan(artifact, engine)
    if plan and not options.strict:
        return open_model(artifact, engine, plan, options)
    decision = decide_plan(artifact, engine, options)
    if options.strict:
        _check_that_none_failed(decision, artifact.manifest)
    winner = decision.winner
    if winner is None:
        raise BackendError(
            f"backend {engine.name!r} cannot run {artifact.manifest.model} here. {_listed(decision.failed)}. "
            f"To run it all the same, name a plan: {engine.name}:{next(iter(PLANS))}"
        )
    return _with_measurements(open_model(artifact, engine, winner.plan, options), decision)


def _with_measurements(model: Model, decision: Decision) -> Model:
    return replace(model, milliseconds=decision.milliseconds, refused=decision.refused)


def _only_plan(artifact: Artifact, engine: Backend) -> str:
    """The plan that there is no choice but to run; "" where there are several."""
    format = readable_format(engine.formats, artifact.manifest)
    plans = [each for each in plans_of(artifact.manifest, format) if suits(each, engine.place)] if format else []
    return plans[0] if len(plans) == 1 else ""


def _check_that_none_failed(decision: Decision, manifest: Manifest) -> None:
    """Raises BackendError if anything that was measured failed."""
    if decision.failed:
        raise BackendError(
            f"strict: not everything here runs {manifest.model} as it should. {_listed(decision.failed)}. "
            "Repair or uninstall it, or do without strict"
        )


def _nothing_runs(manifest: Manifest, decision: Decision, device: str | None) -> str:
    """Why; of a device that some backends know, what these have to say."""
    where = f"on device {device!r} here:" if device else "here."
    named = {name: name.partition(":")[0] for name in decision.refused}
    known = {name for name, row in BACKENDS.items() if device and row.may_have(device)}
    reasons = {name: decision.refused[name] for name, backend in named.items() if not known or backend in known}
    return f"no backend can run {manifest.model} {where} {_listed(reasons)}"


def _listed(reasons: Mapping[str, str]) -> str:
    """Those that say the same say it once."""
    alike: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        alike.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in alike.items())
