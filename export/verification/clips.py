"""What an approximation costs: tracks of artifact and torch on generated clips, against each other and the truth.

What is only approximate is judged by videos like those that it is for: where nothing can be followed, as in a pattern
that leaves the frame, a small difference decides which wrong place is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from export.verification.rollouts import runtime_rollout, torch_rollout
from tapsdk.artifact import Artifact
from tapsdk.backends import Backend
from tapsdk.selection.accuracy import Rollout
from training.data.labelled_video import LabelledVideo
from training.data.synthetic import SceneConfig, held_out
from training.evaluation.score import score

CLIPS, FRAMES, POINTS = 6, 24, 32


@dataclass
class ClipScores:
    """Means and medians over the clips, by plan."""

    pixel_error: dict[str, float] = field(default_factory=dict)
    """Largest difference of positions between artifact and torch, in pixels of the clips."""
    median_pixel_error: dict[str, float] = field(default_factory=dict)
    visibility_flips: dict[str, float] = field(default_factory=dict)
    """Share of visibility flags that differ."""
    average_jaccard: dict[str, float] = field(default_factory=dict)
    """TAP-Vid's, of the plans and of "torch"."""
    clips: int = 0
    frames: int = 0


def score_on_clips(
    model: nn.Module, artifact: Artifact, backend: Backend, plans: Sequence[str], points: int
) -> ClipScores:
    """Runs an artifact on generated clips, with at most so many points."""
    manifest = artifact.manifest
    clips = list(held_out(SceneConfig(*manifest.frames.size, FRAMES, min(points, POINTS), query="frame0"), CLIPS))
    starts = [clip.queries[:, 1:] for clip in clips]
    in_torch = [
        Rollout(*torch_rollout(model, manifest.visibility, clip.frames, xy))
        for clip, xy in zip(clips, starts, strict=True)
    ]
    scores = ClipScores(clips=len(clips), frames=FRAMES)
    scores.average_jaccard["torch"] = _average_jaccard(in_torch, clips)
    for plan in plans:
        found = [
            Rollout(*runtime_rollout(artifact, backend, plan, clip.frames, xy))
            for clip, xy in zip(clips, starts, strict=True)
        ]
        distance = np.linalg.norm(_all_xy(found) - _all_xy(in_torch), axis=-1)
        scores.pixel_error[plan] = float(distance.max())
        scores.median_pixel_error[plan] = float(np.median(distance))
        scores.visibility_flips[plan] = float(
            np.mean([f.visible != t.visible for f, t in zip(found, in_torch, strict=True)])
        )
        scores.average_jaccard[plan] = _average_jaccard(found, clips)
    return scores


def _all_xy(rollouts: Sequence[Rollout]) -> np.ndarray:
    return np.concatenate([rollout.xy for rollout in rollouts])


def _average_jaccard(rollouts: Sequence[Rollout], clips: Sequence[LabelledVideo]) -> float:
    """The mean over clips; rollouts begin after the frame of the queries, which is not scored."""
    values = []
    for rollout, clip in zip(rollouts, clips, strict=True):
        xy = np.concatenate([clip.xy[:, :1], rollout.xy], 1)
        visible = np.concatenate([clip.visible[:, :1], rollout.visible], 1)
        values.append(score(clip, xy, visible)["average_jaccard"])
    return float(np.nanmean(values))
