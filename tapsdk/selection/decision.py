"""What is known of the backends for an artifact on this machine: which give the right tracks, and how fast."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import tapsdk
from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import BACKENDS, Backend, Options, open_backend
from tapsdk.errors import BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.sizes import working_size
from tapsdk.selection import probe_cache
from tapsdk.selection.candidates import (
    BASE,
    Candidate,
    export_hint,
    find_candidates,
    plans_of,
    readable_format,
    version_of,
)
from tapsdk.selection.probe import TIME_LIMIT, Trial, Workload, try_plans, try_plans_apart, workload_for
from tapsdk.selection.probe_cache import Measurement
from tapsdk.selection.reference import Reference, read_reference
from tapsdk.system import cache
from tapsdk.system.machine import fingerprint

logger = logging.getLogger(__name__)

PROBE_POINTS = 256
"""Most points that are measured with: beyond, all plans take time in proportion."""
SHORT_LIMIT = 60.0
PATIENCE = 20.0
"""Another backend may take these seconds, and so many times the seconds of the base; then it counts as hanging."""
MARGIN = 0.05
"""Another backend is taken in place of the base only if it saves this share of the time: less is noise."""


@dataclass(frozen=True)
class Request:
    """What will be run. points: how many will be tracked. size: (height, width) of the frames that the model gets,
    about; None: what the artifact says. plan: the only one that will do, "" for any."""

    points: int = 64
    size: Size | None = None
    plan: str = ""
    options: Options = field(default_factory=Options)

    def bucket(self, most: int) -> int:
        """About as many points, so that not every number is measured."""
        return min(1 << max(0, self.points - 1).bit_length(), most, PROBE_POINTS)

    def frame_size(self, manifest: Manifest) -> Size:
        size, multiple = self.size or manifest.fixed_size, manifest.size_multiple
        return working_size(size, size, multiple) if multiple else manifest.fixed_size


@dataclass(frozen=True)
class Decision:
    """What was measured of the candidates, and why other backends are none."""

    measurements: tuple[Measurement, ...]
    absent: Mapping[str, str]
    points: int
    """How many were tracked while time was taken."""
    probe_milliseconds: float = 0.0
    """What measuring took; 0 if it had been done before."""

    @property
    def winner(self) -> Measurement | None:
        return fastest(self.measurements)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Per frame, of every backend:plan that was measured."""
        return {each.name: each.milliseconds for each in self.measurements if each.milliseconds is not None}

    @property
    def failed(self) -> dict[str, str]:
        """Every backend:plan that was tried in vain, with the reason."""
        return {each.name: each.refused for each in self.measurements if each.refused}

    @property
    def refused(self) -> dict[str, str]:
        """The same, and backends that were not tried."""
        return {**self.failed, **self.absent}

    def without(self, measurement: Measurement, reason: str) -> Decision:
        """The same, had this one been refused."""
        rows = [replace(each, refused=reason) if each is measurement else each for each in self.measurements]
        return replace(self, measurements=tuple(rows))


def fastest(measurements: Sequence[Measurement]) -> Measurement | None:
    """The fastest of those that were not refused: the base, unless another backend is clearly faster."""

    def time_of(measurement: Measurement) -> float:
        return measurement.milliseconds or 0.0

    able = [each for each in measurements if not each.refused]
    best = min(able, key=time_of, default=None)
    base = min((each for each in able if each.backend == BASE), key=time_of, default=None)
    if best and base and time_of(best) > (1 - MARGIN) * time_of(base):
        return base
    return best


def decide(artifact: Artifact, request: Request) -> Decision:
    """Of all backends: measures those that can be tried, unless that was done before. Leaves none open."""
    limit = TIME_LIMIT

    def run(candidate: Candidate, workload: Workload) -> list[Trial]:
        nonlocal limit
        if candidate.backend != BASE:
            return try_plans_apart(artifact, candidate.backend, candidate.plans, workload, request.options, limit)
        began = time.perf_counter()
        trials = try_plans(artifact, open_backend(BASE, request.options), candidate.plans, workload)
        # The base comes first, and says what may be expected of a model of this size on this machine.
        limit = SHORT_LIMIT + PATIENCE * (time.perf_counter() - began)
        return trials

    return _decide(_contest(artifact, request), run)


def decide_plan(artifact: Artifact, engine: Backend, request: Request) -> Decision:
    """Of one engine, which is open already: measures its plans, unless that was done before.

    Raises BackendError if it reads none of the artifact's formats.
    """
    format = readable_format(engine.formats, artifact.manifest)
    if format is None:
        hint = export_hint(engine.formats, artifact.manifest)
        raise BackendError(f"backend {engine.name!r} cannot run {artifact.directory}: {hint}")
    plans = (request.plan,) if request.plan else plans_of(artifact.manifest, format)
    most = artifact.manifest.buckets.get(format, (PROBE_POINTS,))[-1]

    def run(candidate: Candidate, workload: Workload) -> list[Trial]:
        return try_plans(artifact, engine, candidate.plans, workload)

    candidates = [Candidate(engine.name, plans, most)]
    return _decide(_Contest(artifact, request, candidates, {engine.name: engine.describe()}), run)


def learn(artifact: Artifact, request: Request, measurements: Sequence[Measurement]) -> Decision | None:
    """Takes measurements that were made otherwise in place of its own.

    None if one of a candidate is missing, or they are of more points than it would measure with itself: what fails
    there need not fail here.
    """
    contest = _contest(artifact, request)
    wanted = {f"{each.backend}:{plan}" for each in contest.candidates for plan in each.plans}
    known = [each for each in measurements if each.name in wanted]
    if len(known) < len(wanted) or request.points > contest.points:
        return None
    probe_cache.save(contest.key(), known)
    return contest.decision(known)


@dataclass(frozen=True)
class _Contest:
    """Who is to be measured, on what. engines: what tells the version of each candidate from others."""

    artifact: Artifact
    request: Request
    candidates: Sequence[Candidate]
    engines: Mapping[str, str]
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def points(self) -> int:
        return self.request.bucket(min((each.most_points or PROBE_POINTS for each in self.candidates), default=1))

    @property
    def size(self) -> Size:
        return self.request.frame_size(self.artifact.manifest)

    def key(self) -> dict[str, Any]:
        """All that the measurements depend on."""
        manifest = self.artifact.manifest
        key = {
            "tapsdk": tapsdk.__version__,
            "machine": fingerprint(),
            "settings": _settings(),
            "model": manifest.model,
            "manifest": hashlib.sha256(manifest.to_json().encode()).hexdigest(),
            "engines": dict(self.engines),
            "plans": {each.backend: each.plans for each in self.candidates},
            "points": self.points,
            "size": self.size,
            "threads": self.request.options.threads,
        }
        return json.loads(json.dumps(key))  # type: ignore[no-any-return]

    def decision(self, measurements: Sequence[Measurement], milliseconds: float = 0.0) -> Decision:
        return Decision(tuple(measurements), self.absent, self.points, milliseconds)


def _contest(artifact: Artifact, request: Request) -> _Contest:
    """Of all backends."""
    candidates, absent = find_candidates(artifact, request.plan, request.points)
    engines = {each.backend: version_of(BACKENDS[each.backend].engine) for each in candidates}
    return _Contest(artifact, request, candidates, engines, absent)


def _decide(contest: _Contest, run: Callable[[Candidate, Workload], list[Trial]]) -> Decision:
    """run: measures a candidate."""
    key, artifact = contest.key(), contest.artifact
    kept = probe_cache.load(key)
    if kept is not None:
        return contest.decision(kept)
    artifact.verify()  # so that a damaged file is just that, and no reason to pass over a backend
    began = time.perf_counter()
    expected = read_reference(artifact)
    workload = workload_for(artifact.manifest, contest.points, contest.size, expected)
    trials: dict[str, list[Trial]] = {}
    for each in contest.candidates:
        try:
            trials[each.backend] = run(each, workload)
        except BackendError as error:
            trials[each.backend] = [Trial(plan, refused=str(error)) for plan in each.plans]
    measurements = _judge(trials, expected, artifact.manifest.precision)
    took = 1000 * (time.perf_counter() - began)
    _tell(artifact.manifest, measurements, took)
    probe_cache.save(key, measurements)
    return contest.decision(measurements, took)


def _settings() -> dict[str, str]:
    """Environment variables that tell backends how to run, such as on which device."""
    others = (cache.VARIABLE, probe_cache.VARIABLE)
    return {name: os.environ[name] for name in sorted(os.environ) if name.startswith("TAPSDK_") and name not in others}


def _judge(trials: Mapping[str, Sequence[Trial]], reference: Reference | None, precision: str) -> list[Measurement]:
    """Compares all tracks with the reference; where there is none, with the first ones, the base's fused plan."""
    rollouts = [trial.rollout for each in trials.values() for trial in each if trial.rollout]
    whole = [rollout for rollout in rollouts if np.isfinite(rollout.xy).all()]
    expected = reference or next(iter(whole), None)

    def measurement(backend: str, trial: Trial) -> Measurement:
        rollout, refused, pixels = trial.rollout, trial.refused, None
        if rollout and not np.isfinite(rollout.xy).all():
            refused = refused or "its tracks are not numbers"
        elif rollout and expected and rollout is not expected:
            difference = rollout.difference(expected)
            pixels = difference.counted(precision)
            refused = refused or difference.complaint(precision)
        return Measurement(backend, trial.plan, trial.milliseconds, pixels, refused)

    return [measurement(backend, trial) for backend, each in trials.items() for trial in each]


def _tell(manifest: Manifest, measurements: Sequence[Measurement], milliseconds: float) -> None:
    for each in measurements:
        if each.refused:
            logger.warning("%s is not used for %s: %s", each.name, manifest.model, each.refused)
    names = ", ".join(each.name for each in measurements)
    logger.info("measured %s for %s in %.0f ms; that is done once", names, manifest.model, milliseconds)
