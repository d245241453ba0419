"""What is known of the backends for an artifact on this machine: which give the right tracks, and how fast."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import tapsdk
from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Manifest
from tapsdk.backends import BACKENDS, Backend, open_backend, with_defaults
from tapsdk.errors import BackendError
from tapsdk.geometry import Size
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.plans import plans_of
from tapsdk.runtime.sizes import refinement_sizes, working_size
from tapsdk.selection import probe_cache
from tapsdk.selection.candidates import BASE, Candidate, export_hint, find_candidates, readable_format, version_of
from tapsdk.selection.probe import TIME_LIMIT, Trial, Workload, try_plans, try_plans_apart, workload_for
from tapsdk.selection.probe_cache import Measurement
from tapsdk.selection.reference import Reference, read_reference
from tapsdk.system.machine import fingerprint

logger = logging.getLogger(__name__)

PROBE_POINTS = 256
"""Most points that are measured with: beyond, all plans take time in proportion."""
SHORT_LIMIT = 60.0
PATIENCE = 20.0
"""Another backend may take these seconds, and so many times the seconds of the base; then it counts as hanging."""
MARGIN = 0.05
"""Another backend is taken in place of the base only if it saves this share of the time: less is noise."""


def probe_points(points: int, most: int) -> int:
    """How many points are measured with, where `most` can be had: a power of two, so that not every number is."""
    return min(1 << max(0, points - 1).bit_length(), most, PROBE_POINTS)


def probe_size(manifest: Manifest, resolution: int | Size | None) -> Size:
    """(height, width) of the frames that time is taken with, as stages get them."""
    size, multiple = refinement_sizes(manifest.frames.size, resolution, manifest).base, manifest.frames.multiple
    return working_size(size, size, multiple) if multiple else manifest.frames.size


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


def decide(artifact: Artifact, options: RunOptions) -> Decision:
    """Of all backends: measures those that can be tried, unless that was done before. Leaves none open."""
    limit = TIME_LIMIT

    def run(candidate: Candidate, workload: Workload) -> list[Trial]:
        nonlocal limit
        if candidate.backend != BASE:
            return try_plans_apart(artifact, candidate.backend, candidate.plans, workload, options.engine, limit)
        began = time.perf_counter()
        trials = try_plans(artifact, open_backend(BASE, options.engine), candidate.plans, workload)
        # The base comes first, and says what may be expected of a model of this size on this machine.
        limit = SHORT_LIMIT + PATIENCE * (time.perf_counter() - began)
        return trials

    return _decide(_candidates(artifact, options), run)


def decide_plan(artifact: Artifact, engine: Backend, options: RunOptions) -> Decision:
    """Of one engine, which is open already: measures its plans, unless that was done before.

    Raises BackendError if it reads none of the artifact's formats.
    """
    format = readable_format(engine.formats, artifact.manifest)
    if format is None:
        hint = export_hint(engine.formats, artifact.manifest)
        raise BackendError(f"backend {engine.name!r} cannot run {artifact.directory}: {hint}")
    plans = (options.plan,) if options.plan else plans_of(artifact.manifest, format)
    most = artifact.manifest.points.buckets.get(format, (PROBE_POINTS,))[-1]

    def run(candidate: Candidate, workload: Workload) -> list[Trial]:
        return try_plans(artifact, engine, candidate.plans, workload)

    rows = [Candidate(engine.name, plans, most)]
    return _decide(Candidates(artifact, options, rows, {engine.name: engine.describe()}), run)


def learn(artifact: Artifact, options: RunOptions, measurements: Sequence[Measurement]) -> Decision | None:
    """Takes measurements that were made otherwise in place of its own.

    None if one of a candidate is missing, or they are of more points than it would measure with itself: what fails
    there need not fail here.
    """
    candidates = _candidates(artifact, options)
    wanted = {f"{each.backend}:{plan}" for each in candidates.rows for plan in each.plans}
    known = [each for each in measurements if each.name in wanted]
    if len(known) < len(wanted) or options.points > candidates.points:
        return None
    probe_cache.save(candidates.key(), known)
    return candidates.decision(known)


@dataclass(frozen=True)
class Candidates:
    """What is to be measured, on what. engines: what tells the version of each candidate from others."""

    artifact: Artifact
    options: RunOptions
    rows: Sequence[Candidate]
    engines: Mapping[str, str]
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def points(self) -> int:
        most = min((each.most_points or PROBE_POINTS for each in self.rows), default=1)
        return probe_points(self.options.points, most)

    @property
    def size(self) -> Size:
        return probe_size(self.artifact.manifest, self.options.resolution)

    def key(self) -> dict[str, Any]:
        """All that the measurements depend on."""
        manifest = self.artifact.manifest
        key = {
            "tapsdk": tapsdk.__version__,
            "machine": fingerprint(),
            "model": manifest.model,
            "manifest": hashlib.sha256(manifest.to_json().encode()).hexdigest(),
            "engines": dict(self.engines),
            "plans": {each.backend: each.plans for each in self.rows},
            "devices": {each.backend: self._device(each.backend) for each in self.rows},
            "points": self.points,
            "size": self.size,
            "threads": self.options.threads,
        }
        return json.loads(json.dumps(key))  # type: ignore[no-any-return]

    def _device(self, backend: str) -> str | None:
        known = backend in BACKENDS
        return with_defaults(backend, self.options.engine).device if known else self.options.device

    def decision(self, measurements: Sequence[Measurement], milliseconds: float = 0.0) -> Decision:
        return Decision(tuple(measurements), self.absent, self.points, milliseconds)


def _candidates(artifact: Artifact, options: RunOptions) -> Candidates:
    """Of all backends."""
    rows, absent = find_candidates(artifact, options.plan, options.points, options.device)
    engines = {each.backend: version_of(BACKENDS[each.backend].engine) for each in rows}
    return Candidates(artifact, options, rows, engines, absent)


def _decide(candidates: Candidates, run: Callable[[Candidate, Workload], list[Trial]]) -> Decision:
    """run: measures a candidate."""
    key, artifact = candidates.key(), candidates.artifact
    kept = probe_cache.load(key)
    if kept is not None:
        return candidates.decision(kept)
    artifact.verify()  # so that a damaged file is just that, and no reason to pass over a backend
    began = time.perf_counter()
    names = ", ".join(each.backend for each in candidates.rows)
    logger.info("measuring how fast %s run %s here, which is done once", names, artifact.manifest.model)
    expected = read_reference(artifact)
    workload = workload_for(artifact.manifest, candidates.points, candidates.size, expected)
    trials: dict[str, list[Trial]] = {}
    for each in candidates.rows:
        try:
            trials[each.backend] = run(each, workload)
        except BackendError as error:
            trials[each.backend] = [Trial(plan, refused=str(error)) for plan in each.plans]
    measurements = _judge(trials, expected, artifact.manifest.precision)
    took = 1000 * (time.perf_counter() - began)
    _log(artifact.manifest, measurements, took)
    probe_cache.save(key, measurements)
    return candidates.decision(measurements, took)


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


def _log(manifest: Manifest, measurements: Sequence[Measurement], milliseconds: float) -> None:
    for each in measurements:
        if each.refused:
            logger.warning("%s is not used for %s: %s", each.name, manifest.model, each.refused)
    names = ", ".join(each.name for each in measurements)
    logger.info("measured %s for %s in %.0f ms; that is done once", names, manifest.model, milliseconds)
