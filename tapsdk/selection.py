"""Which backend and which plan run an artifact: the fastest that works, by a short measurement."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import numpy as np

from tapsdk.artifact import Artifact
from tapsdk.backends import BACKENDS, Backend, Options, open_backend
from tapsdk.errors import BackendError
from tapsdk.manifest import Manifest
from tapsdk.plans import PLANS, Plan

logger = logging.getLogger(__name__)

PROBE_FRAMES = 3
PROBE_POINTS = 256
"""Most points that are measured with: beyond, both plans take time in proportion."""
AGREE_PIXELS = 0.01
"""Plans that differ by more are not the same tracker: the measurement then keeps the fused one."""


@dataclass(frozen=True)
class Choice:
    """What runs, and what else was looked at."""

    backend: Backend
    plan: Plan
    milliseconds: dict[str, float] = field(default_factory=dict)
    """Per frame, of every plan that was measured."""
    refused: dict[str, str] = field(default_factory=dict)
    """Backends and plans that were passed over, with the reason."""


_measured: dict[tuple[object, ...], tuple[str, dict[str, float]]] = {}
"""The faster plan and all times by (model, backend, threads, points bucket), for the life of the process."""


def choose(
    artifact: Artifact,
    backend: str | Backend = "auto",
    *,
    plan: str = "",
    points: int = 64,
    threads: int | None = None,
) -> Choice:
    """Opens an artifact on a backend.

    backend: a backend's name, optionally with a plan, "onnxruntime:native"; "auto" takes the first that works; or one
        that was opened already.
    plan: a plan's name, which is not measured then.
    points: how many points will be tracked, which decides between the plans.

    Raises BackendError if the named backend cannot run here, or none can.
    """
    refused: dict[str, str] = {}
    if not isinstance(backend, str):
        return _choose_plan(artifact, backend, plan, points, threads, refused)
    name, _, named = backend.partition(":")
    plan = plan or named
    if plan and plan not in PLANS:
        raise BackendError(f"unknown plan {plan!r} in backend {backend!r}; use one of {', '.join(PLANS)}")
    for candidate in BACKENDS if name == "auto" else [name]:
        try:
            engine = open_backend(candidate, Options(threads))
            return _choose_plan(artifact, engine, plan, points, threads, refused)
        except BackendError as error:
            if name != "auto":
                raise
            refused[candidate] = str(error)
    reasons = "; ".join(f"{k}: {v}" for k, v in refused.items())
    raise BackendError(f"no backend can run {artifact.manifest.model} here. {reasons}")


def _choose_plan(
    artifact: Artifact, engine: Backend, plan: str, points: int, threads: int | None, refused: dict[str, str]
) -> Choice:
    if plan:
        return Choice(engine, PLANS[plan](artifact, engine), refused=refused)
    if artifact.manifest.native is None:
        return Choice(engine, PLANS["fused"](artifact, engine), refused=refused)
    bucket = min(1 << max(0, points - 1).bit_length(), PROBE_POINTS)
    manifest = artifact.manifest
    model = (manifest.weights_sha256, manifest.precision, manifest.resolution)
    key = (model, engine.describe(), threads, bucket)
    if key in _measured:
        fastest, times = _measured[key]
        return Choice(engine, PLANS[fastest](artifact, engine), times, refused)
    plans: dict[str, Plan] = {name: cls(artifact, engine) for name, cls in PLANS.items()}
    times, difference = _probe(list(plans.values()), manifest, bucket)
    fastest = min(times, key=lambda name: times[name])
    if not difference <= AGREE_PIXELS:  # so that NaN counts as disagreement
        refused["native"] = f"its tracks differ from the fused plan's by {difference:.3g} px"
        logger.warning("the native plan of %s is not used: %s", manifest.model, refused["native"])
        fastest = "fused"
    _measured[key] = fastest, times
    return Choice(engine, plans[fastest], times, refused)


def _probe(plans: list[Plan], manifest: Manifest, points: int) -> tuple[dict[str, float], float]:
    """Milliseconds per frame of every plan, taken in turns, and the largest difference of their tracks in pixels."""
    rng = np.random.default_rng(0)
    frame = rng.uniform(*manifest.pixel_range, (1, *manifest.resolution, 3)).astype(np.float32)
    xy = rng.uniform(0, 1, (points, 2)).astype(np.float32) * np.array(manifest.resolution[::-1], np.float32)
    rows = {plan.name: plan.begin(frame, xy) for plan in plans}
    times: dict[str, list[float]] = {plan.name: [] for plan in plans}
    found = {}
    for _ in range(1 + PROBE_FRAMES):
        for plan in plans:
            began = time.perf_counter()
            estimates, rows[plan.name] = plan.step(frame, rows[plan.name])
            times[plan.name].append(1000 * (time.perf_counter() - began))
            found[plan.name] = estimates.xy
        frame = np.roll(frame, 1, axis=2)
    first = found[plans[0].name]
    difference = float(np.max([np.abs(xy - first).max() for xy in found.values()]))  # hands NaN on
    # The first round warms up; the least disturbed of the others is what the plan can do.
    return {name: min(measured[1:]) for name, measured in times.items()}, difference
