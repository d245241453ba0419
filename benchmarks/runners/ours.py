"""tapsdk as its users run it."""

from __future__ import annotations

import itertools

import numpy as np

import tapsdk
from benchmarks.models import artifact_of
from benchmarks.runners import Turns
from benchmarks.workloads import Workload


def native(workload: Workload) -> Turns:
    return by_frame(workload, open_model(workload, "onnxruntime:native"))


def fused(workload: Workload) -> Turns:
    return by_frame(workload, open_model(workload, "onnxruntime:fused"))


def open_model(workload: Workload, backend: str) -> tapsdk.Model:
    return tapsdk.load(
        artifact_of(workload.model),
        backend=backend,
        threads=workload.threads,
        points=workload.points,
        resolution=workload.resolution,
    )


def by_frame(workload: Workload, model: tapsdk.Model) -> Turns:
    """From the raw frame to the tracks."""
    stream, added, video = model.stream(), workload.xy(), workload.video()
    yield None
    for image in itertools.cycle(video):
        yield stream.advance(stream.prepare(image), workload.size, added).xy[:, 0]
        added = added[:0]


def clip(workload: Workload) -> Turns:
    """A video that is in memory, as a whole."""
    model = open_model(workload, "onnxruntime")
    video = workload.video()[np.arange(workload.clip or 1) % len(workload.video())]
    yield None
    while True:
        yield tapsdk.track(video, workload.xy(), model).xy[:, -1]


def stream(workload: Workload) -> Turns:
    """A video that comes frame by frame and is never in memory."""
    model, video = open_model(workload, "onnxruntime:native"), workload.video()
    yield None
    while True:
        frames = itertools.islice(itertools.cycle(video), workload.clip)
        yield tapsdk.track(frames, workload.xy(), model).xy[:, -1]
