"""Inputs of real calls of every stage, for precisions that are calibrated on them.

The runtime tracks points through generated clips as always, but its backend runs the stages in torch and takes notes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.stages import Stage
from export.verification.rollouts import runtime_rollout
from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import Content
from tapsdk.artifact.manifest import MANIFEST, Causal, File, Manifest, StageSpec
from tapsdk.backends import PROCESSOR, Array, Place
from tapsdk.runtime.native import BLOCK
from tapsdk.runtime.plans import plans_of
from tapsdk.runtime.refined import LOOKUP
from tapsdk.system.files import sha256
from tapsdk.system.leftovers import temporary_folder
from training.data.synthetic import SceneConfig, make_clip

CLIPS, FRAMES, POINTS = 4, 24, BLOCK
"""As many points as the native plan gives a stage at once: rows of zeros that fill a block up are no samples."""
CALLS, BYTES = 32, 1 << 30
"""Most calls that are noted of a stage, and most memory for them, although never less than four."""


def calibration_samples(
    stages: Sequence[Stage], manifest: Manifest, format: str
) -> dict[str, list[tuple[Tensor, ...]]]:
    """Inputs of calls of every stage, in the order of its spec, drawn evenly from runs of all plans over clips.

    manifest: of the artifact that is being made; its files need not be there yet. format: the one that it will be in.
    """
    backend, manifest = RecordingBackend(stages, format), _without_kernels(manifest)
    height, width = manifest.frames.size
    points = min(POINTS, manifest.points.buckets.get(format, (POINTS,))[-1])
    config = SceneConfig(height, width, FRAMES, points, query="frame0")
    with temporary_folder() as folder:
        _write_placeholders(folder, manifest, format)
        for seed in range(CLIPS):
            clip = make_clip(config, seed)
            for plan in plans_of(manifest, format):
                runtime_rollout(open_artifact(folder), backend, plan, clip.frames, clip.queries[:, 1:])
    return {name: session.samples for name, session in backend.sessions.items()}


def _without_kernels(manifest: Manifest) -> Manifest:
    """Of which every stage is run as a stage."""
    program = manifest.program
    if isinstance(program, Causal) and program.native is not None:
        program = replace(program, native=replace(program.native, kernels={}))
    return replace(manifest, program=program, weights=None)


def _write_placeholders(folder: Path, manifest: Manifest, format: str) -> None:
    """An artifact whose files hold nothing but the names of their stages."""

    def with_placeholder(name: str, stage: StageSpec) -> StageSpec:
        path = folder / name
        path.write_text(name)
        return replace(stage, files={format: File(name, format, sha256(path), len(name))})

    stages = {name: with_placeholder(name, stage) for name, stage in manifest.stages.items()}
    (folder / MANIFEST).write_text(replace(manifest, stages=stages, reference=None).to_json(), encoding="utf-8")


class RecordingSession:
    """Runs a stage in torch and keeps some of its inputs, each call with the same chance."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rng = np.random.default_rng(0)
        self._calls = 0
        self.samples: list[tuple[Tensor, ...]] = []

    def run(self, inputs: Mapping[str, Array | Tensor], keep: Collection[str] = ()) -> dict[str, Array | Tensor]:
        tensors = tuple(torch.as_tensor(inputs[t.name]) for t in self._stage.spec.inputs)
        self._note(tensors)
        with torch.inference_mode():
            results = self._stage.module(*tensors)
        results = results if isinstance(results, tuple) else (results,)
        named = zip((t.name for t in self._stage.spec.outputs), results, strict=True)
        return {name: value if name in keep else _array(value) for name, value in named}

    def _note(self, tensors: tuple[Tensor, ...]) -> None:
        self._calls += 1
        room = min(CALLS, max(4, BYTES // max(1, sum(x.nbytes for x in tensors))))
        place = len(self.samples) if len(self.samples) < room else int(self._rng.integers(self._calls))
        if place < room:
            self.samples[place : place + 1] = [tuple(x.clone() for x in tensors)]


class RecordingBackend:
    """A backend of tapsdk whose files hold the names of stages."""

    name = "torch"
    threads = None

    def __init__(self, stages: Sequence[Stage], format: str) -> None:
        self.formats: tuple[str, ...] = (format,)
        # Stages that a processor leaves to kernels run away from it alone.
        self.place = PROCESSOR if LOOKUP not in {stage.name for stage in stages} else Place(on_processor=False)
        self.sessions = {stage.name: RecordingSession(stage) for stage in stages}

    def describe(self) -> str:
        return f"torch {torch.__version__}, recording"

    def open(self, file: Content, stage: StageSpec, points: int | None = None) -> RecordingSession:
        return self.sessions[file.data.decode()]

    def keep(self, array: Array) -> Tensor:
        return torch.tensor(array)

    def fetch(self, tensor: Tensor) -> Array:
        return _array(tensor)


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.numpy(), order="C")
